//! Takes due work for a lane: follow-ups and retries first, then first steps in the order of their batches; never more
//! than the day of the credential and the period of the account have left. What is taken is reserved in both.

use std::collections::HashMap;

use sea_orm::{DbBackend, DbErr, Value};
use uuid::Uuid;

use super::{
    Owner,
    room::{Room, room},
};
use crate::{
    clock::{Timestamp, new_id},
    db::{RowLock, Sql, lock_sql},
    models::deliveries::message_id,
    tenancy::SystemScope,
};

/// Which lane asks, for whom, and how much it takes at most.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// The credential.
    pub credential_id: Uuid,
    /// Its campaign.
    pub campaign_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// The process that holds the lane.
    pub process_id: Uuid,
    /// At most this many.
    pub most: usize,
}

/// A delivery that the lane holds.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its row.
    pub delivery_id: Uuid,
    /// What proves that it is held.
    pub token: Uuid,
    /// Whose it is.
    pub owner: Owner,
    /// Whose step it is.
    pub enrollment_id: Uuid,
    /// Which step.
    pub position: i32,
    /// The Message-ID, made once and kept.
    pub message_id: String,
    /// Message-IDs of the accepted earlier steps, oldest first.
    pub references: Vec<String>,
    /// To whom.
    pub contact: Recipient,
}

/// Who is written to.
#[derive(Clone, Debug, Default)]
pub struct Recipient {
    /// The contact's row.
    pub id: Uuid,
    /// The address.
    pub email: String,
    /// Merge value.
    pub first_name: Option<String>,
    /// Merge value.
    pub last_name: Option<String>,
    /// Merge value.
    pub company: Option<String>,
    /// Merge values of the client's own.
    pub custom: Option<serde_json::Value>,
}

struct Due {
    enrollment_id: Uuid,
    contact_id: Uuid,
    position: i32,
}

/// Claims in the transaction of the ledger. Empty: nothing is due, or nothing may go now.
/// Follow-ups are left where the lane's mailbox was last read before `read_since`.
pub(super) async fn claim(
    system: &SystemScope,
    want: &Want,
    now: Timestamp,
    read_since: Timestamp,
) -> Result<Vec<Claimed>, DbErr> {
    let Some(room) = room(system, want, now, read_since).await? else { return Ok(Vec::new()) };
    let most = i64::try_from(want.most).unwrap_or(i64::MAX).min(room.sends);
    if most <= 0 {
        return Ok(Vec::new());
    }
    let mut due = follow_ups(system, want, &room, most, now).await?;
    hold(system, want, &due).await?;
    let mut firsts_left =
        room.firsts - i64::try_from(due.iter().filter(|d| d.position == 1).count()).unwrap_or(0);
    let mut left = most - i64::try_from(due.len()).unwrap_or(most);
    while left > 0 && firsts_left > 0 {
        let Some(firsts) = first_steps(system, want, left.min(firsts_left), now).await? else { break };
        // Held before the next look, which would find them again.
        hold(system, want, &firsts).await?;
        let taken = i64::try_from(firsts.len()).unwrap_or(left);
        left -= taken;
        firsts_left -= taken;
        due.extend(firsts);
    }
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let claimed = deliveries(system, want, &room, &due).await?;
    reserve(system, want, &room, &claimed).await?;
    Ok(claimed)
}

/// Later steps and retries of this lane. `ix_enrollments_due`
async fn follow_ups(
    system: &SystemScope,
    want: &Want,
    room: &Room,
    most: i64,
    now: Timestamp,
) -> Result<Vec<Due>, DbErr> {
    let lock = lock_sql(system.backend(), RowLock::UpdateSkipLocked);
    // A retry of a first step needs room in the day as well.
    let positions = match (room.firsts > 0, room.unread) {
        (true, false) => "",
        (false, false) => " AND next_position > 1",
        (true, true) => " AND next_position = 1",
        (false, true) => return Ok(Vec::new()),
    };
    let rows = system
        .query(
            &format!(
                "SELECT id, contact_id, next_position FROM enrollments \
                 WHERE smtp_credential_id = $1 AND progress = 'waiting' AND due_at <= $2{positions} \
                 ORDER BY due_at, id LIMIT $3{lock}"
            ),
            [want.credential_id.into(), now.micros().into(), most.into()],
        )
        .await?;
    let mut firsts_left = room.firsts;
    let mut due = Vec::with_capacity(rows.len());
    for row in &rows {
        let position: i32 = row.try_get("", "next_position")?;
        if position == 1 {
            if firsts_left == 0 {
                continue;
            }
            firsts_left -= 1;
        }
        due.push(Due {
            enrollment_id: row.try_get("", "id")?,
            contact_id: row.try_get("", "contact_id")?,
            position,
        });
    }
    Ok(due)
}

