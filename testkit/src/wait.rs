//! Waiting for a condition with a deadline, for what sends no signal of its own (a row, a file, a port).
//!
//! Where there is a signal ([`crate::sink::Sink::wait_for`], [`crate::sink::Hold::reached`]), prefer it.

use std::io;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// The first pause between two looks; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Asks `condition` again and again until it gives a value, for at most `deadline`.
///
/// # Errors
/// `TimedOut`, naming the line that waited, when the deadline passes first; a look that is still
/// running at the deadline is dropped.
#[track_caller]
pub fn eventually<T, C, F>(deadline: Duration, mut condition: C) -> impl Future<Output = io::Result<T>>
where
    C: FnMut() -> F,
    F: Future<Output = Option<T>>,
{
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        let look = async {
            let mut pause = FIRST_PAUSE;
            loop {
                if let Some(value) = condition().await {
                    return value;
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        timeout_at(end, look).await.map_err(|_| late(caller, deadline))
    }
}

fn late(caller: &Location<'_>, deadline: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{caller}: still not so after {deadline:?}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[tokio::test]
    async fn the_value_is_returned_once_it_is_there() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(5), || {
            looks += 1;
            let value = (looks == 3).then_some("there");
            async move { value }
        });
        assert_eq!(value.await.unwrap(), "there");
    }

    #[tokio::test]
    async fn the_deadline_names_the_line_that_waited() {
        let never = eventually(Duration::from_millis(5), || async { None::<()> });
        let error = never.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("wait.rs"), "{error}");
    }
}
