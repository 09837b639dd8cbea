//! Counts what accounts ask for without a write in their requests: in memory, until the flusher of the process
//! (`engine::start_flusher`) adds it to the hourly sums. A process that crashes loses what it counted since the last
//! flush, a second at most; nothing that is billed or limited hangs on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    extract::MatchedPath,
    http::{Method, request::Parts},
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    db::Db,
    errors::ApiResult,
    models::{
        api_keys,
        usage::{self, Counted},
    },
    tenancy::Caller,
};

/// Distinct sums that are kept while the database is away; past it, new ones are dropped and known ones go on.
const MOST: usize = 100_000;

/// What this process counted and has not stored; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Usage(Arc<Mutex<Buffer>>);

/// Sorted, so that all processes change rows in one order.
#[derive(Debug, Default)]
struct Buffer {
    requests: BTreeMap<Counted, i64>,
    keys: BTreeSet<Uuid>,
    dropped: u64,
}

impl Buffer {
    fn add(&mut self, counted: Counted, requests: i64) {
        if let Some(sum) = self.requests.get_mut(&counted) {
            *sum += requests;
        } else if self.requests.len() < MOST {
            self.requests.insert(counted, requests);
        } else {
            self.dropped += 1;
        }
    }

    fn use_key(&mut self, id: Uuid) {
        if self.keys.len() < MOST {
            self.keys.insert(id);
        }
    }
}

impl Usage {
    /// Counts a request of a known route. `HEAD` records nothing.
    pub fn count(&self, caller: &Caller, parts: &Parts, now: Timestamp) {
        let Some(route) = parts.extensions.get::<MatchedPath>() else { return };
        if parts.method == Method::HEAD {
            return;
        }
        let counted = Counted {
            account_id: caller.account_id(),
            hour: usage::hour(now),
            client_kind: caller.client_kind(),
            method: parts.method.as_str().to_owned(),
            path: template(route.as_str()),
        };
        self.0.lock().add(counted, 1);
    }

    /// Notes that a key is in use; call it when what is stored is a minute old.
    pub fn use_key(&self, id: Uuid) {
        self.0.lock().use_key(id);
    }

    /// Stores what was counted, and keeps what could not be. A commit that was not confirmed may count twice.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn flush(&self, db: &Db, now: Timestamp) -> ApiResult<()> {
        let Buffer { requests, keys, dropped } = std::mem::take(&mut *self.0.lock());
        if dropped > 0 {
            tracing::warn!(dropped, "requests were not counted: the database was away for too long");
        }
        let keys: Vec<Uuid> = keys.into_iter().collect();
        for (done, chunk) in keys.chunks(usage::CHUNK).enumerate() {
            if let Err(error) = api_keys::note_use(db, chunk, now).await {
                let left = keys.into_iter().skip(done * usage::CHUNK);
                self.keep(requests, left);
                return Err(error);
            }
        }
        let mut requests = requests.into_iter();
        loop {
            let chunk: Vec<(Counted, i64)> = requests.by_ref().take(usage::CHUNK).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            if let Err(error) = usage::store(db, &chunk).await {
                self.keep(chunk.into_iter().chain(requests), []);
                return Err(error);
            }
        }
    }

    /// Back into the buffer for the next flush.
    fn keep(&self, requests: impl IntoIterator<Item = (Counted, i64)>, keys: impl IntoIterator<Item = Uuid>) {
        let mut buffer = self.0.lock();
        for (counted, count) in requests {
            buffer.add(counted, count);
        }
        for id in keys {
            buffer.use_key(id);
        }
    }
}

/// A route as users know it: `/campaigns/{id}` is `/campaigns/:id`.
fn template(route: &str) -> String {
    route.replace('{', ":").replace('}', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::states::ClientKind;

    fn counted(number: usize) -> Counted {
        Counted {
            account_id: Uuid::nil(),
            hour: Timestamp::from_seconds(0),
            client_kind: ClientKind::Sdk,
            method: "GET".to_owned(),
            path: number.to_string(),
        }
    }

    #[test]
    fn a_full_buffer_takes_no_new_sum_and_goes_on_with_the_known_ones() {
        let mut buffer = Buffer::default();
        for number in 0..=MOST {
            buffer.add(counted(number), 1);
        }
        buffer.add(counted(0), 2);
        assert_eq!((buffer.requests.len(), buffer.dropped), (MOST, 1));
        assert_eq!(buffer.requests.get(&counted(0)), Some(&3));
    }

    #[test]
    fn routes_are_written_as_users_know_them() {
        assert_eq!(template("/campaigns/{campaign_id}/enroll"), "/campaigns/:campaign_id/enroll");
    }
}
