//! Contacts that were given at once, as a list: stored in the request's own transaction where one takes them, else in several
//! before it.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::{
    clock::Timestamp,
    crypto::SuppressionKey,
    db::{self, Db},
    errors::{ApiError, ApiResult},
    models::{
        contact_imports::{self, Model, NewImport},
        staged_imports::{self, Staged},
    },
    points,
    tenancy::{Conn, Scope, SystemScope},
};

/// How long a list waits for another of its account: longer than one that was cut off is in the way.
const WAIT: Duration = Duration::from_secs(40);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A list on its way in.
pub struct Listed {
    new: NewImport,
    hidden: Option<Box<Hidden>>,
}

/// What was stored of a list and is not seen. Whatever ends its request before it is (an error, a roll-back, a client that went
/// away) drops this and so gives it up: the next list of the account need not wait. To one that is seen after all, behind a
/// commit that nobody confirmed, that does nothing.
pub struct Hidden {
    db: Db,
    account_id: Uuid,
    staged: Staged,
    /// There is nothing to give up any more.
    settled: bool,
}

impl Listed {
    /// Stores what is more than one transaction is to store, hidden, and lets others write in between. One list of an account
    /// at a time: two with the same addresses would take them from each other. `goes_on` is asked when this one's turn has come:
    /// the one before may have been the same.
    ///
    /// # Errors
    /// `service_unavailable` when others of the account take too long; that of `goes_on`; what the database refuses. What was
    /// stored then is removed later.
    pub async fn take(
        db: &Db,
        account_id: Uuid,
        key: &SuppressionKey,
        new: NewImport,
        goes_on: impl AsyncFnOnce() -> ApiResult<()>,
    ) -> ApiResult<Self> {
        let chunks = new.valid.chunks();
        if chunks.len() <= 1 {
            return Ok(Self { new, hidden: None });
        }
        let staged = begin(db, account_id, &new.name).await?;
        let mut hidden = Box::new(Hidden { db: db.clone(), account_id, staged, settled: false });
        let filled = async {
            goes_on().await?;
            for chunk in chunks {
                let staged = &hidden.staged;
                let add = async |system: &SystemScope| {
                    let scope = system.account(account_id);
                    staged_imports::add(&scope, key, staged, chunk, Timestamp::now()).await
                };
                let added = SystemScope::in_transaction(db, add).await?;
                hidden.staged.note(added);
                points::reach("import_between_chunks");
            }
            ApiResult::Ok(())
        };
        match filled.await {
            Ok(()) => Ok(Self { new, hidden: Some(hidden) }),
            Err(error) => {
                hidden.give_up().await;
                Err(error)
            }
        }
    }

    /// Leaves it at that: another request has answered, or the transaction could not begin.
    pub async fn abandon(self) {
        if let Some(hidden) = self.hidden {
            hidden.give_up().await;
        }
    }

    /// Makes the import, or has it seen. Where it had been stored before, that is answered too: to be kept until the
    /// transaction has ended, and told when it was committed.
    ///
    /// # Errors
    /// `service_unavailable` when it took too long; what the database refuses.
    pub async fn import(
        self,
        scope: &Scope,
        key: &SuppressionKey,
    ) -> ApiResult<(Model, Option<Box<Hidden>>)> {
        let Self { new, hidden } = self;
        let now = Timestamp::now();
        let made = match &hidden {
            Some(hidden) => staged_imports::reveal(scope, key, hidden.staged.clone(), &new, now).await?,
            None => contact_imports::create(scope, key, new, now).await?,
        };
        Ok((made, hidden))
    }
}

impl Hidden {
    /// It is seen, and that is durable.
    pub fn note_seen(mut self) {
        self.settled = true;
    }

    /// Gives it up, and waits for that.
    async fn give_up(mut self) {
        give_up(&self.db, self.account_id, &self.staged).await;
        self.settled = true;
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let (db, account_id, staged) = (self.db.clone(), self.account_id, self.staged.clone());
        // The request's transaction may be open still: this waits for its end.
        db::leave(async move { give_up(&db, account_id, &staged).await });
    }
}

/// Begins when no other list of the account is being stored.
async fn begin(db: &Db, account_id: Uuid, name: &str) -> ApiResult<Staged> {
    let deadline = Instant::now() + WAIT;
    let reading = SystemScope::new(Conn::Pool(db.pool().clone())).account(account_id);
    loop {
        if !staged_imports::any(&reading, Timestamp::now()).await? {
            let begin = async |system: &SystemScope| {
                staged_imports::begin(&system.account(account_id), name, Timestamp::now()).await
            };
            if let Some(staged) = SystemScope::in_transaction(db, begin).await? {
                return Ok(staged);
            }
        }
        if Instant::now() > deadline {
            return Err(ApiError::unavailable("other imports of the account are being stored"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Where this fails too, the next list of the account waits until the time of this one is over.
async fn give_up(db: &Db, account_id: Uuid, staged: &Staged) {
    let work = async |system: &SystemScope| {
        staged_imports::give_up(&system.account(account_id), staged, Timestamp::now()).await
    };
    if let Err(error) = SystemScope::in_transaction(db, work).await {
        tracing::warn!(%error, "an import that failed could not be given up; it is removed later");
    }
}
