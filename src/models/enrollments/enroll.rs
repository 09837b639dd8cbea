//! Putting contacts into a campaign: a chunk of an import at a time, or one contact.
//!
//! Everything here runs in a transaction that holds the outreach (where its contacts are unique) and the campaign, so
//! that two enrolls that would take the same contact follow one another. What the DNS says is found out before.

use std::collections::HashSet;

use sea_orm::{DbErr, QueryResult, Value};
use uuid::Uuid;

use super::choose::{Candidate, DeadDomains, HalfFull, Share, Skipped, domain_of, share_out, sort_out};
use crate::{
    clock::{Timestamp, new_id},
    db::{RowLock, lock_sql},
    errors::{ApiError, ApiResult, Code},
    models::{
        batches, campaigns, contacts,
        sql::Listed,
        states::{EnrollmentStatus, Progress, SkipKind},
        tally::{Delta, Tally},
    },
    tenancy::Scope,
};

/// Contacts that one transaction of a job enrolls: half of what a request may (`sending::enrolling::AT_ONCE`), since those of a
/// job follow one another, and who else writes to SQLite waits for one of them.
pub const CHUNK: u64 = 5_000;

/// A locked campaign that takes enrollments.
#[derive(Clone, Debug)]
pub struct Target {
    campaign_id: Uuid,
    unique_outreach: Option<Uuid>,
}

/// Part of an import.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// The import.
    pub import_id: Uuid,
    /// After which contact it begins.
    pub after: Option<Uuid>,
    /// The most contacts of it.
    pub limit: u64,
}

/// What enrolling a slice did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enrolled {
    /// Contacts looked at.
    pub looked_at: u64,
    /// The last of them.
    pub last: Option<Uuid>,
    /// New enrollments.
    pub enrolled: u64,
    /// Batches that were begun.
    pub batches: u64,
    /// The number of the batch that was filled last.
    pub batch_number: Option<i32>,
    /// Contacts that were left out with a reason.
    pub skipped: Vec<Skipped>,
}

/// Locks the outreach, then the campaign.
///
/// # Errors
/// `campaign_not_found`; `service_unavailable` when the campaign moves to another outreach at the same time.
pub async fn lock_target(scope: &Scope, campaign_id: Uuid) -> ApiResult<Target> {
    let outreach = scope.get::<campaigns::Entity>(campaign_id).await?.outreach_id;
    let unique_outreach = match outreach {
        Some(id) => lock_unique(scope, id).await?.then_some(id),
        None => None,
    };
    if scope.lock::<campaigns::Entity>(campaign_id).await?.outreach_id != outreach {
        return Err(ApiError::unavailable("the campaign moved to another outreach"));
    }
    Ok(Target { campaign_id, unique_outreach })
}

/// Locks an outreach; answers whether its contacts are unique.
async fn lock_unique(scope: &Scope, id: Uuid) -> ApiResult<bool> {
    let lock = lock_sql(scope.backend(), RowLock::Update);
    let sql = format!("SELECT unique_contacts FROM outreaches WHERE account_id = $1 AND id = $2{lock}");
    let row = scope.query_one(&sql, [id.into()]).await?;
    Ok(row.map(|row| row.try_get("", "unique_contacts")).transpose()?.unwrap_or_default())
}

/// Enrolls a slice of an import, filling the half-full batch first.
///
/// # Errors
/// What the database refuses.
pub async fn enroll_slice(
    scope: &Scope,
    target: &Target,
    slice: Slice,
    size: i32,
    half_full: Option<HalfFull>,
    dead: &DeadDomains,
    now: Timestamp,
) -> ApiResult<Enrolled> {
    let found = candidates(scope, target, slice).await?;
    let (looked_at, last) = (count(found.len()), found.last().map(|contact| contact.id));
    let (chosen, skipped) = sort_out(found, dead);
    let highest = batches::highest_number(scope, target.campaign_id).await?;
    let size = usize::try_from(size).unwrap_or(1);
    let shares = share_out(chosen.len(), size, half_full, highest);
    write_enrollments(scope, target.campaign_id, &chosen, &shares, now).await?;
    write_skips(scope, target.campaign_id, &skipped, now).await?;
    Ok(Enrolled {
        looked_at,
        last,
        enrolled: count(chosen.len()),
        batches: count(shares.iter().filter(|share| share.begins).count()),
        batch_number: shares.last().map(|share| share.number),
        skipped,
    })
}

