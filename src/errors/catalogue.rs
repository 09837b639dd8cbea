//! The catalogue of error codes: one table that the API's answers, the pages under
//! `/docs/errors`, the `OpenAPI` document and the tests all read.
//!
//! The set is closed. A new code starts here, with its page's text.

/// Declares the enum and its tables from one list, so that no code can lack a column.
macro_rules! catalogue {
    ($($variant:ident $text:literal $status:literal $message:literal
        means $meaning:literal
        remedy $remedy:literal;)+) => {
        /// A code of the catalogue: what clients branch on. The status follows from it alone.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $meaning] $variant,)+
        }

        impl Code {
            /// Every code, in the order of the catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code as clients see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The HTTP status that goes with the code.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// The message of an answer that has nothing more specific to say; also the title of
            /// the code's page.
            pub const fn default_message(self) -> &'static str {
                match self { $(Self::$variant => $message,)+ }
            }

            /// When the code is answered, for the code's page.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// What a client can do about it, for the code's page.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }
        }
    };
}

catalogue! {
    Unauthorized "unauthorized" 401 "Missing or invalid API key"
        means "The request carries no API key, or one that is malformed or revoked."
        remedy "Send `Authorization: Bearer ak_live_…` with an active key of the account.";
    NotFound "not_found" 404 "Not found"
        means "No route has this path, or the resource does not exist."
        remedy "Check the path, a trailing slash included, and the ids in it.";
    ValidationFailed "validation_failed" 422 "Validation failed"
        means "The body was understood, and at least one field has a value that is not accepted."
        remedy "Read `details.errors`: it names every field that failed and why. Correct them all and send again.";
    Unprocessable "unprocessable" 422 "The request cannot be carried out in the current state"
        means "The request was understood, and a rule of the product forbids it as things stand."
        remedy "The message names the rule. Change what it names, or leave the request.";
    BadRequest "bad_request" 400 "The request is malformed"
        means "Bad JSON, a value of the wrong type, an unknown field or query parameter, a missing wrapper or an unusable header."
        remedy "The message names the place. Correct the request; sending it again unchanged cannot succeed.";
    RateLimited "rate_limited" 429 "Too many requests. Slow down and retry after the period resets."
        means "The key, or at signup the client's address, has used up the requests of the current period."
        remedy "Wait for the seconds in `Retry-After`, then go on. `details` holds the limit and the period.";
    CampaignNotFound "campaign_not_found" 404 "Campaign not found"
        means "The account has no campaign with this id."
        remedy "List the campaigns with `GET /campaigns` and use an id from there.";
    ContactNotFound "contact_not_found" 404 "Contact not found"
        means "The account has no contact with this id."
        remedy "Find the contact with `GET /contacts?email=` and use its id.";
    ContactImportNotFound "contact_import_not_found" 404 "Contact import not found"
        means "The account has no contact import with this id."
        remedy "List the imports with `GET /contact_imports` and use an id from there.";
    OutreachNotFound "outreach_not_found" 404 "Outreach not found"
        means "The account has no outreach with this id."
        remedy "List the outreaches with `GET /outreaches` and use an id from there.";
    SmtpCredentialNotFound "smtp_credential_not_found" 404 "SMTP credential not found"
        means "The campaign has no SMTP credential with this id."
        remedy "List the campaign's credentials with `GET /campaigns/:campaign_id/smtp_credentials`.";
    ApiKeyNotFound "api_key_not_found" 404 "API key not found"
        means "The account has no active API key with this id."
        remedy "List the active keys with `GET /api_keys`.";
    WebhookNotFound "webhook_not_found" 404 "Webhook not found"
        means "The account has no webhook with this id."
        remedy "List the webhooks with `GET /webhooks` and use an id from there.";
    PlanNotFound "plan_not_found" 404 "Plan not found"
        means "There is no plan with this slug."
        remedy "List the plans with `GET /plans` and use a slug from there.";
    NoPendingEnrollments "no_pending_enrollments" 422 "No pending enrollments to dispatch"
        means "A dispatch found no undispatched enrollment in the campaign, or in the batch it named."
        remedy "Enroll contacts first, or name a batch that still has undispatched enrollments.";
    CampaignNotActive "campaign_not_active" 422 "Campaign is not active"
        means "Only an active campaign can be paused."
        remedy "Look at the campaign's `status`; nothing needs to be paused unless it is `active`.";
    CampaignNotPaused "campaign_not_paused" 422 "Campaign is not paused"
        means "Only a paused campaign can be resumed."
        remedy "Look at the campaign's `status`; a pending campaign is started by a dispatch.";
    ContactAlreadyEnrolled "contact_already_enrolled" 422 "Contact is already enrolled in this campaign"
        means "The contact has an enrollment in this campaign; there can be only one."
        remedy "Use the enrollment that exists: `GET /campaigns/:campaign_id/enrollments`.";
    NoEmailsProvided "no_emails_provided" 422 "No emails provided"
        means "A test send names no address to send to."
        remedy "Give 1 to 10 addresses in `emails`.";
    NoContactsProvided "no_contacts_provided" 422 "No contacts provided"
        means "A contact import carries no contacts."
        remedy "Give at least one contact in `contact_import.contacts`.";
    PlanLimitReached "plan_limit_reached" 402 "Plan send limit reached for the current period"
        means "The sends that the account's plan includes for the current period are used up."
        remedy "Upgrade with `POST /billing/checkout`, or wait for the next period. Scheduled sends go on by themselves.";
    PlanRequired "plan_required" 402 "A paid plan is required"
        means "Reserved: the feature is for paying accounts."
        remedy "Choose a paid plan with `POST /billing/checkout`.";
    FeatureNotInPlan "feature_not_in_plan" 402 "The feature is not part of the plan"
        means "Reserved: the account's plan does not include the feature."
        remedy "Choose a plan that includes it with `POST /billing/checkout`.";
    PlanNotPurchasable "plan_not_purchasable" 422 "Plan cannot be purchased"
        means "Checkout was asked for a plan that is free, private or archived."
        remedy "Choose one of the paid plans of `GET /plans`.";
    NoStripeCustomer "no_stripe_customer" 422 "Account has no Stripe customer"
        means "Billing is not set up on this server, or the account's Stripe customer is not made yet."
        remedy "Try again after a minute. If it stays, ask the operator whether billing is configured.";
    CannotRevokeLastKey "cannot_revoke_last_key" 422 "Cannot revoke the last active API key"
        means "Revoking this key would leave the account with no active key."
        remedy "Create another key first, then revoke this one.";
    InvalidSignature "invalid_signature" 401 "Invalid signature"
        means "The signature of a Stripe webhook does not verify against the raw body, or is too old."
        remedy "Check that the signing secret of the endpoint is the one that the server is configured with.";
    IdempotencyConflict "idempotency_conflict" 409 "Idempotency key conflict"
        means "The idempotency key was used for another request, or its first request is still running."
        remedy "Use a new key for a new request. With `Retry-After`, wait that long and repeat the same request.";
    MethodNotAllowed "method_not_allowed" 405 "Method not allowed"
        means "The path exists, and not for this method."
        remedy "Use one of the methods in the `Allow` header.";
    PayloadTooLarge "payload_too_large" 413 "Payload too large"
        means "The body is larger than this endpoint takes."
        remedy "Send less at once, or use the CSV import for large lists of contacts.";
    UnsupportedMediaType "unsupported_media_type" 415 "Unsupported media type"
        means "The body is not in a format that this endpoint takes."
        remedy "Send JSON with `Content-Type: application/json`.";
    InternalError "internal_error" 500 "Internal server error"
        means "Something failed on the server's side. It is logged under the answer's `x-request-id`."
        remedy "Repeat the request with the same `Idempotency-Key`. If it stays, report the request id.";
    ServiceUnavailable "service_unavailable" 503 "Service temporarily unavailable"
        means "The server is too busy, starting, stopping or waiting for its database."
        remedy "Wait for the seconds in `Retry-After` and repeat the request with the same `Idempotency-Key`.";
}

