//! What a provider's report changes in its account, in one transaction. The same report again changes nothing.

use sea_orm::{ColumnTrait, QueryFilter, Value};

use super::smtp2go::{Report, What};
use crate::{
    clock::Timestamp,
    crypto::SuppressionKey,
    db::Db,
    errors::ApiResult,
    models::{
        deliveries::{
            self,
            evidence::{Evidence, note, note_unsubscribed},
        },
        former_addresses::{ENROLLED_AS, SENT_TO},
    },
    tenancy::{Conn, Scope, SystemScope},
};

/// Tries of one transaction: on PostgreSQL it may meet the send path in the other order.
const TRIES: u32 = 3;

/// The data of the account that a token names; None when it is gone.
///
/// # Errors
/// What the database refuses.
pub async fn reading(db: &Db, account_id: uuid::Uuid) -> ApiResult<Option<Scope>> {
    let scope = SystemScope::new(Conn::Pool(db.pool().clone())).account(account_id);
    let sql = "SELECT id FROM accounts WHERE id = $1 AND deleted_at IS NULL";
    Ok(scope.query_one(sql, []).await?.map(|_| scope))
}

/// Applies a report. One that names nothing of the account changes nothing.
///
/// # Errors
/// What the database refuses; nothing was changed then.
pub async fn apply(db: &Db, key: &SuppressionKey, reading: &Scope, report: &Report) -> ApiResult<()> {
    let Some(about) = find(reading, report).await? else { return Ok(()) };
    let mut tries = 1;
    loop {
        let stored = SystemScope::in_transaction(db, async |system| {
            take_effect(&system.account(reading.account_id()), key, &about, &report.what).await
        });
        match stored.await {
            Err(error) if tries < TRIES => {
                tracing::debug!(%error, tries, "a provider's report was not stored yet");
                tries += 1;
            }
            other => return other,
        }
    }
}

/// What a report is about.
struct About {
    delivery: Option<deliveries::Model>,
    email: String,
}

/// The message that it names, if it went to the one it names; else what last went to the recipient.
async fn find(scope: &Scope, report: &Report) -> ApiResult<Option<About>> {
    let ours = report.message_id.as_ref().map(|id| format!("<{id}>"));
    let theirs = |id: &Option<String>| ("d.provider_message_id = $2", id.clone().map(|id| vec![id.into()]));
    // The primary key, as a Message-ID of ours says which delivery it is of; ix_deliveries_provider
    let named: [(&str, Option<Vec<Value>>); 3] = [
        (
            "d.id = $2 AND d.message_id = $3",
            ours.and_then(|id| Some(vec![deliveries::named_by(&id)?.into(), id.into()])),
        ),
        theirs(&report.message_id),
        theirs(&report.provider_id),
    ];
    for (condition, values) in named {
        let Some(values) = values else { continue };
        let sql = format!(
            "SELECT d.id, {SENT_TO} AS email FROM deliveries d JOIN enrollments e ON e.id = d.enrollment_id \
             JOIN contacts c ON c.id = e.contact_id JOIN campaigns k ON k.id = d.campaign_id AND k.deleted_at IS NULL \
             WHERE d.account_id = $1 AND {condition} LIMIT 1"
        );
        let Some(row) = scope.query_one(&sql, values).await? else { continue };
        let email: String = row.try_get("", "email")?;
        if report.recipient.as_ref().is_none_or(|to| to.eq_ignore_ascii_case(&email)) {
            return Ok(Some(About { delivery: delivery(scope, row.try_get("", "id")?).await?, email }));
        }
    }
    let Some(email) = report.recipient.clone() else { return Ok(None) };
    let sent = scope.query(&sent_to_sql(), [email.to_ascii_lowercase().into()]).await?;
    let sent = sent.iter().map(|row| row.try_get("", "id")).collect::<Result<Vec<uuid::Uuid>, _>>()?;
    let delivery = match sent.into_iter().max() {
        Some(last) => delivery(scope, last).await?,
        None => None,
    };
    Ok(Some(About { delivery, email }))
}

/// What was sent to an address, of all that the account has: few, by `uq_deliveries_step`. In an order they would be looked for
/// among all of its deliveries.
pub fn sent_to_sql() -> String {
    format!(
        "SELECT d.id FROM deliveries d JOIN campaigns k ON k.id = d.campaign_id AND k.deleted_at IS NULL \
         WHERE d.account_id = $1 AND d.enrollment_id IN (SELECT e.id FROM {ENROLLED_AS} e) \
         AND d.state IN ('sent', 'uncertain', 'bounced')"
    )
}

async fn delivery(scope: &Scope, id: uuid::Uuid) -> ApiResult<Option<deliveries::Model>> {
    let row = scope.find::<deliveries::Entity>().filter(deliveries::Column::Id.eq(id));
    Ok(row.one(&scope.db()).await?)
}

async fn take_effect(scope: &Scope, key: &SuppressionKey, about: &About, what: &What) -> ApiResult<()> {
    let now = Timestamp::now();
    match (what, &about.delivery) {
        (What::Unsubscribed, delivery) => {
            note_unsubscribed(scope, key, &about.email, delivery.as_ref(), now).await
        }
        (What::Bounced(reason), Some(delivery)) => {
            note(scope, delivery, Evidence::Failed { reason: reason.clone() }, now).await
        }
        (What::Bounced(_), None) => Ok(()),
    }
}
