//! Looks keys up for requests that come at the same time: while one look is on its way, those that come gather for the
//! next, which asks for all of their keys at once. A request that is alone waits for nobody.
//!
//! Nothing is remembered. A look begins after every request that it serves has come in, so a key that was revoked
//! before a request, on whatever node, is not found for it.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use sea_orm::{ConnAcquireErr, DbErr, QueryResult, Value};
use tokio::sync::OnceCell;

use crate::{
    db::Db,
    errors::{ApiError, Code},
    models::sql::holes,
    tenancy::{Caller, Conn, SystemScope},
};

/// SHA-256 of a key.
type Digest = [u8; 32];

/// Keys of one look. Its statement has room for one or for all of them, so that there are two statements to keep ready.
const MOST: usize = 16;

/// Looks that are on their way at once.
const AT_ONCE: usize = 2;

/// How long a look keeps its turn, as those that hang must not hold up whoever comes after them; and how long the database
/// may say nothing.
const PATIENCE: Patience = Patience { turn: Duration::from_millis(250), database: Duration::from_secs(5) };

/// What is known of an active key.
#[derive(Clone, Copy, Debug)]
struct Known {
    digest: Digest,
    caller: Caller,
    last_used_at: Option<i64>,
}

/// The looks of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyLookups(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gathering: Mutex<Arc<Look>>,
    turns: tokio::sync::Semaphore,
    patience: Patience,
}

#[derive(Clone, Copy, Debug)]
struct Patience {
    turn: Duration,
    database: Duration,
}

/// One look: the keys that it asks for, and what it found.
#[derive(Debug, Default)]
struct Look {
    wanted: Mutex<Wanted>,
    found: OnceCell<Result<Vec<Known>, DbErr>>,
}

#[derive(Debug, Default)]
struct Wanted {
    digests: Vec<Digest>,
    begun: bool,
}

impl Look {
    /// Adds a key, unless it is too late for that.
    fn join(&self, digest: &Digest) -> bool {
        let mut wanted = self.wanted.lock();
        if wanted.begun || (wanted.digests.len() >= MOST && !wanted.digests.contains(digest)) {
            return false;
        }
        if !wanted.digests.contains(digest) {
            wanted.digests.push(*digest);
        }
        true
    }

    /// Nobody joins from here on.
    fn begin(&self) -> Vec<Digest> {
        let mut wanted = self.wanted.lock();
        wanted.begun = true;
        wanted.digests.clone()
    }
}

impl Default for KeyLookups {
    fn default() -> Self {
        Self::new(PATIENCE)
    }
}

impl KeyLookups {
    fn new(patience: Patience) -> Self {
        let turns = tokio::sync::Semaphore::new(AT_ONCE);
        Self(Arc::new(Inner { gathering: Mutex::default(), turns, patience }))
    }

    /// The active key with this digest, and when its use was last stored.
    ///
    /// # Errors
    /// `unauthorized` when there is none, or its account is gone.
    pub(super) async fn find(&self, db: &Db, digest: &Digest) -> Result<(Caller, Option<i64>), ApiError> {
        let look = self.join(digest);
        // Whoever is first does it. Is that request given up, the next that waits begins anew.
        let found = look.found.get_or_init(|| self.run(db, &look)).await;
        let found = found.as_ref().map_err(|error| ApiError::from(error.clone()))?;
        let known = found.iter().find(|known| known.digest == *digest);
        known.map(|known| (known.caller, known.last_used_at)).ok_or_else(|| ApiError::new(Code::Unauthorized))
    }

    fn join(&self, digest: &Digest) -> Arc<Look> {
        let mut gathering = self.0.gathering.lock();
        if !gathering.join(digest) {
            *gathering = Arc::default();
            gathering.join(digest);
        }
        Arc::clone(&gathering)
    }

    async fn run(&self, db: &Db, look: &Look) -> Result<Vec<Known>, DbErr> {
        let system = SystemScope::new(Conn::Pool(db.pool().clone()));
        self.in_turn(async || ask(&system, look.begin()).await).await
    }