/// Enrolls one contact into a batch that is not dispatched yet.
///
/// # Errors
/// `contact_not_found`, `contact_already_enrolled`, or `unprocessable` with `details.reason`.
pub async fn enroll_one(
    scope: &Scope,
    target: &Target,
    one: &OneContact,
    dead: &DeadDomains,
    now: Timestamp,
) -> ApiResult<super::Model> {
    let contact = scope.get::<contacts::Entity>(one.contact_id).await?;
    let sql = format!("{CANDIDATE} AND c.id = $4");
    let values = [target.campaign_id.into(), Value::from(target.unique_outreach), contact.id.into()];
    let row = scope.query_one(&sql, values).await?.ok_or_else(|| ApiError::new(Code::ContactNotFound))?;
    let candidate = candidate(&row)?;
    if candidate.enrolled {
        return Err(ApiError::new(Code::ContactAlreadyEnrolled));
    }
    if candidate.unsubscribed {
        return Err(refused("The contact is unsubscribed", "unsubscribed"));
    }
    match candidate.skip(dead) {
        Some(kind @ SkipKind::CrossCampaignDuplicate) => {
            return Err(refused("Another campaign of the outreach has the contact", kind.as_str()));
        }
        Some(kind @ SkipKind::MxInvalid) => {
            return Err(refused("The domain of the address takes no mail", kind.as_str()));
        }
        None => {}
    }
    let batch_id = batches::open(scope, target.campaign_id, one.batch_number, now).await?;
    let row = new_row(scope, target.campaign_id, batch_id, one, now);
    count_new(scope, target.campaign_id, vec![(batch_id, 1)]).await?;
    scope.insert::<super::Entity>(row.clone()).await?;
    Ok(row)
}

/// Who is enrolled alone, and where.
#[derive(Clone, Copy, Debug)]
pub struct OneContact {
    /// The contact.
    pub contact_id: Uuid,
    /// Its batch.
    pub batch_number: i32,
    /// First in its batch.
    pub priority: bool,
}

/// The domains of the contacts of a slice, in lower case.
///
/// # Errors
/// What the database refuses.
pub async fn domains(scope: &Scope, slice: Slice) -> ApiResult<HashSet<String>> {
    // ix_contacts_import
    let sql = "SELECT email FROM contacts c WHERE account_id = $1 AND contact_import_id = $2 AND id > $3 \
               AND deleted_at IS NULL ORDER BY id LIMIT $4";
    let rows = scope.query(sql, slice.values()).await?;
    let domains = rows.iter().map(|row| row.try_get::<String>("", "email").map(|email| domain_of(&email)));
    Ok(domains.collect::<Result<_, DbErr>>()?)
}

impl Slice {
    fn values(self) -> [Value; 3] {
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        [self.import_id.into(), self.after.unwrap_or_default().into(), limit.into()]
    }
}

