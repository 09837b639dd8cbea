//! Operations on what meets the outside: mailboxes, webhooks, billing, and what recipients reach.

use serde_json::{Value, json};

use super::{Operation, delete, get, patch, post};
use crate::{errors::Code, views};

pub(super) fn credentials() -> Vec<Operation> {
    use views::{
        Gone,
        previews::Verified,
        smtp_credentials::{Credential, Enabled, NewCredential},
    };
    const TAG: &str = "SMTP credentials";
    const LIST: &str = "/campaigns/{campaign_id}/smtp_credentials";
    const ONE: &str = "/campaigns/{campaign_id}/smtp_credentials/{id}";
    const MISSING: [Code; 2] = [Code::CampaignNotFound, Code::SmtpCredentialNotFound];
    vec![
        get(LIST)
            .named(TAG, "list_smtp_credentials", "Credentials of a campaign, never with a password")
            .lists::<Credential>()
            .refuses(&[Code::CampaignNotFound]),
        post(LIST)
            .named(TAG, "create_smtp_credential", "Add a mailbox to send from")
            .takes("NewSmtpCredential")
            .answers::<NewCredential>(201)
            .refuses(&[Code::CampaignNotFound, Code::ValidationFailed]),
        get(ONE)
            .named(TAG, "get_smtp_credential", "One credential")
            .answers::<Credential>(200)
            .refuses(&MISSING),
        patch(ONE)
            .named(TAG, "update_smtp_credential", "Change a credential")
            .takes("SmtpCredentialChange")
            .answers::<Credential>(200)
            .refuses(&MISSING)
            .refuses(&[Code::ValidationFailed]),
        delete(ONE)
            .named(TAG, "delete_smtp_credential", "Delete a credential; not the last of an active campaign")
            .answers::<Gone>(200)
            .refuses(&MISSING)
            .refuses(&[Code::Unprocessable]),
        post("/campaigns/{campaign_id}/smtp_credentials/{id}/reenable")
            .named(TAG, "reenable_smtp_credential", "Enable a credential again")
            .answers::<Enabled>(200)
            .refuses(&MISSING),
        post("/campaigns/{campaign_id}/smtp_credentials/{id}/verify")
            .named(TAG, "verify_smtp_credential", "Log in to the mail servers and say how it went")
            .answers::<Verified>(200)
            .refuses(&MISSING),
    ]
}

pub(super) fn billing() -> Vec<Operation> {
    use views::billing::{BillingUsage, PageLink, PlanOffer, Received, Subscription};
    const TAG: &str = "Billing";
    vec![
        get("/plans").named(TAG, "list_plans", "What can be bought").public().answers::<Vec<PlanOffer>>(200),
        get("/billing/subscription")
            .named(TAG, "get_subscription", "The account's plan and period")
            .answers::<Subscription>(200),
        get("/billing/usage")
            .named(TAG, "get_billing_usage", "What the account has sent, this period and before")
            .answers::<BillingUsage>(200),
        post("/billing/checkout")
            .named(TAG, "create_checkout", "A page of Stripe's to buy a plan, or to change to it")
            .takes("Checkout")
            .answers::<PageLink>(200)
            .refuses(&[Code::ValidationFailed, Code::PlanNotFound, Code::PlanNotPurchasable])
            .refuses(&[Code::NoStripeCustomer, Code::Unprocessable]),
        post("/billing/portal")
            .named(TAG, "create_portal", "A page of Stripe's for invoices, cards and cancelling")
            .answers::<PageLink>(200)
            .refuses(&[Code::NoStripeCustomer, Code::Unprocessable]),
        post("/webhooks/stripe")
            .named("Recipients", "receive_stripe_event", "What Stripe says, signed over the raw body")
            .by_others()
            .takes("StripeEvent")
            .answers::<Received>(200)
            .refuses(&[Code::InvalidSignature, Code::BadRequest, Code::PayloadTooLarge]),
    ]
}

