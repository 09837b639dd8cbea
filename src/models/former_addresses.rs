//! Where messages went, of contacts that have another address by now.
//!
//! An address changes only while no enrollment of its contact is unfinished, so all messages of an enrollment went to one
//! address. It is kept for each of them when the contact's changes; no clock is compared, and the send path knows nothing
//! of it. What comes back late is held against it: a notice must name it, and a complaint or a click is about it alone.
//!
//! A bounce ends with its enrollment, whatever address the contact has. Who unsubscribes is an address (an unsubscribed
//! address stays so, for whoever gets it): what went to it is marked, and the contact that has left it may be written to
//! under its new one, which may well be somebody else's.

use super::contacts;
use crate::{errors::ApiResult, tenancy::Scope};

/// The address that the messages of enrollment `e` of contact `c` go to, or went to. The primary key.
pub const SENT_TO: &str = "COALESCE((SELECT f.email FROM former_addresses f \
                           WHERE f.account_id = e.account_id AND f.enrollment_id = e.id), c.email)";

/// The enrollments whose messages go, or went, to the address of key `$2`, hidden ones included; to stand behind FROM.
/// `uq_contacts_email` and `ix_enrollments_contact`, `ix_former_addresses_email` and the primary key.
pub const ENROLLED_AS: &str = "(SELECT e.id, e.campaign_id, e.batch_id, e.contact_id, e.status, e.progress \
     FROM contacts c JOIN enrollments e ON e.account_id = $1 AND e.contact_id = c.id \
     WHERE c.account_id = $1 AND c.email_key = $2 AND NOT EXISTS \
     (SELECT 1 FROM former_addresses f WHERE f.account_id = $1 AND f.enrollment_id = e.id) \
     UNION ALL SELECT e.id, e.campaign_id, e.batch_id, e.contact_id, e.status, e.progress \
     FROM former_addresses f JOIN enrollments e ON e.id = f.enrollment_id \
     WHERE f.account_id = $1 AND f.email_key = $2)";

/// Keeps the address that a contact is about to leave, for what was sent to it. The contact is locked, and none of its
/// enrollments is unfinished.
///
/// # Errors
/// What the database refuses.
pub async fn keep(scope: &Scope, contact: &contacts::Model) -> ApiResult<()> {
    // ix_enrollments_contact. What is being removed with its campaign is left alone: nothing comes back for it.
    let sql = "INSERT INTO former_addresses (account_id, enrollment_id, email, email_key) \
               SELECT e.account_id, e.id, $3, $4 FROM enrollments e \
               JOIN campaigns k ON k.id = e.campaign_id AND k.deleted_at IS NULL \
               WHERE e.account_id = $1 AND e.contact_id = $2 AND NOT EXISTS \
               (SELECT 1 FROM former_addresses f WHERE f.account_id = $1 AND f.enrollment_id = e.id)";
    let key = contact.email.to_ascii_lowercase();
    scope.execute(sql, [contact.id.into(), contact.email.clone().into(), key.into()]).await?;
    Ok(())
}
