//! Which lanes at rest a commit has looked at again: what it gives back, or settles late, may be somebody else's to send, and
//! nobody comes to see it. Told in the commit itself, so that it is not lost with whoever gave it back.

use std::collections::BTreeSet;

use sea_orm::DbErr;
use uuid::Uuid;

use super::{decide::Change, facts::Facts};
use crate::{
    clock::Timestamp,
    db::Sql,
    models::{smtp_credentials, states::DeliveryState},
    tenancy::SystemScope,
};

/// Wakes those whom these changes concern. Their campaigns are locked, so no lane is left meanwhile by what was there before.
pub(super) async fn wake(
    system: &SystemScope,
    changes: &[(&Facts, Change)],
    now: Timestamp,
) -> Result<(), DbErr> {
    let (mut back, mut late) = (BTreeSet::new(), BTreeSet::new());
    for (facts, change) in changes {
        if facts.state == DeliveryState::Uncertain && change.enrollment.is_some() {
            late.insert((facts.account_id, facts.campaign_id));
        } else if change.counts.back_to_batch {
            back.insert(facts.campaign_id);
        }
    }
    if !back.is_empty() {
        wake_for_first_steps(system, &Vec::from_iter(back), now).await?;
    }
    // Whatever its lane waits for by now, and it may have been the last of its campaign.
    for (account, campaign) in late {
        smtp_credentials::wake_lanes(&system.account(account), campaign, now).await?;
    }
    Ok(())
}

/// Any lane of a campaign may take what is back in a batch, but for those that rest from their last message or their server's
/// trouble, and for those whose day is full: they are looked at tomorrow. `ix_smtp_credentials_campaign`
async fn wake_for_first_steps(system: &SystemScope, campaigns: &[Uuid], now: Timestamp) -> Result<(), DbErr> {
    let tomorrow = Timestamp::from_day(now.day() + 1);
    let at = |sql: &mut Sql| {
        sql.push(
            "CASE WHEN EXISTS (SELECT 1 FROM credential_days d WHERE d.smtp_credential_id = smtp_credentials.id \
             AND d.reserved + d.first_sends >= smtp_credentials.daily_limit AND d.day = ",
        );
        sql.value(now.day().into());
        sql.push(") THEN ");
        sql.value(tomorrow.micros().into());
        sql.push(" ELSE ");
        sql.value(now.micros().into());
        sql.push(" END");
    };
    let mut sql = Sql::new(system.backend(), "UPDATE smtp_credentials SET wake_at = ");
    at(&mut sql);
    sql.push(" FROM campaigns k WHERE k.id");
    sql.among(campaigns);
    sql.push(
        " AND k.status = 'active' AND k.deleted_at IS NULL AND smtp_credentials.account_id = k.account_id \
         AND smtp_credentials.campaign_id = k.id AND smtp_credentials.holder IS NULL \
         AND smtp_credentials.disabled_at IS NULL AND smtp_credentials.deleted_at IS NULL \
         AND (smtp_credentials.wake_at IS NULL OR (smtp_credentials.wake_at > smtp_credentials.next_send_at \
         AND smtp_credentials.wake_at > ",
    );
    at(&mut sql);
    sql.push("))");
    system.execute(&sql.text, sql.values).await.map(drop)
}