/// First steps of the next dispatched batch; `None` when no batch has any. `ix_batches_startable`, `ix_enrollments_queued`
async fn first_steps(
    system: &SystemScope,
    want: &Want,
    most: i64,
    now: Timestamp,
) -> Result<Option<Vec<Due>>, DbErr> {
    let batch = system
        .query_one(
            "SELECT id FROM batches WHERE campaign_id = $1 AND dispatched_at IS NOT NULL AND NOT drained \
             AND due_at <= $2 ORDER BY batch_number, id LIMIT 1",
            [want.campaign_id.into(), now.micros().into()],
        )
        .await?;
    let Some(batch) = batch else { return Ok(None) };
    let batch_id: Uuid = batch.try_get("", "id")?;
    let lock = lock_sql(system.backend(), RowLock::UpdateSkipLocked);
    let rows = system
        .query(
            &format!(
                "SELECT id, contact_id FROM enrollments WHERE batch_id = $1 AND progress = 'queued' \
                 ORDER BY priority DESC, id LIMIT $2{lock}"
            ),
            [batch_id.into(), most.into()],
        )
        .await?;
    if rows.is_empty() {
        return Ok(drain(system, batch_id).await?.then(Vec::new));
    }
    let due = rows.iter().map(|row| {
        Ok(Due {
            enrollment_id: row.try_get("", "id")?,
            contact_id: row.try_get("", "contact_id")?,
            position: 1,
        })
    });
    due.collect::<Result<Vec<_>, DbErr>>().map(Some)
}

/// Notes that a batch has no first step left. Locked first and looked at in a second statement: another lane may be
/// giving one back. `false`: the rows are there, but held by somebody else.
async fn drain(system: &SystemScope, batch_id: Uuid) -> Result<bool, DbErr> {
    if system.backend() == DbBackend::Postgres {
        system.query("SELECT id FROM batches WHERE id = $1 FOR UPDATE", [batch_id.into()]).await?;
    }
    let drained = system
        .execute(
            "UPDATE batches SET drained = true WHERE id = $1 AND NOT EXISTS \
             (SELECT 1 FROM enrollments e WHERE e.batch_id = $1 AND e.progress = 'queued')",
            [batch_id.into()],
        )
        .await?;
    Ok(drained > 0)
}

async fn hold(system: &SystemScope, want: &Want, due: &[Due]) -> Result<(), DbErr> {
    if due.is_empty() {
        return Ok(());
    }
    let mut sql = Sql::new(
        system.backend(),
        "UPDATE enrollments SET progress = 'claimed', due_at = NULL, smtp_credential_id = ",
    );
    sql.value(want.credential_id.into());
    sql.push(", process_id = ");
    sql.value(want.process_id.into());
    sql.push(" WHERE progress IN ('queued', 'waiting') AND id");
    sql.among(&due.iter().map(|d| d.enrollment_id).collect::<Vec<_>>());
    let held = system.execute(&sql.text, sql.values).await?;
    if held == due.len() as u64 {
        Ok(())
    } else {
        Err(DbErr::Custom("an enrollment was claimed twice".into()))
    }
}