    /// Begins when it is its turn, and goes on without it where that lasts.
    async fn in_turn<T>(&self, work: impl AsyncFnOnce() -> Result<T, DbErr>) -> Result<T, DbErr> {
        let turn = self.0.turns.acquire().await;
        let work = tokio::time::timeout(self.0.patience.database, work());
        tokio::pin!(work);
        let silence = |_| Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        if let Ok(found) = tokio::time::timeout(self.0.patience.turn, &mut work).await {
            return found.unwrap_or_else(silence);
        }
        drop(turn);
        work.await.unwrap_or_else(silence)
    }
}

async fn ask(system: &SystemScope, mut digests: Vec<Digest>) -> Result<Vec<Known>, DbErr> {
    if let (Some(last), true) = (digests.last().copied(), digests.len() > 1) {
        digests.resize(MOST, last);
    }
    // uq_api_keys_digest
    let sql = format!(
        "SELECT k.digest, k.id, k.account_id, k.client_kind, k.last_used_at FROM api_keys k \
         JOIN accounts a ON a.id = k.account_id \
         WHERE k.digest IN ({}) AND k.revoked_at IS NULL AND a.deleted_at IS NULL",
        holes(1, digests.len())
    );
    let values = digests.iter().map(|digest| Value::from(digest.to_vec()));
    system.query(&sql, values).await?.iter().map(known).collect()
}

fn known(row: &QueryResult) -> Result<Known, DbErr> {
    let digest: Vec<u8> = row.try_get("", "digest")?;
    Ok(Known {
        digest: digest.try_into().map_err(|_| DbErr::Type("a digest has 32 bytes".into()))?,
        caller: Caller {
            account_id: row.try_get("", "account_id")?,
            api_key_id: row.try_get("", "id")?,
            client_kind: row.try_get("", "client_kind")?,
        },
        last_used_at: row.try_get("", "last_used_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        [number; 32]
    }

    #[test]
    fn who_comes_after_a_look_has_begun_is_served_by_the_next() {
        let lookups = KeyLookups::default();
        let first = lookups.join(&digest(1));
        assert!(Arc::ptr_eq(&first, &lookups.join(&digest(2))), "they gather");
        assert!(Arc::ptr_eq(&first, &lookups.join(&digest(1))), "for the same key too");
        assert_eq!(first.begin(), [digest(1), digest(2)]);
        // The key may have been revoked since.
        let second = lookups.join(&digest(1));
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(second.begin(), [digest(1)]);
    }

    #[tokio::test]
    async fn looks_that_hang_hold_up_nobody_for_long_and_end() {
        let patience = Patience { turn: Duration::ZERO, database: Duration::from_millis(100) };
        let lookups = KeyLookups::new(patience);
        let ended = Mutex::new(Vec::new());
        let hangs = async || {
            let answer = lookups.in_turn(std::future::pending::<Result<(), DbErr>>).await;
            ended.lock().push("one that hung");
            answer
        };
        let third = async {
            let answer = lookups.in_turn(async || Ok(())).await;
            ended.lock().push("the third");
            answer
        };
        let (one, two, third) = tokio::join!(hangs(), hangs(), third);
        assert_eq!(third, Ok(()));
        for hung in [one, two] {
            assert!(matches!(hung, Err(DbErr::ConnectionAcquire(_))), "{hung:?}");
        }
        assert_eq!(*ended.lock(), ["the third", "one that hung", "one that hung"]);
    }

    #[test]
    fn a_look_takes_no_more_keys_than_its_statement_has_room_for() {
        let lookups = KeyLookups::default();
        let first = lookups.join(&digest(0));
        for number in 0..17 {
            lookups.join(&digest(number));
        }
        assert_eq!(first.begin().len(), MOST);
        assert_eq!(lookups.join(&digest(17)).begin(), [digest(16), digest(17)]);
    }
}
