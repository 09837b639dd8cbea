//! Lanes are taken, and freed where nobody works on them.

use sea_orm::{DbBackend, DbErr, QueryResult};
use uuid::Uuid;

use super::Lane;
use crate::{
    clock::Timestamp,
    db::{Db, RowLock, Sql, lock_sql},
    tenancy::{Conn, SystemScope},
};

/// How many lanes may be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of all lanes.
    pub all: usize,
    /// Of those among them whose server failed them the last time.
    pub failing: usize,
    /// Accounts of which none of those are taken.
    pub crowded: Vec<Uuid>,
}

impl Room {
    /// For this many, whatever their servers did.
    pub const fn of(all: usize) -> Self {
        Self { all, failing: all, crowded: Vec::new() }
    }
}

/// Takes lanes that are awake and held by nobody, those that wait longest first, but none of `leaving`: what this process
/// may have left already it will leave once more.
///
/// # Errors
/// What the database refuses.
pub async fn acquire(
    db: &Db,
    process: Uuid,
    room: &Room,
    leaving: &[Uuid],
    now: Timestamp,
) -> Result<Vec<Lane>, DbErr> {
    let look = Look { room, leaving, now };
    let (serving, failing) = look.counts(db).await?;
    if serving == 0 && failing == 0 {
        return Ok(Vec::new());
    }
    SystemScope::in_transaction(db, async |system| {
        let mut taken = Vec::new();
        for (kind, most) in [(Kind::Serving, serving), (Kind::Failing, failing)] {
            if most > 0 {
                let sql = look.take(system, process, kind, most);
                for row in system.query(&sql.text, sql.values).await? {
                    taken.push(Lane::of(&row)?);
                }
            }
        }
        Ok(taken)
    })
    .await
}

/// Which kinds those are of that wait longest, one to a row. `ix_smtp_credentials_wake`
pub fn look_sql(backend: DbBackend, room: &Room, leaving: &[Uuid], now: Timestamp) -> Sql {
    let look = Look { room, leaving, now };
    let mut sql = Sql::new(backend, "SELECT failing FROM (SELECT * FROM (SELECT wake_at, 0 AS failing");
    look.awake(&mut sql, Kind::Serving, room.all);
    sql.push(") s UNION ALL SELECT * FROM (SELECT wake_at, 1 AS failing");
    look.awake(&mut sql, Kind::Failing, room.failing);
    sql.push(") f) a ORDER BY wake_at LIMIT ");
    sql.value(count(room.all).into());
    sql
}

/// Whether a lane's server failed it the last time.
#[derive(Clone, Copy)]
enum Kind {
    Serving,
    Failing,
}

/// A look at the lanes that are awake.
struct Look<'a> {
    room: &'a Room,
    leaving: &'a [Uuid],
    now: Timestamp,
}

