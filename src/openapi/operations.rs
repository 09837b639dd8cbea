//! Every operation of the API: its name, what it takes, what it answers and what it can be refused with. A route that
//! is missing here, or is here and not in the router, fails `tests/contract/openapi.rs`.

mod outside;

use serde_json::{Value, json};

use outside::{billing, credentials, recipients, webhooks};

use super::operation::{Operation, operation};
use crate::{errors::Code, views};

const SERVICE: &str = "Service";

/// All of them, by resource.
pub(super) fn all() -> Vec<Operation> {
    [
        accounts(),
        contacts(),
        outreaches(),
        campaigns(),
        previews(),
        enrolling(),
        credentials(),
        webhooks(),
        billing(),
        recipients(),
        service(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const fn get(path: &'static str) -> Operation {
    operation("get", path)
}

const fn post(path: &'static str) -> Operation {
    operation("post", path)
}

const fn patch(path: &'static str) -> Operation {
    operation("patch", path)
}

const fn delete(path: &'static str) -> Operation {
    operation("delete", path)
}

fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

fn page(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    get(path).named(SERVICE, id, summary).public().answers_other("text/html", &json!({"type": "string"}))
}

fn file(path: &'static str, id: &'static str, kind: &str) -> Operation {
    get(path)
        .named(SERVICE, id, "A file of the reference")
        .public()
        .answers_other(kind, &json!({"type": "string"}))
}

fn service() -> Vec<Operation> {
    vec![
        get("/status")
            .named(SERVICE, "get_status", "Is the service up?")
            .public()
            .answers::<views::status::Status>(200),
        get("/metrics")
            .named(SERVICE, "get_metrics", "Metrics for Prometheus, where they are switched on")
            .public()
            .answers_other("text/plain", &json!({"type": "string"}))
            .refuses(&[Code::NotFound]),
        get("/openapi.json")
            .named(SERVICE, "get_openapi", "This document")
            .public()
            .answers_other("application/json", &json!({"type": "object"})),
        page("/docs", "get_docs", "The API reference, for people"),
        page("/docs/errors", "get_error_docs", "Every error code"),
        page("/docs/errors/{code}", "get_error_doc", "What an error code means and what to do"),
        file("/docs/docs.css", "get_docs_style", "text/css"),
        file("/docs/redoc.js", "get_docs_redoc", "text/javascript"),
        file("/docs/reference.js", "get_docs_script", "text/javascript"),
    ]
}

/// So many days, or a moment.
fn since() -> Value {
    let days = json!({"type": "string", "pattern": "^[1-9][0-9]{0,3}d$"});
    let moment = json!({"type": "string", "format": "date-time"});
    json!({"anyOf": [days, moment, {"type": "string", "format": "date"}], "default": "7d"})
}

fn accounts() -> Vec<Operation> {
    use views::{
        Gone,
        account::Account,
        api_keys::{ApiKey, IssuedApiKey},
        signup::SignedUp,
    };
    const TAG: &str = "Account";
    vec![
        post("/signup")
            .named(TAG, "create_signup", "Make an account and its first key")
            .public()
            .takes("Signup")
            .answers::<SignedUp>(201)
            .refuses(&[Code::ValidationFailed, Code::RateLimited]),
        get("/account").named(TAG, "get_account", "Whom the key belongs to").answers::<Account>(200),
        get("/usage")
            .named(TAG, "get_usage", "What the account asked for")
            .query("since", &since())
            .answers::<views::usage::Usage>(200),
        get("/api_keys").named(TAG, "list_api_keys", "Active keys, without their secrets").lists::<ApiKey>(),
        post("/api_keys")
            .named(TAG, "create_api_key", "Make a key; its secret is shown once")
            .takes("NewApiKey")
            .answers::<IssuedApiKey>(201)
            .refuses(&[Code::ValidationFailed]),
        delete("/api_keys/{id}")
            .named(TAG, "delete_api_key", "Revoke a key at once")
            .answers::<Gone>(200)
            .refuses(&[Code::ApiKeyNotFound, Code::CannotRevokeLastKey]),
    ]
}

/// The other body of `POST /contact_imports`.
fn table() -> Value {
    json!({
        "type": "string", "minLength": 1,
        "description": "At most 512 MiB and 1,000,000 rows of CSV in UTF-8 (RFC 4180). The first row names the \
            columns: `email`, `first_name`, `last_name`, `company`; others become fields of `custom`.",
    })
}

fn contacts() -> Vec<Operation> {
    use views::{
        Gone,
        contact_imports::{ContactImport, ContactImportDetail, NewImport, StartedImport},
        contacts::{Contact, ContactDetail},
    };
    const TAG: &str = "Contacts";
    const IMPORT: &[Code] = &[Code::ContactImportNotFound];
    vec![
        post("/contact_imports")
            .named(TAG, "create_contact_import", "Import contacts under a name; a table in the background")
            .query(
                "name",
                &json!({
                    "type": "string", "minLength": 1, "maxLength": 255,
                    "description": "The import's name: with a table alone, and needed there.",
                }),
            )
            .takes("NewContactImport")
            .or_takes("text/csv", table(), json!("email,first_name,Job title\r\nada@example.com,Ada,CTO\r\n"))
            .answers::<NewImport>(201)
            .answers::<StartedImport>(202)
            .refuses(&[Code::ValidationFailed, Code::NoContactsProvided]),
        get("/contact_imports")
            .named(TAG, "list_contact_imports", "Imports, newest first")
            .lists::<ContactImport>(),
        get("/contact_imports/{id}")
            .named(TAG, "get_contact_import", "One import and how many contacts it has now")
            .answers::<ContactImportDetail>(200)
            .refuses(IMPORT),
        delete("/contact_imports/{id}")
            .named(TAG, "delete_contact_import", "Delete an import with its contacts and their enrollments")
            .answers::<Gone>(200)
            .refuses(IMPORT),
        get("/contact_imports/{id}/contacts")
            .named(TAG, "list_contact_import_contacts", "Contacts of an import")
            .lists::<Contact>()
            .refuses(IMPORT),
        get("/contacts")
            .named(TAG, "list_contacts", "Contacts, or the one with an address")
            .query("email", &json!({"type": "string"}))
            .lists::<Contact>(),
        get("/contacts/{id}")
            .named(TAG, "get_contact", "One contact with its newest enrollments")
            .answers::<ContactDetail>(200)
            .refuses(&[Code::ContactNotFound]),
        patch("/contacts/{id}")
            .named(TAG, "update_contact", "Change a contact")
            .takes("ContactChange")
            .answers::<ContactDetail>(200)
            .refuses(&[Code::ContactNotFound, Code::ValidationFailed, Code::Unprocessable]),
        delete("/contacts/{id}")
            .named(TAG, "delete_contact", "Delete a contact and its enrollments")
            .answers::<Gone>(200)
            .refuses(&[Code::ContactNotFound]),
    ]
}

fn outreaches() -> Vec<Operation> {
    use views::{
        Gone,
        outreaches::{Outreach, OutreachDetail},
    };
    const TAG: &str = "Outreaches";
    const ONE: &[Code] = &[Code::OutreachNotFound];
    vec![
        post("/outreaches")
            .named(TAG, "create_outreach", "Make a group of campaigns")
            .takes("NewOutreach")
            .answers::<OutreachDetail>(201)
            .refuses(&[Code::ValidationFailed]),
        get("/outreaches").named(TAG, "list_outreaches", "Outreaches, newest first").lists::<Outreach>(),
        get("/outreaches/{id}")
            .named(TAG, "get_outreach", "One outreach with its sums and campaigns")
            .answers::<OutreachDetail>(200)
            .refuses(ONE),
        patch("/outreaches/{id}")
            .named(TAG, "update_outreach", "Change an outreach")
            .takes("OutreachChange")
            .answers::<OutreachDetail>(200)
            .refuses(&[Code::OutreachNotFound, Code::ValidationFailed]),
        delete("/outreaches/{id}")
            .named(TAG, "delete_outreach", "Delete an outreach; its campaigns stay")
            .answers::<Gone>(200)
            .refuses(ONE),
    ]
}

fn campaigns() -> Vec<Operation> {
    use views::{
        Gone,
        campaigns::{Campaign, CampaignState, CampaignSummary},
    };
    const TAG: &str = "Campaigns";
    vec![
        get("/campaigns")
            .named(TAG, "list_campaigns", "Campaigns, newest first")
            .query("status", &word(&["pending", "active", "paused", "completed"]))
            .query("outreach_id", &json!({"type": "string", "format": "uuid"}))
            .lists::<CampaignSummary>(),
        post("/campaigns")
            .named(
                TAG,
                "create_campaign",
                "Make a campaign with its steps and credentials, whole or not at all",
            )
            .takes("NewCampaign")
            .answers::<CampaignState>(201)
            .refuses(&[Code::OutreachNotFound, Code::ValidationFailed]),
        get("/campaigns/{id}")
            .named(TAG, "get_campaign", "One campaign and how it stands")
            .answers::<Campaign>(200)
            .refuses(&[Code::CampaignNotFound]),
        patch("/campaigns/{id}")
            .named(TAG, "update_campaign", "Change a campaign; steps and outreach only while it is pending")
            .takes("CampaignChange")
            .answers::<Campaign>(200)
            .refuses(&[
                Code::CampaignNotFound,
                Code::OutreachNotFound,
                Code::ValidationFailed,
                Code::Unprocessable,
            ]),
        delete("/campaigns/{id}")
            .named(TAG, "delete_campaign", "Delete a campaign that is not active")
            .answers::<Gone>(200)
            .refuses(&[Code::CampaignNotFound, Code::Unprocessable]),
        post("/campaigns/{id}/pause")
            .named(TAG, "pause_campaign", "Pause: nothing new goes out after the answer")
            .answers::<CampaignState>(200)
            .refuses(&[Code::CampaignNotFound, Code::CampaignNotActive]),
        post("/campaigns/{id}/resume")
            .named(
                TAG,
                "resume_campaign",
                "Go on with a paused campaign; `completed` when its last enrollment ended meanwhile",
            )
            .answers::<CampaignState>(200)
            .refuses(&[Code::CampaignNotFound, Code::CampaignNotPaused]),
    ]
}

fn previews() -> Vec<Operation> {
    use views::previews::{Forecast, Preview, TestResults};
    const TAG: &str = "Campaigns";
    vec![
        get("/campaigns/{id}/preview")
            .named(TAG, "preview_campaign", "The mails as a contact would get them")
            .query("contact_id", &json!({"type": "string", "format": "uuid"}))
            .answers::<Preview>(200)
            .refuses(&[Code::CampaignNotFound, Code::ContactNotFound, Code::Unprocessable]),
        get("/campaigns/{id}/send_forecast")
            .named(TAG, "get_send_forecast", "What would go out when")
            .answers::<Forecast>(200)
            .refuses(&[Code::CampaignNotFound]),
        post("/campaigns/{id}/test_send")
            .named(TAG, "test_send_campaign", "Send the steps now to addresses of yours")
            .takes("TestSend")
            .answers::<TestResults>(200)
            .refuses(&[
                Code::CampaignNotFound,
                Code::ContactNotFound,
                Code::NoEmailsProvided,
                Code::ValidationFailed,
                Code::Unprocessable,
                Code::PlanLimitReached,
            ]),
    ]
}

fn enrolling() -> Vec<Operation> {
    use views::{
        deliveries::Delivery,
        enrollments::{
            BulkEnrolled, DispatchStarted, EnrollJob, EnrollStarted, EnrolledContact, Enrollment,
            EnrollmentSkip,
        },
    };
    const TAG: &str = "Enrollments";
    const CAMPAIGN: &[Code] = &[Code::CampaignNotFound];
    vec![
        post("/campaigns/{campaign_id}/enroll")
            .named(TAG, "enroll_import", "Enroll the contacts of an import; a large one in the background")
            .takes("Enroll")
            .answers::<BulkEnrolled>(200)
            .answers::<EnrollStarted>(202)
            .refuses(&[
                Code::CampaignNotFound,
                Code::ContactImportNotFound,
                Code::ValidationFailed,
                Code::Unprocessable,
            ]),
        post("/campaigns/{campaign_id}/enroll_contact")
            .named(TAG, "enroll_contact", "Enroll one contact")
            .takes("EnrollContact")
            .answers::<EnrolledContact>(201)
            .refuses(&[
                Code::CampaignNotFound,
                Code::ContactNotFound,
                Code::ContactAlreadyEnrolled,
                Code::ValidationFailed,
                Code::Unprocessable,
            ]),
        get("/campaigns/{campaign_id}/enroll_jobs/{id}")
            .named(TAG, "get_enroll_job", "How far a large enrollment is")
            .answers::<EnrollJob>(200)
            .refuses(CAMPAIGN),
        get("/campaigns/{campaign_id}/enrollments")
            .named(TAG, "list_enrollments", "Enrollments of a campaign")
            .query("status", &word(&["pending", "sent", "opened", "replied", "bounced", "unsubscribed"]))
            .query("batch_number", &json!({"type": "integer", "format": "int32"}))
            .lists::<Enrollment>()
            .refuses(CAMPAIGN),
        get("/campaigns/{campaign_id}/enrollment_skips")
            .named(TAG, "list_enrollment_skips", "Whom enrolling left out, and why")
            .lists::<EnrollmentSkip>()
            .refuses(CAMPAIGN),
        post("/campaigns/{id}/dispatch")
            .named(TAG, "dispatch_campaign", "Release what is enrolled")
            .takes("Dispatch")
            .answers::<DispatchStarted>(202)
            .refuses(&[
                Code::CampaignNotFound,
                Code::NoPendingEnrollments,
                Code::ValidationFailed,
                Code::Unprocessable,
                Code::PlanLimitReached,
            ]),
        get("/campaigns/{id}/deliveries")
            .named(TAG, "list_deliveries", "What became of each message")
            .query(
                "state",
                &word(&["queued", "sending", "deferred", "sent", "bounced", "skipped", "uncertain"]),
            )
            .lists::<Delivery>()
            .refuses(CAMPAIGN),
        post("/campaigns/{id}/deliveries/{delivery_id}/resolve")
            .named(TAG, "resolve_delivery", "Settle a message of which nobody knows what became")
            .takes("Resolve")
            .answers::<Delivery>(200)
            .refuses(&[Code::CampaignNotFound, Code::ValidationFailed, Code::Unprocessable]),
    ]
}