/// Makes or takes the delivery rows. `uq_deliveries_step`
async fn deliveries(
    system: &SystemScope,
    want: &Want,
    room: &Room,
    due: &[Due],
) -> Result<Vec<Claimed>, DbErr> {
    let domain = room.from_email.rsplit('@').next().unwrap_or_default();
    let now = Timestamp::now();
    let mut sql = Sql::new(
        system.backend(),
        "INSERT INTO deliveries (id, account_id, campaign_id, enrollment_id, smtp_credential_id, position, state, \
         message_id, token, process_id, reserved_period, reserved_day, created_at) ",
    );
    sql.rows(due.iter().map(|d| {
        let id = new_id();
        [
            id.into(),
            want.account_id.into(),
            want.campaign_id.into(),
            d.enrollment_id.into(),
            want.credential_id.into(),
            d.position.into(),
            "claimed".into(),
            message_id(id, domain).into(),
            new_id().into(),
            want.process_id.into(),
            room.period.micros().into(),
            room.day.into(),
            now.micros().into(),
        ]
    }));
    sql.push(
        " ON CONFLICT (account_id, enrollment_id, position) DO UPDATE SET state = 'claimed', token = excluded.token, \
         process_id = excluded.process_id, smtp_credential_id = excluded.smtp_credential_id, \
         reserved_period = excluded.reserved_period, reserved_day = excluded.reserved_day \
         WHERE deliveries.state IN ('queued', 'deferred') RETURNING id, enrollment_id, token, message_id",
    );
    let rows = system.query(&sql.text, sql.values).await?;
    let mut taken = HashMap::with_capacity(rows.len());
    for row in &rows {
        let held: (Uuid, Uuid, String) =
            (row.try_get("", "id")?, row.try_get("", "token")?, row.try_get("", "message_id")?);
        taken.insert(row.try_get::<Uuid>("", "enrollment_id")?, held);
    }
    if taken.len() != due.len() {
        return Err(DbErr::Custom("a delivery that is due was already settled".into()));
    }
    let mut people = recipients(system, due).await?;
    let mut earlier = references(system, want, due).await?;
    let claimed = due.iter().filter_map(|d| {
        let (delivery_id, token, message_id) = taken.remove(&d.enrollment_id)?;
        Some(Claimed {
            delivery_id,
            token,
            owner: Owner { account_id: want.account_id, campaign_id: want.campaign_id },
            enrollment_id: d.enrollment_id,
            position: d.position,
            message_id,
            references: earlier.remove(&d.enrollment_id).unwrap_or_default(),
            contact: people.remove(&d.contact_id).unwrap_or_default(),
        })
    });
    Ok(claimed.collect())
}

async fn recipients(system: &SystemScope, due: &[Due]) -> Result<HashMap<Uuid, Recipient>, DbErr> {
    let ids: Vec<Uuid> = due.iter().map(|d| d.contact_id).collect();
    let mut sql = Sql::new(
        system.backend(),
        "SELECT id, email, first_name, last_name, company, custom FROM contacts WHERE id",
    );
    sql.among(&ids);
    let rows = system.query(&sql.text, sql.values).await?;
    let each = rows.iter().map(|row| {
        let recipient = Recipient {
            id: row.try_get("", "id")?,
            email: row.try_get("", "email")?,
            first_name: row.try_get("", "first_name")?,
            last_name: row.try_get("", "last_name")?,
            company: row.try_get("", "company")?,
            custom: row.try_get("", "custom")?,
        };
        Ok((recipient.id, recipient))
    });
    each.collect()
}

/// Message-IDs of earlier steps. `uq_deliveries_step`
async fn references(
    system: &SystemScope,
    want: &Want,
    due: &[Due],
) -> Result<HashMap<Uuid, Vec<String>>, DbErr> {
    let later: Vec<Uuid> = due.iter().filter(|d| d.position > 1).map(|d| d.enrollment_id).collect();
    let mut found: HashMap<Uuid, Vec<String>> = HashMap::new();
    if later.is_empty() {
        return Ok(found);
    }
    let mut sql = Sql::new(
        system.backend(),
        "SELECT enrollment_id, message_id FROM deliveries WHERE state = 'sent' AND account_id = ",
    );
    sql.value(want.account_id.into());
    sql.push(" AND enrollment_id");
    sql.among(&later);
    sql.push(" ORDER BY enrollment_id, position");
    for row in system.query(&sql.text, sql.values).await? {
        found.entry(row.try_get("", "enrollment_id")?).or_default().push(row.try_get("", "message_id")?);
    }
    Ok(found)
}

async fn reserve(system: &SystemScope, want: &Want, room: &Room, claimed: &[Claimed]) -> Result<(), DbErr> {
    let all = Value::from(i64::try_from(claimed.len()).unwrap_or(0));
    system
        .execute(
            "UPDATE account_periods SET reserved = reserved + $3 WHERE account_id = $1 AND period_start = $2",
            [want.account_id.into(), room.period.micros().into(), all],
        )
        .await?;
    let firsts = claimed.iter().filter(|one| one.position == 1).count();
    system
        .execute(
            "UPDATE credential_days SET reserved = reserved + $3 WHERE smtp_credential_id = $1 AND day = $2",
            [want.credential_id.into(), room.day.into(), Value::from(i64::try_from(firsts).unwrap_or(0))],
        )
        .await
        .map(drop)
}
