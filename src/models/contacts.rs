//! Contacts: who is written to.
//!
//! A visible contact holds its address for its account (`email_key`); a deleted one has given it up.

use std::cmp::Reverse;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbBackend, DbErr, FromQueryResult, IntoActiveModel, QueryFilter,
    QueryResult, QuerySelect, Select, prelude::Json,
};
use uuid::Uuid;

pub use super::_entities::contacts::{ActiveModel, Column, Entity, Model};
use super::{
    contact_imports, contact_rows,
    custom_fields::CustomFields,
    email_address::EmailAddress,
    enrollments::{self, Stop},
    former_addresses,
    states::{EnrollmentStatus, Progress},
    suppressions,
};
use crate::{
    clock::Timestamp,
    crypto::SuppressionKey,
    errors::{ApiError, ApiResult, Constraint, Failures, Reason, on_constraint},
    paging::Page,
    tenancy::{Scope, TenantEntity, tenant_entity},
};

tenant_entity!(contacts, ContactNotFound, visible: "contacts.deleted_at IS NULL AND (SELECT ci.deleted_at FROM contact_imports ci WHERE ci.id = contacts.contact_import_id) IS NULL");

/// The address is another contact's.
const EMAIL_TAKEN: Constraint =
    Constraint::Unique { name: "uq_contacts_email", columns: "contacts.account_id, contacts.email_key" };

/// What a PATCH changes; None leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Another address.
    pub email: Option<EmailAddress>,
    /// Another first name, or none.
    pub first_name: Option<Option<String>>,
    /// Another last name, or none.
    pub last_name: Option<Option<String>>,
    /// Another company, or none.
    pub company: Option<Option<String>>,
    /// Other fields, all of them.
    pub custom: Option<CustomFields>,
}

/// Which contacts of the account are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing<'a> {
    /// All: `uq_contacts_account`.
    All,
    /// The one with this address: `uq_contacts_email`.
    Address(&'a str),
    /// Those of an import: `ix_contacts_import`.
    Import(Uuid),
}

/// What is shown of a contact. Fewer columns than it has: a page reads fifty.
#[derive(Clone, Debug, FromQueryResult)]
pub struct Shown {
    /// Its id.
    pub id: Uuid,
    /// Its address.
    pub email: String,
    /// Its first name.
    pub first_name: Option<String>,
    /// Its last name.
    pub last_name: Option<String>,
    /// Its company.
    pub company: Option<String>,
    /// Its own fields, if it has any.
    pub custom: Option<Json>,
    /// When it unsubscribed.
    pub unsubscribed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The columns of [`Shown`].
const SHOWN: [Column; 8] = [
    Column::Id,
    Column::Email,
    Column::FirstName,
    Column::LastName,
    Column::Company,
    Column::Custom,
    Column::UnsubscribedAt,
    Column::CreatedAt,
];

/// A page of contacts, newest first.
///
/// # Errors
/// What the database refuses.
pub async fn page(scope: &Scope, page: Page, listing: Listing<'_>) -> ApiResult<Vec<Shown>> {
    Ok(page_of(scope, page, listing).into_model().all(&scope.db()).await?)
}

/// The query of [`page`]. Each index is in the order of the page, and each row looks its import up by itself.
pub fn page_of(scope: &Scope, page: Page, listing: Listing<'_>) -> Select<Entity> {
    let rows = scope.find::<Entity>().select_only().columns(SHOWN);
    let rows = match listing {
        Listing::All => rows,
        Listing::Address(email) => rows.filter(Column::EmailKey.eq(email.trim().to_ascii_lowercase())),
        Listing::Import(id) => rows.filter(Column::ContactImportId.eq(id)),
    };
    page.apply(rows, Column::Id)
}

/// One campaign that a contact is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InCampaign {
    /// The enrollment's id.
    pub id: Uuid,
    /// The campaign's.
    pub campaign_id: Uuid,
    /// Where the enrollment stands.
    pub status: EnrollmentStatus,
    /// The number of its batch.
    pub batch_number: i32,
    /// When a step was first accepted.
    pub sent_at: Option<Timestamp>,
}

