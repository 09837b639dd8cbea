//! A transaction of a test's own on PostgreSQL, and who waits for what it locked.

use std::{sync::Arc, time::Duration};

use ampout::{
    db::WriteTx,
    tenancy::{Conn, SystemScope},
};
use sea_orm::DbBackend;
use testkit::wait::eventually;

use super::World;

const DEADLINE: Duration = Duration::from_secs(30);

/// An open transaction.
pub struct Held {
    tx: Arc<WriteTx>,
    pub system: SystemScope,
    /// The server's process behind it.
    pid: i32,
}

impl Held {
    /// `None` on SQLite, where nobody waits for a row.
    pub async fn begin(w: &World) -> Option<Self> {
        if w.db().backend() != DbBackend::Postgres {
            return None;
        }
        let tx = Arc::new(w.db().begin().await.unwrap());
        let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
        let row = system.query_one("SELECT pg_backend_pid() AS pid", []).await.unwrap().unwrap();
        Some(Self { tx, pid: row.try_get("", "pid").unwrap(), system })
    }

    /// Waits until somebody waits for it.
    pub async fn is_waited_for(&self, w: &World) {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND {} = ANY (pg_blocking_pids(pid))",
            self.pid
        );
        let seen = eventually(DEADLINE, || async { (w.number(&sql, []).await > 0).then_some(()) }).await;
        seen.expect("nobody waits for what the test has locked");
    }

    /// Lets go, and keeps what was written.
    pub async fn commit(self) {
        drop(self.system);
        self.tx.commit_shared().await.unwrap();
    }
}
