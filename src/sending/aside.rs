//! Compiling templates, and rendering them for a request, off the threads that serve requests and send.
//!
//! Templates come from tenants, and one made for it keeps a thread busy for seconds. So they are worked on by threads
//! of their own, few at a time. Requests that bring more wait for each other; what sends waits for none of them, and
//! neither does whoever brings no template.

use std::time::Duration;

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::timeout,
};

use crate::errors::{ApiError, ApiResult};

/// Pieces of work of requests at a time: a small machine keeps a processor for everything else.
const AT_A_TIME: usize = 2;
/// How long a request waits for its turn, whatever its own deadline.
const TURN: Duration = Duration::from_secs(30);

static PLACES: Semaphore = Semaphore::const_new(AT_A_TIME);
static LANES: Semaphore = Semaphore::const_new(1);

/// Does a request's work aside. It goes on, and keeps its place, when its request is given up.
///
/// # Errors
/// `service_unavailable` when it does not have its turn in time, `internal_error` when it panics.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
    let late = |_| ApiError::unavailable("others compile their templates");
    let place = timeout(TURN, PLACES.acquire()).await.map_err(late)?.map_err(ApiError::internal)?;
    at(place, work).await
}

/// Does a lane's work aside, with a place that no request takes.
///
/// # Errors
/// `internal_error` when it panics.
pub async fn aside_for_lane<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
    let place = LANES.acquire().await.map_err(ApiError::internal)?;
    at(place, work).await
}

async fn at<T: Send + 'static>(
    place: SemaphorePermit<'static>,
    work: impl FnOnce() -> T + Send + 'static,
) -> ApiResult<T> {
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
        let lane = timeout(Duration::from_secs(10), aside_for_lane(|| 8)).await;
        assert_eq!(lane.unwrap().unwrap(), 8, "what sends waits for no request");
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