impl Look<'_> {
    /// How many of each kind there are among those that wait longest. Looked at without a write, so that an idle engine
    /// writes nothing.
    async fn counts(&self, db: &Db) -> Result<(usize, usize), DbErr> {
        if self.room.all == 0 {
            return Ok((0, 0));
        }
        let sql = look_sql(db.backend(), self.room, self.leaving, self.now);
        let rows = SystemScope::new(Conn::Pool(db.pool().clone())).query(&sql.text, sql.values).await?;
        let mut failing = 0;
        for row in &rows {
            failing += usize::from(row.try_get::<i32>("", "failing")? == 1);
        }
        Ok((rows.len() - failing, failing))
    }

    /// Materialized: PostgreSQL may ask a subquery again for each row, and every time get others than those it has locked.
    fn take(&self, system: &SystemScope, process: Uuid, kind: Kind, most: usize) -> Sql {
        let mut sql = Sql::new(system.backend(), "WITH awake AS MATERIALIZED (SELECT id");
        self.awake(&mut sql, kind, most);
        sql.push(lock_sql(system.backend(), RowLock::UpdateSkipLocked));
        sql.push(") UPDATE smtp_credentials SET holder = ");
        sql.value(process.into());
        sql.push(
            " WHERE id IN (SELECT id FROM awake) AND holder IS NULL RETURNING id, campaign_id, account_id, failures",
        );
        sql
    }

    /// Those of a kind that wait longest. `ix_smtp_credentials_wake`
    fn awake(&self, sql: &mut Sql, kind: Kind, most: usize) {
        sql.push(" FROM smtp_credentials WHERE wake_at IS NOT NULL AND holder IS NULL AND wake_at <= ");
        sql.value(self.now.micros().into());
        sql.push(match kind {
            Kind::Serving => " AND failures = 0",
            Kind::Failing => " AND failures > 0",
        });
        sql.push(" AND next_send_at <= ");
        sql.value(self.now.micros().into());
        sql.push(" AND disabled_at IS NULL AND deleted_at IS NULL");
        if !self.leaving.is_empty() {
            sql.push(" AND NOT id");
            sql.among(self.leaving);
        }
        if matches!(kind, Kind::Failing) && !self.room.crowded.is_empty() {
            sql.push(" AND NOT account_id");
            sql.among(&self.room.crowded);
        }
        sql.push(" ORDER BY wake_at LIMIT ");
        sql.value(count(most).into());
    }
}

fn count(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

impl Lane {
    fn of(row: &QueryResult) -> Result<Self, DbErr> {
        Ok(Self {
            credential_id: row.try_get("", "id")?,
            campaign_id: row.try_get("", "campaign_id")?,
            account_id: row.try_get("", "account_id")?,
            failures: row.try_get("", "failures")?,
        })
    }
}

/// Lanes that are held in the name of somebody who does not work on them.
#[derive(Clone, Copy, Debug)]
pub enum Idle<'a> {
    /// Of processes that were declared dead.
    OfDead,
    /// Of this process, but for those that are at work.
    Of(Uuid, &'a [Uuid]),
}

impl Idle<'_> {
    /// What `smtp_credentials` are held so. `ix_smtp_credentials_holder`
    fn narrow(self, sql: &mut Sql) {
        match self {
            Self::OfDead => sql.push(
                "holder IS NOT NULL AND holder IN (SELECT id FROM engine_processes WHERE dead_at IS NOT NULL)",
            ),
            Self::Of(process, at_work) => {
                sql.push("holder = ");
                sql.value(process.into());
                if !at_work.is_empty() {
                    sql.push(" AND NOT id");
                    sql.among(at_work);
                }
            }
        }
    }
}

/// Frees lanes that nobody works on. It has no campaign locked, so it must not wait for rows: those that are locked stay
/// as they are, to be looked at again.
///
/// # Errors
/// What the database refuses.
pub async fn free(system: &SystemScope, whose: Idle<'_>, now: Timestamp) -> Result<u64, DbErr> {
    let mut sql = Sql::new(system.backend(), "UPDATE smtp_credentials SET holder = NULL, wake_at = ");
    sql.value(now.micros().into());
    sql.push(" WHERE id IN (SELECT id FROM smtp_credentials WHERE ");
    whose.narrow(&mut sql);
    sql.push(" ORDER BY id");
    sql.push(lock_sql(system.backend(), RowLock::UpdateSkipLocked));
    sql.push(")");
    system.execute(&sql.text, sql.values).await
}

/// How many lanes nobody works on.
///
/// # Errors
/// What the database refuses.
pub async fn count_idle(system: &SystemScope, whose: Idle<'_>) -> Result<i64, DbErr> {
    let mut sql = Sql::new(system.backend(), "SELECT count(*) AS idle FROM smtp_credentials WHERE ");
    whose.narrow(&mut sql);
    match system.query_one(&sql.text, sql.values).await? {
        Some(row) => row.try_get("", "idle"),
        None => Ok(0),
    }
}
