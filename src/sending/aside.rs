//! Compiling templates, and rendering them for a request, off the threads that serve requests and send.
//!
//! Templates come from tenants, and one made for it keeps a thread busy for seconds. So they are worked on by threads
//! of their own, few at a time: whoever brings more waits, and nobody else does.

use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::errors::{ApiError, ApiResult};

/// Pieces of work at a time: a small machine keeps a processor for everything else.
const AT_A_TIME: usize = 2;

static PLACES: Semaphore = Semaphore::const_new(AT_A_TIME);

/// Does the work aside. It goes on, and keeps its place, when its request is given up.
///
/// # Errors
/// `internal_error` when it panics.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
    let place = PLACES.acquire().await.map_err(ApiError::internal)?;
    let done = spawn_blocking(move || {
        let _place = place;
        work()
    });
    done.await.map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::{
        sync::{Arc, mpsc},
        time::Duration,
    };

    use futures_util::{FutureExt, future::join_all};
    use parking_lot::Mutex;

    use super::*;

    /// On one thread: were the work done there, nothing could release it.
    #[tokio::test(flavor = "current_thread")]
    async fn the_thread_that_asks_stays_free_and_others_wait_for_a_place() {
        let (release, hold) = mpsc::channel::<()>();
        let hold = Arc::new(Mutex::new(hold));
        let held: Vec<_> = (0..AT_A_TIME)
            .map(|_| {
                let hold = Arc::clone(&hold);
                Box::pin(aside(move || hold.lock().recv_timeout(Duration::from_secs(20))))
            })
            .collect();
        let mut held = join_all(held);
        // One look at each: all places are taken.
        assert!((&mut held).now_or_never().is_none());
        assert_eq!(PLACES.available_permits(), 0);
        let mut next = Box::pin(aside(|| 7));
        assert!((&mut next).now_or_never().is_none());
        for _ in 0..AT_A_TIME {
            release.send(()).unwrap();
        }
        assert!(held.await.into_iter().all(|done| done.unwrap().is_ok()));
        assert_eq!(next.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_gives_its_place_back() {
        for _ in 0..=AT_A_TIME {
            let panicked = aside(|| -> u8 { panic!("on purpose") }).await;
            assert_eq!(panicked.unwrap_err().code, crate::errors::Code::InternalError);
        }
    }
}
