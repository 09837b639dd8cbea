//! What is left for a lane: of the account's period, of its own day, and whether its mailbox was read lately.

use sea_orm::DbErr;

use super::claim::Want;
use crate::{
    clock::Timestamp,
    db::{RowLock, lock_sql},
    tenancy::SystemScope,
};

/// What a lane may take.
pub(super) struct Room {
    /// Of the account's period.
    pub(super) sends: i64,
    /// First steps of its day.
    pub(super) firsts: i64,
    pub(super) period: Timestamp,
    pub(super) day: i64,
    pub(super) from_email: String,
    /// Its mailbox was not read lately: no follow-ups.
    pub(super) unread: bool,
}

/// What the limits leave, if the lane may send at all. The period is there and locked (`order`).
pub(super) async fn room(
    system: &SystemScope,
    want: &Want,
    now: Timestamp,
    read_since: Timestamp,
) -> Result<Option<Room>, DbErr> {
    let lock = lock_sql(system.backend(), RowLock::Update);
    let period = system
        .query_one(
            "SELECT p.period_start, p.sends, p.reserved, l.monthly_limit FROM account_periods p \
             JOIN accounts a ON a.id = p.account_id JOIN plans l ON l.id = a.plan_id \
             WHERE p.account_id = $1 AND p.period_start <= $2 AND p.period_end > $2 \
             ORDER BY p.period_start DESC LIMIT 1",
            [want.account_id.into(), now.micros().into()],
        )
        .await?;
    let Some(period) = period else { return Ok(None) };
    let start = period.try_get("", "period_start")?;
    let used = period.try_get::<i64>("", "sends")? + period.try_get::<i64>("", "reserved")?;
    let sends = period.try_get::<i64>("", "monthly_limit")? - used;
    let of = if lock.is_empty() { "" } else { " OF s" };
    let lane = system
        .query_one(
            &format!(
                "SELECT s.daily_limit, s.from_email, s.imap_username IS NOT NULL AS has_mailbox, m.last_read_at \
                 FROM smtp_credentials s \
                 JOIN campaigns k ON k.account_id = s.account_id AND k.id = s.campaign_id \
                 LEFT JOIN mailboxes m ON m.account_id = s.account_id AND m.host = lower(s.imap_host) \
                 AND m.port = s.imap_port AND m.username = s.imap_username \
                 WHERE s.account_id = $1 AND s.id = $2 AND s.holder = $3 AND s.disabled_at IS NULL \
                 AND s.deleted_at IS NULL AND k.status = 'active' AND k.deleted_at IS NULL{lock}{of}"
            ),
            [want.account_id.into(), want.credential_id.into(), want.process_id.into()],
        )
        .await?;
    let Some(lane) = lane else { return Ok(None) };
    let day = now.day();
    system
        .execute(
            "INSERT INTO credential_days (smtp_credential_id, day, account_id) VALUES ($1, $2, $3) \
             ON CONFLICT (smtp_credential_id, day) DO NOTHING",
            [want.credential_id.into(), day.into(), want.account_id.into()],
        )
        .await?;
    let today = system
        .query_one(
            "SELECT reserved, first_sends FROM credential_days WHERE smtp_credential_id = $1 AND day = $2",
            [want.credential_id.into(), day.into()],
        )
        .await?;
    let taken = match today {
        Some(today) => today.try_get::<i32>("", "reserved")? + today.try_get::<i32>("", "first_sends")?,
        None => 0,
    };
    let firsts = i64::from(lane.try_get::<i32>("", "daily_limit")? - taken);
    let read_at = lane.try_get::<Option<Timestamp>>("", "last_read_at")?.unwrap_or_default();
    let unread = lane.try_get("", "has_mailbox")? && read_at < read_since;
    Ok(Some(Room { sends, firsts, period: start, day, from_email: lane.try_get("", "from_email")?, unread }))
}