pub(super) fn webhooks() -> Vec<Operation> {
    use views::{
        Gone,
        webhooks::{Delivery, DeliveryDetail, NewWebhook, Rotated, Webhook},
    };
    const TAG: &str = "Webhooks";
    const ONE: &[Code] = &[Code::WebhookNotFound];
    vec![
        get("/webhooks").named(TAG, "list_webhooks", "Where events are sent").lists::<Webhook>(),
        post("/webhooks")
            .named(TAG, "create_webhook", "Have events sent to a URL; the secret is shown once")
            .takes("NewWebhook")
            .answers::<NewWebhook>(201)
            .refuses(&[Code::ValidationFailed]),
        patch("/webhooks/{id}")
            .named(TAG, "update_webhook", "Change a webhook, or enable it again")
            .takes("WebhookChange")
            .answers::<Webhook>(200)
            .refuses(&[Code::WebhookNotFound, Code::ValidationFailed]),
        delete("/webhooks/{id}")
            .named(TAG, "delete_webhook", "Delete a webhook")
            .answers::<Gone>(200)
            .refuses(ONE),
        post("/webhooks/{id}/rotate_secret")
            .named(TAG, "rotate_webhook_secret", "Make another secret; the old one stops at once")
            .answers::<Rotated>(200)
            .refuses(ONE),
        post("/webhooks/{id}/test")
            .named(TAG, "test_webhook", "Send a test event now")
            .answers::<Delivery>(200)
            .refuses(ONE),
        get("/webhooks/{id}/deliveries")
            .named(TAG, "list_webhook_deliveries", "Deliveries, each with its last attempt")
            .lists::<Delivery>()
            .refuses(ONE),
        get("/webhooks/{id}/deliveries/{delivery_id}")
            .named(TAG, "get_webhook_delivery", "One delivery with its payload and attempts")
            .answers::<DeliveryDetail>(200)
            .refuses(ONE),
        post("/webhooks/{id}/deliveries/{delivery_id}/redeliver")
            .named(TAG, "redeliver_webhook_delivery", "Send a delivery again")
            .answers::<Delivery>(202)
            .refuses(&[Code::WebhookNotFound, Code::Unprocessable]),
    ]
}

/// The body of a click. Nothing of it is refused.
fn one_click() -> Value {
    json!({"description": "`List-Unsubscribe=One-Click`, as mail programs send it; it is not looked at."})
}

pub(super) fn recipients() -> Vec<Operation> {
    const FORM: &str = "application/x-www-form-urlencoded";
    const TAG: &str = "Recipients";
    let page = json!({"type": "string"});
    vec![
        get("/u/{token}")
            .named(TAG, "get_unsubscribe_page", "The page with the button; it changes nothing")
            .by_others()
            .answers_other("text/html", &page),
        post("/u/{token}")
            .named(TAG, "unsubscribe_recipient", "Unsubscribe at once (RFC 8058)")
            .by_others()
            .or_takes(FORM, one_click(), json!({"List-Unsubscribe": "One-Click"}))
            .or_takes("multipart/form-data", one_click(), json!({"List-Unsubscribe": "One-Click"}))
            .answers_other("text/html", &page),
        get("/o/{token}")
            .named(TAG, "get_open_pixel", "The pixel of a mail; the token ends in `.gif`")
            .by_others()
            .answers_other("image/gif", &json!({})),
        post("/inbound/smtp2go/{token}")
            .named(
                TAG,
                "receive_smtp2go_event",
                "What SMTP2GO says of a mail; the token is the account's own",
            )
            .by_others()
            .takes("Smtp2goEvent")
            .or_takes(
                FORM,
                json!({"$ref": "#/components/schemas/Smtp2goEvent"}),
                json!({"event": "bounce", "bounce": "hard", "rcpt": "ada@example.com"}),
            )
            .answers_other(
                "application/json",
                &json!({"type": "object", "required": ["status"],
                    "properties": {"status": {"type": "string", "enum": ["ok"]}}}),
            )
            .refuses(&[Code::PayloadTooLarge]),
    ]
}