impl InCampaign {
    /// `None` in the row of a contact that is in no campaign.
    fn read(row: &QueryResult) -> Result<Option<Self>, DbErr> {
        let Some(id) = row.try_get("", "enrollment_id")? else { return Ok(None) };
        Ok(Some(Self {
            id,
            campaign_id: row.try_get("", "campaign_id")?,
            status: row.try_get("", "status")?,
            batch_number: row.try_get("", "batch_number")?,
            sent_at: row.try_get("", "sent_at")?,
        }))
    }
}

/// A contact with its newest enrollments in campaigns that are not deleted, in one query.
///
/// # Errors
/// `contact_not_found`.
pub async fn shown(scope: &Scope, id: Uuid) -> ApiResult<(Shown, Vec<InCampaign>)> {
    let rows = scope.query(shown_sql(scope.backend()), [id.into()]).await?;
    let first = rows.first().ok_or_else(|| ApiError::new(Entity::MISSING))?;
    let contact = Shown::from_query_result(first, "")?;
    let mut campaigns =
        rows.iter().filter_map(|row| InCampaign::read(row).transpose()).collect::<Result<Vec<_>, _>>()?;
    campaigns.sort_unstable_by_key(|campaign| Reverse(campaign.id));
    Ok((contact, campaigns))
}

/// The query of [`shown`], `$2` the contact: primary keys and `ix_enrollments_contact`, from its end. The join is lateral
/// on PostgreSQL, which would sort all of the contact's enrollments otherwise.
pub const fn shown_sql(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => {
            "SELECT c.id, c.email, c.first_name, c.last_name, c.company, c.custom, c.unsubscribed_at, c.created_at, e.* \
             FROM contacts c \
             LEFT JOIN LATERAL (SELECT e.id AS enrollment_id, e.campaign_id, e.status, e.batch_number, e.sent_at \
             FROM enrollments e WHERE e.account_id = $1 AND e.contact_id = c.id \
             AND (SELECT ca.deleted_at FROM campaigns ca WHERE ca.id = e.campaign_id) IS NULL \
             ORDER BY e.id DESC LIMIT 100) e ON true \
             WHERE c.account_id = $1 AND c.id = $2 AND c.deleted_at IS NULL \
             AND (SELECT ci.deleted_at FROM contact_imports ci WHERE ci.id = c.contact_import_id) IS NULL"
        }
        DbBackend::Sqlite | DbBackend::MySql | _ => {
            "SELECT c.id, c.email, c.first_name, c.last_name, c.company, c.custom, c.unsubscribed_at, c.created_at, \
             e.id AS enrollment_id, e.campaign_id, e.status, e.batch_number, e.sent_at \
             FROM contacts c LEFT JOIN enrollments e ON e.account_id = $1 AND e.contact_id = c.id \
             AND (SELECT ca.deleted_at FROM campaigns ca WHERE ca.id = e.campaign_id) IS NULL \
             WHERE c.account_id = $1 AND c.id = $2 AND c.deleted_at IS NULL \
             AND (SELECT ci.deleted_at FROM contact_imports ci WHERE ci.id = c.contact_import_id) IS NULL \
             ORDER BY e.id DESC LIMIT 100"
        }
    }
}

