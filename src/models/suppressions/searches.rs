//! Searches for the address behind a hash, of this process. One reads all contacts of an account, and anybody with a link
//! can ask for it: they go one at a time, and those who look for the same wait for one answer.
//!
//! How long anybody waits is bounded by the time that its request may take.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore};
use uuid::Uuid;

use super::AddressHash;
use crate::errors::{ApiError, ApiResult};

/// What a search is for: an address of an account.
type Sought = (Uuid, AddressHash);

/// What a search finds.
type Found = OnceCell<Option<String>>;

/// Whose turn it is; cheap to clone.
#[derive(Clone, Debug)]
pub struct Searches {
    turn: Arc<Semaphore>,
    running: Arc<Mutex<HashMap<Sought, Weak<Found>>>>,
}

impl Default for Searches {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), running: Arc::default() }
    }
}

impl Searches {
    /// What `search` finds, once it is its turn; or what another search for the same finds that runs already. Where that one
    /// fails or is cut off, the next of those who wait searches in its place. The suppression must be stored before.
    ///
    /// # Errors
    /// What the search says.
    pub(super) async fn find(
        &self,
        sought: Sought,
        search: impl AsyncFnOnce() -> ApiResult<Option<String>>,
    ) -> ApiResult<Option<String>> {
        let found = self.found(sought);
        let searched = found.get_or_try_init(async || {
            let _turn = self.turn.acquire().await.map_err(ApiError::internal)?;
            search().await
        });
        searched.await.cloned()
    }

    /// Where the answer of a search will be: kept while anybody waits for it.
    fn found(&self, sought: Sought) -> Arc<Found> {
        let mut running = self.running.lock();
        running.retain(|_, found| found.strong_count() > 0);
        let found = running.get(&sought).and_then(Weak::upgrade).unwrap_or_default();
        running.insert(sought, Arc::downgrade(&found));
        found
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use futures_util::{FutureExt, future::join_all};
    use tokio::sync::Notify;

    use super::*;
    use crate::errors::Code;

    fn sought(hash: u8) -> Sought {
        (Uuid::nil(), [hash; 32])
    }

    const FOUND: &str = "jo@example.test";

    #[tokio::test]
    async fn one_search_at_a_time() {
        let (searches, at_once) = (Searches::default(), AtomicUsize::new(0));
        let each = (0..4).map(|hash| {
            searches.find(sought(hash), async || {
                assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                at_once.fetch_sub(1, Ordering::SeqCst);
                Ok(Some(FOUND.to_owned()))
            })
        });
        for answer in join_all(each).await {
            assert_eq!(answer.unwrap().unwrap(), FOUND);
        }
        assert_eq!(searches.running.lock().values().filter(|found| found.strong_count() > 0).count(), 0);
    }

    #[tokio::test]
    async fn twins_search_once_and_whoever_comes_later_once_more() {
        let (searches, run) = (Searches::default(), AtomicUsize::new(0));
        let search = async || {
            run.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(Some(FOUND.to_owned()))
        };
        for answer in join_all((0..4).map(|_| searches.find(sought(1), search))).await {
            assert_eq!(answer.unwrap().unwrap(), FOUND);
        }
        assert_eq!(run.load(Ordering::SeqCst), 1);
        searches.find(sought(1), search).await.unwrap();
        assert_eq!(run.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_search_that_fails_or_is_cut_off_is_made_by_a_twin() {
        let (searches, begun) = (Searches::default(), Notify::new());
        let mut first = Box::pin(searches.find(sought(1), async || {
            begun.notify_one();
            pending().await
        }));
        assert!(first.as_mut().now_or_never().is_none());
        begun.notified().await;
        let failing = async || Err(ApiError::new(Code::InternalError));
        let mut second = Box::pin(searches.find(sought(1), failing));
        assert!(second.as_mut().now_or_never().is_none(), "it waits for the first");
        let mut third = Box::pin(searches.find(sought(1), async || Ok(Some(FOUND.to_owned()))));
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(second.await.unwrap_err().code, Code::InternalError);
        assert_eq!(third.await.unwrap().unwrap(), FOUND);
    }
}
