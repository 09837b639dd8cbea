//! The first locks of a commit: what makes the ledger free of deadlocks on PostgreSQL (see docs/ARCHITECTURE.md).
//!
//! The periods of every account that the commit touches come first, by account: two ledgers never work on one account
//! at the same time, and their other locks need no order between them. Then the campaigns, shared: a request locks its
//! campaign alone before anything below it, so that the two never meet there.

use std::{collections::BTreeSet, time::Duration};

use sea_orm::{DbBackend, DbErr};
use uuid::Uuid;

use super::{Owner, claim::Want};
use crate::{clock::Timestamp, db::Sql, models::periods, tenancy::SystemScope};

/// Periods that ended longer ago are not counted in any more.
const RECENT: Duration = Duration::from_secs(62 * 24 * 3600);
/// Nothing that may go on for long keeps such a lock. Who waits for one that is kept holds up all lanes: the commit is given
/// up then, and its entries go one by one. And what a change reads is found by keys alone, whichever they are: to plan
/// that anew for each set of them takes longer than to read it.
///
/// Such a plan is kept until the tables are analyzed the next time, and is often made when they are new and nothing is known
/// of them: it would look at each of twenty rows then, and go on like that when they are millions. So ways that take
/// more than keys are out.
pub(super) const SETTLING: &str = "SET lock_timeout = '500ms'; SET plan_cache_mode = force_generic_plan; \
     SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";
/// What is due is found by plans that know the limits.
const CLAIMING: &str = "SET LOCAL plan_cache_mode = auto";
/// How often periods are locked that gave way while they were waited for.
const TRIES: usize = 5;

/// Locks what changes of these and these claims will need, and makes the periods that claims count in.
pub(super) async fn take(
    system: &SystemScope,
    changed: impl IntoIterator<Item = Owner>,
    wants: &[&Want],
    now: Timestamp,
) -> Result<(), DbErr> {
    let claiming: BTreeSet<Uuid> = wants.iter().map(|want| want.account_id).collect();
    periods::open_all(system, &in_order(&claiming), now).await?;
    let (mut accounts, mut campaigns) = (claiming.clone(), BTreeSet::new());
    campaigns.extend(wants.iter().map(|want| want.campaign_id));
    for owner in changed {
        accounts.insert(owner.account_id);
        campaigns.insert(owner.campaign_id);
    }
    if system.backend() != DbBackend::Postgres || campaigns.is_empty() {
        return Ok(());
    }
    // Without a claim no period need be open, and one round trip does: the first part of a UNION ALL is read to its end
    // before the second.
    let mut sql = Sql::new(system.backend(), "");
    if claiming.is_empty() {
        sql.push("SELECT id FROM (SELECT account_id AS id FROM ");
        periods_of(&mut sql, &accounts, now);
        sql.push(") p UNION ALL ");
    } else {
        hold_periods(system, &accounts, &claiming, now).await?;
    }
    sql.push("SELECT id FROM (SELECT id FROM campaigns WHERE id");
    sql.among(&in_order(&campaigns));
    sql.push(" ORDER BY id FOR SHARE) k");
    system.query(&sql.text, sql.values).await.map(drop)
}

fn in_order(ids: &BTreeSet<Uuid>) -> Vec<Uuid> {
    ids.iter().copied().collect()
}

/// Waits for no lock longer than a ledger does, in a transaction on another's connection: those who leave lanes are few at
/// a time, and a campaign that somebody keeps locked must not hold up the lanes of others.
///
/// # Errors
/// What the database refuses.
pub async fn lock_soon(system: &SystemScope) -> Result<(), DbErr> {
    if system.backend() == DbBackend::Postgres {
        system.execute("SET LOCAL lock_timeout = '500ms'", []).await?;
    }
    Ok(())
}

/// What claims ask for comes behind what is settled.
pub(super) async fn before_claims(system: &SystemScope) -> Result<(), DbErr> {
    if system.backend() == DbBackend::Postgres {
        system.execute(CLAIMING, []).await?;
    }
    Ok(())
}

/// Locks the periods; those of `claiming` hold `now`. Billing ends a period and begins the next in one commit, and who
/// waited for the one is shown only rows that were there before: the next is locked by another look, or a test message
/// could take the same last send. Nobody waits in a circle: of an account's periods the earliest is always the first.
async fn hold_periods(
    system: &SystemScope,
    accounts: &BTreeSet<Uuid>,
    claiming: &BTreeSet<Uuid>,
    now: Timestamp,
) -> Result<(), DbErr> {
    for _ in 0..TRIES {
        let mut sql = Sql::new(system.backend(), "SELECT account_id, period_start, period_end FROM ");
        periods_of(&mut sql, accounts, now);
        let mut open = BTreeSet::new();
        for row in system.query(&sql.text, sql.values).await? {
            let (start, end): (Timestamp, Timestamp) =
                (row.try_get("", "period_start")?, row.try_get("", "period_end")?);
            if start <= now && now < end {
                open.insert(row.try_get::<Uuid>("", "account_id")?);
            }
        }
        if claiming.is_subset(&open) {
            return Ok(());
        }
    }
    Err(DbErr::Custom("the period of an account changed again and again".into()))
}

/// The periods of these accounts, locked in their order.
fn periods_of(sql: &mut Sql, accounts: &BTreeSet<Uuid>, now: Timestamp) {
    sql.push("account_periods WHERE account_id");
    sql.among(&in_order(accounts));
    sql.push(" AND period_end > ");
    sql.value(now.minus(RECENT).micros().into());
    sql.push(" ORDER BY account_id, period_start FOR UPDATE");
}
