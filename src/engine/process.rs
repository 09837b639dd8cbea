//! Who is alive. Every engine process has a row that it renews by the database's clock; one that stays silent is
//! declared dead by any other, and what it held is void. A dead process never comes back: it goes on under a new id.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sea_orm::{ConnectionTrait, DbErr, Statement, Value};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock::new_id,
    db::{self, Db},
};

/// How often the row is renewed; more often where silence is declared sooner than six times this.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// The part of the permitted silence that is kept back: between a look at [`Liveness`] and the act it permits.
const MARGIN: u32 = 6;

/// How long rows of dead processes are kept, for people to look at.
const KEEP_DEAD: Duration = Duration::from_secs(7 * 86_400);

/// Whether this process may act on what it holds. Cheap to clone and to ask; asked before DATA and before the dot.
#[derive(Clone, Debug)]
pub struct Liveness(Arc<State>);

#[derive(Debug)]
struct State {
    /// What `renewed` counts from.
    origin: Instant,
    /// When the last successful renewal was begun, in microseconds after `origin`.
    renewed: AtomicU64,
    lost: AtomicBool,
    allowed_silence: Duration,
}

impl Liveness {
    /// Alive since `begun`, the moment before the row was written.
    fn new(begun: Instant, dead_after: Duration) -> Self {
        Self(Arc::new(State {
            origin: begun,
            renewed: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            allowed_silence: dead_after.saturating_sub(dead_after / MARGIN),
        }))
    }

    /// `false` as soon as another process might have declared this one dead. Measured on this machine's monotonic
    /// clock from before the last renewal, so that a process which was stopped and wakes up sees it at once. Not so where the
    /// whole machine was suspended: Linux stops that clock with it. What such a process had marked it still sends, once, and
    /// is recorded as uncertain by then.
    pub fn is_alive(&self) -> bool {
        self.is_alive_at(Instant::now())
    }

    fn is_alive_at(&self, now: Instant) -> bool {
        let renewed = self.0.origin + Duration::from_micros(self.0.renewed.load(Ordering::Acquire));
        !self.0.lost.load(Ordering::Acquire)
            && now.saturating_duration_since(renewed) < self.0.allowed_silence
    }

    fn renewed_at(&self, begun: Instant) {
        let after = begun.saturating_duration_since(self.0.origin).as_micros();
        self.0.renewed.store(u64::try_from(after).unwrap_or(0), Ordering::Release);
    }

    fn lose(&self) {
        self.0.lost.store(true, Ordering::Release);
    }
}

/// This process's row and what it knows of its own life.
#[derive(Clone, Debug)]
pub struct Process {
    /// The row's id; holder of what this process claims.
    pub id: Uuid,
    /// Whether it may still act.
    pub liveness: Liveness,
    dead_after: Duration,
}