fn refused(message: &'static str, reason: &str) -> ApiError {
    ApiError::unprocessable(message).details(serde_json::json!({ "reason": reason }))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// `uq_enrollments_contact` says whether the campaign has it, `ix_enrollments_contact` leads to its siblings. Scalar
/// subqueries rather than EXISTS, which PostgreSQL may answer by hashing every enrollment of the campaign for each slice.
const CANDIDATE: &str = "SELECT c.id, c.email, c.unsubscribed_at IS NOT NULL AS unsubscribed, \
     (SELECT e.id FROM enrollments e WHERE e.account_id = $1 AND e.campaign_id = $2 AND e.contact_id = c.id) \
         IS NOT NULL AS enrolled, \
     (SELECT s.id FROM enrollments s JOIN campaigns k ON k.id = s.campaign_id WHERE s.account_id = $1 \
         AND s.contact_id = c.id AND k.outreach_id = $3 AND k.id <> $2 AND k.deleted_at IS NULL LIMIT 1) \
         IS NOT NULL AS in_sibling \
     FROM contacts c WHERE c.account_id = $1 AND c.deleted_at IS NULL";

async fn candidates(scope: &Scope, target: &Target, slice: Slice) -> ApiResult<Vec<Candidate>> {
    // ix_contacts_import
    let sql = format!("{CANDIDATE} AND c.contact_import_id = $4 AND c.id > $5 ORDER BY c.id LIMIT $6");
    let values = [target.campaign_id.into(), Value::from(target.unique_outreach)];
    let rows = scope.query(&sql, values.into_iter().chain(slice.values())).await?;
    rows.iter().map(candidate).collect()
}

fn candidate(row: &QueryResult) -> ApiResult<Candidate> {
    Ok(Candidate {
        id: row.try_get("", "id")?,
        email: row.try_get("", "email")?,
        unsubscribed: row.try_get("", "unsubscribed")?,
        enrolled: row.try_get("", "enrolled")?,
        in_sibling: row.try_get("", "in_sibling")?,
    })
}

fn new_row(
    scope: &Scope,
    campaign_id: Uuid,
    batch_id: Uuid,
    one: &OneContact,
    now: Timestamp,
) -> super::Model {
    super::Model {
        id: new_id(),
        account_id: scope.account_id(),
        campaign_id,
        contact_id: one.contact_id,
        batch_id,
        batch_number: one.batch_number,
        priority: i32::from(one.priority),
        smtp_credential_id: None,
        lane_moved: false,
        status: EnrollmentStatus::Pending,
        progress: Progress::Queued,
        next_position: 1,
        current_step: 0,
        due_at: None,
        retrying: false,
        sent_at: None,
        opened_at: None,
        replied_at: None,
        bounced_at: None,
        unsubscribed_at: None,
        bounce_reason: None,
        auto_replied_at: None,
        process_id: None,
        created_at: now,
    }
}

/// Counters first: batches and totals come before enrollments in the lock order.
async fn count_new(scope: &Scope, campaign_id: Uuid, batches: Vec<(Uuid, usize)>) -> ApiResult<()> {
    let mut tally = Tally::default();
    for (batch, count) in batches {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        tally.add(batch, campaign_id, Delta { undispatched: count, pending: count, ..Delta::NONE });
    }
    tally.write(scope).await
}

/// One statement for all rows: the ids travel as one list, so that the text of the statement never grows.
async fn write_enrollments(
    scope: &Scope,
    campaign_id: Uuid,
    contacts: &[Uuid],
    shares: &[Share],
    now: Timestamp,
) -> ApiResult<()> {
    let mut list = Listed::with_capacity(contacts.len(), 112);
    let (mut contacts, mut counts) = (contacts.iter(), Vec::with_capacity(shares.len()));
    let ids = batches::open_shares(scope, campaign_id, shares, now).await?;
    for (share, batch) in shares.iter().zip(ids) {
        counts.push((batch, share.count));
        for contact in contacts.by_ref().take(share.count) {
            list.push(&[new_id(), *contact, batch], &share.number.to_string());
        }
    }
    if counts.is_empty() {
        return Ok(());
    }
    count_new(scope, campaign_id, counts).await?;
    let sql = format!(
        "INSERT INTO enrollments (id, account_id, campaign_id, contact_id, batch_id, batch_number, status, \
         progress, created_at) \
         SELECT {}, $1, $2, {}, {}, CAST({} AS integer), 'pending', 'queued', $3 FROM {}",
        list.id(scope.backend(), 0),
        list.id(scope.backend(), 1),
        list.id(scope.backend(), 2),
        list.rest(3),
        list.table(scope.backend(), 4),
    );
    let values = [campaign_id.into(), now.micros().into(), list.into_value()];
    scope.execute(&sql, values).await?;
    Ok(())
}

/// A skip is kept once per contact and kind, and counted when it is new.
async fn write_skips(scope: &Scope, campaign_id: Uuid, skipped: &[Skipped], now: Timestamp) -> ApiResult<()> {
    let mx = write_skips_of(scope, campaign_id, skipped, SkipKind::MxInvalid, now).await?;
    let cross = write_skips_of(scope, campaign_id, skipped, SkipKind::CrossCampaignDuplicate, now).await?;
    if mx + cross > 0 {
        let sql = "UPDATE campaign_totals SET mx_invalid = mx_invalid + $3, cross_campaign = cross_campaign + $4 \
                   WHERE account_id = $1 AND campaign_id = $2";
        scope.execute(sql, [campaign_id.into(), mx.into(), cross.into()]).await?;
    }
    Ok(())
}

async fn write_skips_of(
    scope: &Scope,
    campaign_id: Uuid,
    skipped: &[Skipped],
    kind: SkipKind,
    now: Timestamp,
) -> ApiResult<i64> {
    let mut list = Listed::with_capacity(0, 0);
    for skip in skipped.iter().filter(|skip| skip.kind == kind) {
        list.push(&[new_id(), skip.contact_id], "");
    }
    if list.is_empty() {
        return Ok(0);
    }
    let reason = match kind {
        SkipKind::MxInvalid => "The domain of the address takes no mail",
        SkipKind::CrossCampaignDuplicate => "Another campaign of the outreach has the contact",
    };
    // `WHERE true` keeps SQLite from reading ON as part of the join (https://www.sqlite.org/lang_upsert.html, 2.2).
    let sql = format!(
        "INSERT INTO enrollment_skips (id, account_id, campaign_id, contact_id, email, kind, reason, created_at) \
         SELECT {}, $1, $2, c.id, c.email, $4, $5, $3 FROM {} JOIN contacts c ON c.account_id = $1 AND c.id = {} \
         WHERE true ON CONFLICT (account_id, campaign_id, contact_id, kind) DO NOTHING",
        list.id(scope.backend(), 0),
        list.table(scope.backend(), 6),
        list.id(scope.backend(), 1),
    );
    let values =
        [campaign_id.into(), now.micros().into(), kind.as_str().into(), reason.into(), list.into_value()];
    Ok(i64::try_from(scope.execute(&sql, values).await?).unwrap_or(i64::MAX))
}

/// The skips of an import in a campaign, oldest first, at most `limit`; like the list, without contacts that are deleted.
///
/// # Errors
/// What the database refuses.
pub async fn skips_of(
    scope: &Scope,
    campaign_id: Uuid,
    import_id: Uuid,
    limit: i64,
) -> ApiResult<Vec<Skipped>> {
    // ix_enrollment_skips_page
    let sql = "SELECT s.contact_id, s.email, s.kind FROM enrollment_skips s \
         JOIN contacts c ON c.account_id = $1 AND c.id = s.contact_id \
         WHERE s.account_id = $1 AND s.campaign_id = $2 AND c.contact_import_id = $3 AND c.deleted_at IS NULL \
         AND (SELECT i.deleted_at FROM contact_imports i WHERE i.id = $3) IS NULL ORDER BY s.id LIMIT $4";
    let rows = scope.query(sql, [campaign_id.into(), import_id.into(), limit.into()]).await?;
    let skip = |row: &QueryResult| -> ApiResult<Skipped> {
        Ok(Skipped {
            contact_id: row.try_get("", "contact_id")?,
            email: row.try_get("", "email")?,
            kind: row.try_get("", "kind")?,
        })
    };
    rows.iter().map(skip).collect()
}