impl Code {
    /// The codes that nothing raises yet: they are kept for features of paid plans.
    pub const fn reserved() -> &'static [Self] {
        &[Self::PlanRequired, Self::FeatureNotInPlan]
    }

    /// The code with this text, if the catalogue has it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// The code that stands for a bare HTTP status, for answers that nobody of ours made.
    pub const fn for_status(status: u16) -> Self {
        match status {
            401 => Self::Unauthorized,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            409 => Self::IdempotencyConflict,
            413 => Self::PayloadTooLarge,
            415 => Self::UnsupportedMediaType,
            422 => Self::Unprocessable,
            429 => Self::RateLimited,
            408 | 502..=504 => Self::ServiceUnavailable,
            400..=499 => Self::BadRequest,
            _ => Self::InternalError,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_one_text_and_is_found_by_it() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for &code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
        assert_eq!(Code::parse("nonsense"), None);
    }

    #[test]
    fn every_code_has_its_page_text_and_an_error_status() {
        for &code in Code::ALL {
            assert!((400..600).contains(&code.status()), "{code:?}");
            for text in [code.default_message(), code.meaning(), code.remedy()] {
                assert!(!text.is_empty(), "{code:?}");
            }
            assert!(code.meaning().ends_with('.') && code.remedy().ends_with('.'), "{code:?}");
        }
    }

    #[test]
    fn a_bare_status_maps_to_a_code_of_the_same_status_where_there_is_one() {
        for status in [400, 401, 404, 405, 409, 413, 415, 422, 429, 500, 503] {
            assert_eq!(Code::for_status(status).status(), status);
        }
        assert_eq!(Code::for_status(418), Code::BadRequest);
        assert_eq!(Code::for_status(504), Code::ServiceUnavailable);
        assert_eq!(Code::for_status(599), Code::InternalError);
    }
}