/// Changes a contact.
///
/// # Errors
/// `contact_not_found`; `unprocessable` for another address while an enrollment is unfinished; `validation_failed` for
/// an address that is taken.
pub async fn update(scope: &Scope, key: &SuppressionKey, id: Uuid, change: Change) -> ApiResult<()> {
    if change.email.is_some() {
        suppressions::hold_addresses(scope).await?;
    }
    let row = scope.lock::<Entity>(id).await?;
    let new_email = change.email.filter(|email| email.as_str() != row.email);
    let mut changed = row.clone().into_active_model();
    if let Some(email) = new_email {
        refuse_if_unfinished(scope, id).await?;
        if row.email_key.as_ref() != Some(&email.key()) {
            former_addresses::keep(scope, &row).await?;
        }
        contact_rows::release_addresses(scope, [email.key().as_str()], Timestamp::now()).await?;
        // Once unsubscribed, a contact stays so, whatever its address.
        let suppressed = suppressions::since(scope, key, email.as_str()).await?;
        changed.unsubscribed_at = Set(row.unsubscribed_at.or(suppressed));
        changed.email_key = Set(Some(email.key()));
        changed.email = Set(email.as_str().to_owned());
    }
    if let Some(first_name) = change.first_name {
        changed.first_name = Set(first_name);
    }
    if let Some(last_name) = change.last_name {
        changed.last_name = Set(last_name);
    }
    if let Some(company) = change.company {
        changed.company = Set(company);
    }
    if let Some(custom) = change.custom {
        changed.custom = Set((!custom.is_empty()).then(|| custom.into()));
    }
    let saved = scope.save::<Entity>(id, changed).await;
    on_constraint(saved, &[(EMAIL_TAKEN, &|| Failures::one("email", Reason::Taken))])
}

/// Mail under way, or still to go, was promised to the address as it is.
async fn refuse_if_unfinished(scope: &Scope, id: Uuid) -> ApiResult<()> {
    // ix_enrollments_contact
    let sql = "SELECT 1 AS one FROM enrollments e JOIN campaigns ca ON ca.id = e.campaign_id AND ca.deleted_at IS NULL \
               WHERE e.account_id = $1 AND e.contact_id = $2 AND e.progress <> $3 LIMIT 1";
    let finished = Progress::Finished.as_str();
    match scope.query_one(sql, [id.into(), finished.into()]).await? {
        Some(_) => Err(ApiError::unprocessable(
            "The email cannot change while an enrollment of the contact is unfinished",
        )),
        None => Ok(()),
    }
}

/// Deletes a contact: it is hidden and its address free at once, its enrollments are stopped. The rows are removed later.
///
/// # Errors
/// `contact_not_found`.
pub async fn delete(scope: &Scope, id: Uuid, now: Timestamp) -> ApiResult<()> {
    let row = scope.get::<Entity>(id).await?;
    enrollments::stop_contacts(scope, &[id], Stop::Deleted, now).await?;
    contact_imports::count_deleted(scope, row.contact_import_id).await?;
    let deleted = scope
        .execute(
            "UPDATE contacts SET deleted_at = $3, email_key = NULL \
             WHERE account_id = $1 AND id = $2 AND deleted_at IS NULL",
            [id.into(), now.micros().into()],
        )
        .await?;
    if deleted == 0 { Err(ApiError::new(Entity::MISSING)) } else { Ok(()) }
}

/// The contact that holds an address, hidden ones included.
///
/// # Errors
/// What the database refuses.
pub async fn id_by_address(scope: &Scope, email: &str) -> ApiResult<Option<Uuid>> {
    // uq_contacts_email
    let sql = "SELECT id FROM contacts WHERE account_id = $1 AND email_key = $2";
    let row = scope.query_one(sql, [email.to_ascii_lowercase().into()]).await?;
    Ok(row.map(|row| row.try_get("", "id")).transpose()?)
}

/// Notes that a contact unsubscribed; the first time stays.
///
/// # Errors
/// What the database refuses.
pub async fn note_unsubscribed(scope: &Scope, id: Uuid, now: Timestamp) -> ApiResult<()> {
    let sql = "UPDATE contacts SET unsubscribed_at = $3 \
               WHERE account_id = $1 AND id = $2 AND unsubscribed_at IS NULL";
    scope.execute(sql, [id.into(), now.micros().into()]).await?;
    Ok(())
}
