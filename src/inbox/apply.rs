//! What a mail changes, in one transaction with the place up to which its mailbox was read: a crash leaves both or
//! neither.

use std::sync::Arc;

use sea_orm::{ColumnTrait, QueryFilter, QueryResult, Value};
use uuid::Uuid;

use super::{
    classify::Mail,
    lease::Leased,
    matching::{Effect, Known, decide, named_by},
};
use crate::{
    clock::Timestamp,
    crypto::SuppressionKey,
    db::Db,
    errors::{ApiError, ApiResult},
    models::{
        deliveries::{
            self,
            evidence::{Evidence, note, note_unsubscribed},
        },
        former_addresses::SENT_TO,
        mailboxes,
        sql::holes,
    },
    points,
    tenancy::{Conn, Scope, SystemScope},
};

/// Tries of one transaction: on PostgreSQL it may meet the send path in the other order.
const TRIES: u32 = 3;

/// What became of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It names nothing of the account; the mailbox was not moved on.
    Unmatched,
    /// Its effect is stored, and the mailbox moved on to it.
    Stored,
    /// The mailbox is somebody else's now; nothing was changed.
    LostLease,
}

/// Where effects go.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The database.
    pub db: &'a Db,
    /// Hashes suppressed addresses.
    pub key: &'a SuppressionKey,
    /// The mailbox.
    pub mailbox: &'a Leased,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// The addresses that its credentials send from, in lower case.
    pub own: &'a [String],
}

/// Applies one mail.
///
/// # Errors
/// What the database refuses; nothing was changed then.
pub async fn apply(target: &Target<'_>, uid: u32, mail: &Mail) -> ApiResult<Applied> {
    let reading = SystemScope::new(Conn::Pool(target.db.pool().clone())).account(target.mailbox.account_id);
    let known = find(&reading, mail).await?;
    let effect = decide(mail, &known, target.own);
    if effect == Effect::None {
        return Ok(Applied::Unmatched);
    }
    let mut tries = 1;
    loop {
        match store(target, uid, &effect).await {
            Err(error) if tries < TRIES => {
                tracing::debug!(%error, tries, "the effect of a mail was not stored yet");
                tries += 1;
            }
            other => return other,
        }
    }
}

async fn store(target: &Target<'_>, uid: u32, effect: &Effect) -> ApiResult<Applied> {
    let tx = Arc::new(target.db.begin().await?);
    let scope = SystemScope::new(Conn::Tx(Arc::clone(&tx))).account(target.mailbox.account_id);
    take_effect(&scope, target.key, effect, Timestamp::now()).await?;
    let Leased { id, token, .. } = target.mailbox;
    let held = mailboxes::advance(&scope, *id, *token, target.uid_validity, uid).await?;
    drop(scope);
    if !held {
        return Ok(Applied::LostLease);
    }
    points::reach("inbox_before_commit");
    tx.commit_shared().await?;
    points::reach("inbox_after_commit");
    Ok(Applied::Stored)
}

/// The deliveries that the mail names. Of ours each says which it is of; `ix_deliveries_provider`
async fn find(scope: &Scope, mail: &Mail) -> ApiResult<Vec<Known>> {
    let named = named_by(mail);
    let ours = named.message_ids.iter().filter_map(|id| deliveries::named_by(id));
    let ours: Vec<Value> = ours.map(Value::from).collect();
    let theirs: Vec<Value> = named.provider_ids.into_iter().map(Value::from).collect();
    let mut known = Vec::new();
    for (column, ids) in [("id", ours), ("provider_message_id", theirs)] {
        if ids.is_empty() {
            continue;
        }
        let sql = format!(
            "SELECT d.id, d.message_id, d.provider_message_id, {SENT_TO} AS email FROM deliveries d \
             JOIN enrollments e ON e.id = d.enrollment_id JOIN contacts c ON c.id = e.contact_id \
             JOIN campaigns k ON k.id = d.campaign_id AND k.deleted_at IS NULL \
             WHERE d.account_id = $1 AND d.{column} IN ({})",
            holes(2, ids.len())
        );
        for row in &scope.query(&sql, ids).await? {
            known.push(read(row)?);
        }
    }
    Ok(known)
}

fn read(row: &QueryResult) -> Result<Known, sea_orm::DbErr> {
    Ok(Known {
        delivery_id: row.try_get("", "id")?,
        message_id: row.try_get("", "message_id")?,
        provider_id: row.try_get("", "provider_message_id")?,
        email: row.try_get("", "email")?,
    })
}

async fn take_effect(scope: &Scope, key: &SuppressionKey, effect: &Effect, now: Timestamp) -> ApiResult<()> {
    match effect {
        Effect::None => Ok(()),
        Effect::Replied(id) => note(scope, &delivery(scope, *id).await?, Evidence::Replied, now).await,
        Effect::Arrived(id) => note(scope, &delivery(scope, *id).await?, Evidence::Arrived, now).await,
        Effect::Bounced(id, reason) => {
            let evidence = Evidence::Failed { reason: reason.clone() };
            note(scope, &delivery(scope, *id).await?, evidence, now).await
        }
        Effect::AutoReplied(id) => {
            let delivery = delivery(scope, *id).await?;
            note(scope, &delivery, Evidence::Arrived, now).await?;
            let sql = "UPDATE enrollments SET auto_replied_at = COALESCE(auto_replied_at, $3) \
                       WHERE account_id = $1 AND id = $2";
            scope.execute(sql, [delivery.enrollment_id.into(), now.micros().into()]).await?;
            Ok(())
        }
        Effect::Complained(id, email) => {
            let delivery = delivery(scope, *id).await?;
            note_unsubscribed(scope, key, email, Some(&delivery), now).await
        }
    }
}

async fn delivery(scope: &Scope, id: Uuid) -> ApiResult<deliveries::Model> {
    let row =
        scope.find::<deliveries::Entity>().filter(deliveries::Column::Id.eq(id)).one(&scope.db()).await?;
    row.ok_or_else(|| ApiError::internal("the delivery of a mail is gone"))
}
