//! Contacts that were given at once, as a list: stored in the request's own transaction where one takes them, else in several
//! before it.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::{
    clock::Timestamp,
    crypto::SuppressionKey,
    db::Db,
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
    staged: Option<Staged>,
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
            return Ok(Self { new, staged: None });
        }
        let mut staged = begin(db, account_id, &new.name).await?;
        let filled = async {
            goes_on().await?;
            for chunk in chunks {
                let add = async |system: &SystemScope| {
                    let scope = system.account(account_id);
                    staged_imports::add(&scope, key, &staged, chunk, Timestamp::now()).await
                };
                let added = SystemScope::in_transaction(db, add).await?;
                staged.note(added);
                points::reach("import_between_chunks");
            }
            ApiResult::Ok(())
        };
        match filled.await {
            Ok(()) => Ok(Self { new, staged: Some(staged) }),
            Err(error) => {
                give_up(db, account_id, &staged).await;
                Err(error)
            }
        }
    }

    /// Leaves it at that: another request has answered, or the transaction could not begin.
    pub async fn abandon(self, db: &Db, account_id: Uuid) {
        if let Some(staged) = &self.staged {
            give_up(db, account_id, staged).await;
        }
    }

    /// Makes the import, or has it seen.
    ///
    /// # Errors
    /// `service_unavailable` when it took too long; what the database refuses.
    pub async fn import(self, scope: &Scope, key: &SuppressionKey) -> ApiResult<Model> {
        let Self { new, staged } = self;
        let now = Timestamp::now();
        match staged {
            Some(staged) => staged_imports::reveal(scope, key, staged, &new, now).await,
            None => contact_imports::create(scope, key, new, now).await,
        }
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
