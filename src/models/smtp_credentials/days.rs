//! A lane's UTC days: what counts against its daily limit, and its health.
//!
//! `first_sends` and `reserved` are first steps and belong to the limit. `sends` are messages of any step that were
//! accepted, or refused for good and so bounced; `bounced` are those that bounced, at once or later.

use std::collections::HashMap;

use uuid::Uuid;

use super::Model;
use crate::{clock::Timestamp, errors::ApiResult, tenancy::Scope};

/// How many days, today among them, health looks back.
pub(super) const HEALTH_DAYS: i64 = 7;

/// What a lane did today, and how healthy it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// First steps of this UTC day that were accepted.
    pub sent_today: i64,
    /// First steps of this UTC day that are promised to messages on their way.
    pub reserved_today: i64,
    /// Messages since it was last enabled, within the last seven days, that were sent or bounced.
    pub sent_or_bounced: i64,
    /// How many of them bounced.
    pub bounced: i64,
}

impl Standing {
    /// Bounced over sent or bounced, in percent; 0 over nothing.
    pub fn bounce_rate(&self) -> f64 {
        percent(self.bounced, self.sent_or_bounced)
    }
}

/// A share in percent, at most 100; 0 of nothing.
pub fn percent(part: i64, whole: i64) -> f64 {
    if whole <= 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let share = part as f64 / whole as f64;
    (share * 100.0).clamp(0.0, 100.0)
}

/// The standing of each of these lanes, which are of one campaign.
///
/// # Errors
/// What the database refuses.
pub async fn standings(scope: &Scope, lanes: &[Model], now: Timestamp) -> ApiResult<HashMap<Uuid, Standing>> {
    let Some(campaign_id) = lanes.first().map(|lane| lane.campaign_id) else { return Ok(HashMap::new()) };
    let enabled: HashMap<Uuid, i64> = lanes.iter().map(|lane| (lane.id, lane.enabled_at.day())).collect();
    // ix_smtp_credentials_campaign, then the primary key: at most seven rows a lane.
    let rows = scope
        .query(
            "SELECT d.smtp_credential_id, d.day, d.reserved, d.first_sends, d.sends, d.bounced \
             FROM smtp_credentials c JOIN credential_days d ON d.smtp_credential_id = c.id AND d.day > $3 \
             WHERE c.account_id = $1 AND c.campaign_id = $2",
            [campaign_id.into(), (now.day() - HEALTH_DAYS).into()],
        )
        .await?;
    let mut found: HashMap<Uuid, Standing> = HashMap::new();
    for row in rows {
        let id: Uuid = row.try_get("", "smtp_credential_id")?;
        let Some(enabled_day) = enabled.get(&id) else { continue };
        let day: i64 = row.try_get("", "day")?;
        let standing = found.entry(id).or_default();
        if day == now.day() {
            standing.sent_today = row.try_get::<i32>("", "first_sends")?.into();
            standing.reserved_today = row.try_get::<i32>("", "reserved")?.into();
        }
        if day >= *enabled_day {
            standing.sent_or_bounced += i64::from(row.try_get::<i32>("", "sends")?);
            standing.bounced += i64::from(row.try_get::<i32>("", "bounced")?);
        }
    }
    Ok(found)
}

/// Health starts anew with the day's part before a lane was enabled left out; the daily limit is not touched.
///
/// # Errors
/// What the database refuses.
pub async fn forget_health(scope: &Scope, id: Uuid, day: i64) -> ApiResult<()> {
    scope
        .execute(
            "UPDATE credential_days SET sends = 0, bounced = 0 \
             WHERE account_id = $1 AND smtp_credential_id = $2 AND day = $3",
            [id.into(), day.into()],
        )
        .await?;
    Ok(())
}