impl Process {
    /// Writes a new row. `name` is for people: a host and a process number.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn register(db: &Db, name: &str, dead_after: Duration) -> Result<Self, DbErr> {
        let (id, begun) = (new_id(), Instant::now());
        let tx = db.begin().await?;
        let now = now_sql(tx.connection());
        let text = format!(
            "INSERT INTO engine_processes (id, name, started_at, heartbeat_at) VALUES ($1, $2, {now}, {now})"
        );
        execute(tx.connection(), &text, [id.into(), name.into()]).await?;
        tx.commit().await?;
        Ok(Self { id, liveness: Liveness::new(begun, dead_after), dead_after })
    }

    /// Says that this process lives. `false`: it was declared dead, and its liveness is lost for good.
    ///
    /// # Errors
    /// What the database refuses; nothing is known then, and the liveness ends by itself if it lasts.
    pub async fn renew(&self, db: &Db) -> Result<bool, DbErr> {
        let begun = Instant::now();
        let tx = db.begin().await?;
        let now = now_sql(tx.connection());
        let text =
            format!("UPDATE engine_processes SET heartbeat_at = {now} WHERE id = $1 AND dead_at IS NULL");
        let living = execute(tx.connection(), &text, [self.id.into()]).await? > 0;
        tx.commit().await?;
        if living {
            self.liveness.renewed_at(begun);
        } else {
            self.liveness.lose();
        }
        Ok(living)
    }

    /// Renews until `stop`. Cancels `life` when the process was declared dead.
    pub(super) async fn keep_alive(&self, db: &Db, life: &CancellationToken, stop: &CancellationToken) {
        let every = RENEW_EVERY.min(self.dead_after / MARGIN);
        while !stop.is_cancelled() {
            // Time for another try, on another connection, before others may declare this process dead.
            match tokio::time::timeout(self.dead_after / 3, self.renew(db)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    tracing::error!(process = %self.id, "this process was declared dead; its loops start anew");
                    life.cancel();
                    return stop.cancelled().await;
                }
                Ok(Err(error)) => tracing::warn!(process = %self.id, %error, "liveness not renewed"),
                Err(_) => tracing::warn!(process = %self.id, "liveness not renewed in time"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Ends this life: nothing may be done in its name any more, and others need not wait for silence before they
    /// void what it still holds.
    ///
    /// # Errors
    /// What the database refuses; the others then wait.
    pub async fn resign(&self, db: &Db) -> Result<(), DbErr> {
        self.liveness.lose();
        let text = "UPDATE engine_processes SET heartbeat_at = 0 WHERE id = $1 AND dead_at IS NULL";
        let tx = db.begin().await?;
        execute(tx.connection(), text, [self.id.into()]).await?;
        tx.commit().await
    }
}

/// [`find_dead`] in a transaction of its own, where a look finds that anybody has been silent: at most polls nobody was,
/// and nothing is written.
pub(super) async fn declare_dead(db: &Db, dead_after: Duration) -> Result<Vec<Uuid>, DbErr> {
    let now = now_sql(db.pool());
    let text = format!("SELECT id FROM engine_processes WHERE dead_at IS NULL AND heartbeat_at < {now} - $1");
    if query(db.pool(), &text, [micros(dead_after).into()]).await?.is_empty() {
        return Ok(Vec::new());
    }
    let tx = db.begin().await?;
    let dead = find_dead(tx.connection(), dead_after).await?;
    tx.commit().await?;
    Ok(dead)
}

/// Declares dead whoever has been silent for `dead_after`, and answers their ids. It is for good, and what they held is
/// void from then on: every look of any process's recovery loop finds it by `dead_at`, until it is voided. Served by
/// `ix_engine_processes_alive (heartbeat_at) WHERE dead_at IS NULL`.
///
/// # Errors
/// What the database refuses.
pub async fn find_dead(conn: &impl ConnectionTrait, dead_after: Duration) -> Result<Vec<Uuid>, DbErr> {
    let now = now_sql(conn);
    let text = format!(
        "UPDATE engine_processes SET dead_at = {now} WHERE dead_at IS NULL AND heartbeat_at < {now} - $1 RETURNING id"
    );
    let found = query(conn, &text, [micros(dead_after).into()]).await?;
    found.iter().map(|row| row.try_get("", "id")).collect()
}

/// How many processes were heard of within `dead_after`.
///
/// # Errors
/// What the database refuses.
pub async fn count_alive(conn: &impl ConnectionTrait, dead_after: Duration) -> Result<i64, DbErr> {
    let now = now_sql(conn);
    let text = format!(
        "SELECT count(*) AS many FROM engine_processes WHERE dead_at IS NULL AND heartbeat_at >= {now} - $1"
    );
    let found = query(conn, &text, [micros(dead_after).into()]).await?;
    Ok(found.first().map(|row| row.try_get("", "many")).transpose()?.unwrap_or_default())
}

/// Deletes the rows of processes that have been dead for a week. What one still holds is found by its row.
/// `ix_enrollments_held`, `ix_smtp_credentials_holder`
pub(super) async fn forget_dead(conn: &impl ConnectionTrait) -> Result<u64, DbErr> {
    let text = format!(
        "DELETE FROM engine_processes WHERE dead_at < {} - $1 \
         AND NOT EXISTS (SELECT 1 FROM enrollments e WHERE e.progress = 'claimed' AND e.process_id = engine_processes.id) \
         AND NOT EXISTS (SELECT 1 FROM smtp_credentials s WHERE s.holder = engine_processes.id)",
        now_sql(conn)
    );
    execute(conn, &text, [micros(KEEP_DEAD).into()]).await
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

/// The database's now as a subquery, so that it is read once and an index serves the comparison.
fn now_sql(conn: &impl ConnectionTrait) -> String {
    format!("(SELECT {})", db::clock_sql(conn.get_database_backend()))
}

#[expect(clippy::disallowed_methods, reason = "the door to engine_processes, which belongs to no account")]
async fn execute(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, DbErr> {
    let statement = Statement::from_sql_and_values(conn.get_database_backend(), text, values);
    Ok(conn.execute_raw(statement).await?.rows_affected())
}

#[expect(clippy::disallowed_methods, reason = "the door to engine_processes, which belongs to no account")]
async fn query(
    conn: &impl ConnectionTrait,
    text: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<sea_orm::QueryResult>, DbErr> {
    conn.query_all_raw(Statement::from_sql_and_values(conn.get_database_backend(), text, values)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_stops_acting_before_others_may_declare_it_dead() {
        let begun = Instant::now();
        let liveness = Liveness::new(begun, Duration::from_secs(30));
        assert!(liveness.is_alive_at(begun + Duration::from_secs(24)));
        assert!(!liveness.is_alive_at(begun + Duration::from_secs(25)));
        liveness.renewed_at(begun + Duration::from_secs(10));
        assert!(liveness.is_alive_at(begun + Duration::from_secs(34)));
        assert!(!liveness.is_alive_at(begun + Duration::from_secs(35)));
    }

    #[test]
    fn a_lost_life_is_lost_for_all_clones_and_for_good() {
        let begun = Instant::now();
        let liveness = Liveness::new(begun, Duration::from_secs(30));
        let clone = liveness.clone();
        liveness.lose();
        liveness.renewed_at(begun + Duration::from_secs(1));
        assert!(!clone.is_alive_at(begun));
    }
}
