//! Enrolling an import or a contact: what the DNS says is asked first, without a transaction; then models enroll.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult},
    jobs::{ENROLL_IMPORT, Job, RESUMABLE_ATTEMPTS, enqueue_on},
    models::{
        campaigns, contact_imports, contacts, enroll_jobs,
        enrollments::{self, DeadDomains, OneContact, Skipped, Slice, domain_of},
        states::JobStatus,
    },
    net::{MxCheck, MxVerdict},
    tenancy::Scope,
};

/// The most contacts that are enrolled while the client waits, in one transaction.
pub const AT_ONCE: u64 = 10_000;

/// How long the DNS is asked for one slice. A domain without an answer by then is not skipped.
const DNS_BUDGET: Duration = Duration::from_secs(20);

/// Questions on their way at once; the check itself bounds them further.
const QUESTIONS: usize = 32;

/// What bulk enrolling did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulk {
    /// New enrollments.
    pub enrolled: i64,
    /// Batches that were begun.
    pub batches: i32,
    /// Enrollments of a full batch.
    pub batch_size: i32,
    /// Who was left out with a reason.
    pub skipped: Vec<Skipped>,
    /// How many were.
    pub skipped_count: i64,
}

/// An import that may be enrolled, looked at before the transaction.
#[derive(Clone, Debug)]
pub struct Prepared {
    campaign_id: Uuid,
    import_id: Uuid,
    large: bool,
    dead: DeadDomains,
}

/// How an import is enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done(Bulk),
    /// In the background.
    Started(enroll_jobs::Model),
}

/// Refuses an import that there is not; that none is named is found out later, with all other failures.
///
/// # Errors
/// `contact_import_not_found`.
pub async fn find_import(scope: &Scope, import_id: Option<Uuid>) -> ApiResult<()> {
    if let Some(id) = import_id {
        scope.get::<contact_imports::Entity>(id).await?;
    }
    Ok(())
}

/// Looks an import up; a small one has its domains checked here, where the campaign wants it.
///
/// # Errors
/// `contact_import_not_found`; `unprocessable` while it is being processed.
pub async fn prepare(
    scope: &Scope,
    mx: &MxCheck,
    campaign: &campaigns::Model,
    import_id: Uuid,
) -> ApiResult<Prepared> {
    let import = scope.get::<contact_imports::Entity>(import_id).await?;
    match import.status {
        JobStatus::Completed => {}
        JobStatus::Processing => {
            return Err(ApiError::unprocessable("The contact import is still processing"));
        }
        JobStatus::Failed => return Err(ApiError::unprocessable("The contact import failed")),
    }
    let large = is_large(scope, import_id).await?;
    let whole = Slice { import_id, after: None, limit: AT_ONCE };
    let dead = if campaign.verify_email_mx && !large {
        dead_domains(mx, enrollments::domains(scope, whole).await?).await
    } else {
        DeadDomains::new()
    };
    Ok(Prepared { campaign_id: campaign.id, import_id, large, dead })
}

/// Enrolls a small import, or stores that a large one is to be.
///
/// # Errors
/// `campaign_not_found`, `contact_import_not_found`.
pub async fn enroll(scope: &Scope, ready: &Prepared, batch_size: i32, now: Timestamp) -> ApiResult<Outcome> {
    scope.get::<contact_imports::Entity>(ready.import_id).await?;
    if ready.large {
        let campaign = scope.get::<campaigns::Entity>(ready.campaign_id).await?;
        let row = enroll_jobs::create(scope, campaign.id, ready.import_id, batch_size, now).await?;
        let args = serde_json::json!({ "account_id": scope.account_id(), "enroll_job_id": row.id });
        let job = Job { max_attempts: RESUMABLE_ATTEMPTS, ..Job::new(ENROLL_IMPORT, args) };
        enqueue_on(&scope.db(), job).await?;
        return Ok(Outcome::Started(row));
    }
    let target = enrollments::lock_target(scope, ready.campaign_id).await?;
    let whole = Slice { import_id: ready.import_id, after: None, limit: AT_ONCE };
    let done = enrollments::enroll_slice(scope, &target, whole, batch_size, None, &ready.dead, now).await?;
    Ok(Outcome::Done(Bulk {
        enrolled: i64::try_from(done.enrolled).unwrap_or(i64::MAX),
        batches: i32::try_from(done.batches).unwrap_or(i32::MAX),
        batch_size,
        skipped_count: i64::try_from(done.skipped.len()).unwrap_or(i64::MAX),
        skipped: done.skipped,
    }))
}

/// Whether the contact's domain is proved to take no mail, where the campaign wants to know.
///
/// # Errors
/// `contact_not_found`.
pub async fn check_contact(
    scope: &Scope,
    mx: &MxCheck,
    campaign: &campaigns::Model,
    contact_id: Option<Uuid>,
) -> ApiResult<DeadDomains> {
    let Some(contact_id) = contact_id else { return Ok(DeadDomains::new()) };
    let contact = scope.get::<contacts::Entity>(contact_id).await?;
    if !campaign.verify_email_mx {
        return Ok(DeadDomains::new());
    }
    Ok(dead_domains(mx, [domain_of(&contact.email)]).await)
}

/// Enrolls one contact.
///
/// # Errors
/// See [`enrollments::enroll_one`].
pub async fn enroll_contact(
    scope: &Scope,
    campaign_id: Uuid,
    one: &OneContact,
    dead: &DeadDomains,
    now: Timestamp,
) -> ApiResult<enrollments::Model> {
    let target = enrollments::lock_target(scope, campaign_id).await?;
    enrollments::enroll_one(scope, &target, one, dead, now).await
}

/// Those of the domains that are proved to take no mail.
pub async fn dead_domains(mx: &MxCheck, domains: impl IntoIterator<Item = String>) -> DeadDomains {
    let deadline = Instant::now() + DNS_BUDGET;
    let mut answers = stream::iter(domains)
        .map(|domain| async move { (mx.has_mx(&domain).await, domain) })
        .buffer_unordered(QUESTIONS);
    let mut dead = DeadDomains::new();
    while let Ok(Some((verdict, domain))) = timeout_at(deadline, answers.next()).await {
        if verdict == MxVerdict::Invalid {
            dead.insert(domain);
        }
    }
    dead
}

async fn is_large(scope: &Scope, import_id: Uuid) -> ApiResult<bool> {
    // ix_contacts_import; the look ends after so many.
    let sql = "SELECT count(*) AS found FROM (SELECT 1 FROM contacts WHERE account_id = $1 \
               AND contact_import_id = $2 AND deleted_at IS NULL LIMIT $3) few";
    let limit = i64::try_from(AT_ONCE + 1).unwrap_or(i64::MAX);
    let row = scope.query_one(sql, [import_id.into(), limit.into()]).await?;
    let found: i64 = row.map(|row| row.try_get("", "found")).transpose()?.unwrap_or_default();
    Ok(found >= limit)
}
