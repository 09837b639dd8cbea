//! How a valid request of each operation is built. A route that is missing here fails the coverage test: add a line.
//!
//! In paths, queries and bodies `$name` stands for the id of a row of the asking account (see [`Operation::ids`]).

use ampout::{clock::new_id, crypto::Purpose};
use axum::http::Method;
use axum_test::TestResponse;
use serde_json::{Value, json};
use stripe_webhook::Webhook;
use uuid::Uuid;

use crate::support::{Client, World, billing::WEBHOOK_SECRETS, rows::Rows};

/// An operation and its valid request.
pub struct Operation {
    pub method: Method,
    /// The route's template.
    pub route: &'static str,
    /// What stands in place of the template's parameters, then the query.
    path: String,
    body: Option<Value>,
    /// Whether it needs no key.
    pub public: bool,
    /// Whether ids in the query filter a list, so that an unknown one gives an empty list.
    filters: bool,
    /// Changes of the campaign before the request.
    pub before: &'static [&'static str],
}

fn keyed(method: Method, route: &'static str, path: &str, body: Option<Value>) -> Operation {
    Operation { method, route, path: path.to_owned(), body, public: false, filters: false, before: &[] }
}

fn get(route: &'static str, path: &str) -> Operation {
    keyed(Method::GET, route, path, None)
}

fn delete(route: &'static str, path: &str) -> Operation {
    keyed(Method::DELETE, route, path, None)
}

fn post(route: &'static str, path: &str, body: Value) -> Operation {
    keyed(Method::POST, route, path, Some(body))
}

fn patch(route: &'static str, path: &str, body: Value) -> Operation {
    keyed(Method::PATCH, route, path, Some(body))
}

impl Operation {
    const fn public(mut self) -> Self {
        self.public = true;
        self
    }

    const fn filtered(mut self) -> Self {
        self.filters = true;
        self
    }

    const fn after(mut self, before: &'static [&'static str]) -> Self {
        self.before = before;
        self
    }

    /// The placeholders of this operation, each once.
    pub fn ids(&self) -> Vec<&'static str> {
        let whole = format!("{}{}", self.path, self.body.as_ref().map(Value::to_string).unwrap_or_default());
        NAMES.into_iter().filter(|name| has(&whole, name)).collect()
    }

    /// Whether the placeholder stands in the path, so that an unknown row is a 404.
    pub fn in_path(&self, name: &str) -> bool {
        has(self.path.split('?').next().unwrap(), name)
    }

    /// Whether the placeholder only filters a list: any id is a filter.
    pub fn filters_by(&self, name: &str) -> bool {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        self.filters && has(query, name)
    }

    /// What goes before one more query parameter.
    pub fn query_mark(&self) -> &'static str {
        if self.path.contains('?') { "&" } else { "?" }
    }

    /// The path and the body with what `id` says for each placeholder.
    pub fn filled(&self, id: impl Fn(&'static str) -> Uuid) -> (String, Option<Value>) {
        let body = self.body.as_ref().map(|body| fill(&body.to_string(), &id));
        (fill(&self.path, &id), body.map(|text| serde_json::from_str(&text).unwrap()))
    }

    /// Sends the request with what `id` says for each placeholder.
    pub async fn send(
        &self,
        w: &World,
        authorization: &[&str],
        id: impl Fn(&'static str) -> Uuid,
    ) -> TestResponse {
        self.send_to(w, authorization, id, "").await
    }

    /// The same with something after the path.
    pub async fn send_to(
        &self,
        w: &World,
        authorization: &[&str],
        id: impl Fn(&'static str) -> Uuid,
        suffix: &str,
    ) -> TestResponse {
        let fill = |text: &str| fill(text, &id);
        let path = fill(&self.path).replace("$token", &inbound_token(w));
        let mut request = w.server.method(self.method.clone(), &format!("{path}{suffix}"));
        for value in authorization {
            request = request.add_header("authorization", *value);
        }
        match &self.body {
            Some(body) => {
                let body = serde_json::from_str::<Value>(&fill(&body.to_string())).unwrap();
                if self.route == "/webhooks/stripe" {
                    let text = body.to_string();
                    let signature = Webhook::generate_test_header(&text, WEBHOOK_SECRETS[0], None);
                    request = request.add_header("stripe-signature", signature);
                }
                request.json(&body).await
            }
            None => request.await,
        }
    }
}

/// What is in the address of alice's inbound webhooks.
fn inbound_token(w: &World) -> String {
    let account: Uuid = w.alice.account_id.parse().unwrap();
    w.state().link_keys.sign(Purpose::InboundSmtp2go, account.as_bytes())
}

/// Whether `text` has the placeholder, and not just one that begins like it.
fn has(text: &str, name: &str) -> bool {
    text.match_indices(&format!("${name}")).any(|(at, found)| {
        let next = text[at + found.len()..].chars().next();
        !next.is_some_and(|letter| letter.is_ascii_lowercase() || letter == '_')
    })
}

/// The text with every placeholder replaced.
pub fn fill(text: &str, id: &impl Fn(&'static str) -> Uuid) -> String {
    let mut names = NAMES;
    names.sort_unstable_by_key(|name| std::cmp::Reverse(name.len()));
    let filled = text.replace("$new", &new_id().simple().to_string());
    names.into_iter().fold(filled, |text, name| text.replace(&format!("${name}"), &id(name).to_string()))
}

/// The rows that requests name.
pub const NAMES: [&str; 11] = [
    "api_key",
    "campaign",
    "contact_import",
    "contact",
    "free_contact",
    "credential",
    "delivery",
    "enroll_job",
    "outreach",
    "webhook",
    "webhook_delivery",
];

/// The id of a row of that name.
pub fn id_of(rows: &Rows, name: &str) -> Uuid {
    match name {
        "api_key" => rows.api_key.id,
        "campaign" => rows.campaign.id,
        "contact_import" => rows.import.id,
        "contact" => rows.contacts[0].id,
        "free_contact" => rows.contacts[2].id,
        "credential" => rows.credential.id,
        "delivery" => rows.delivery.id,
        "enroll_job" => rows.job.id,
        "outreach" => rows.outreach.id,
        "webhook" => rows.webhook.id,
        "webhook_delivery" => rows.webhook_delivery.id,
        other => panic!("no row is called {other}"),
    }
}

/// A set of rows of that account, made for one request.
pub async fn rows_of(w: &World, client: &Client) -> Rows {
    let state = w.state();
    let mut rows = Rows::of(client.account_id.parse().unwrap());
    rows.seal_passwords(&state.sealer);
    rows.store(&w.ctx.db).await;
    rows
}

/// Brings the rows of a request into the state that it needs.
pub async fn prepare(w: &World, operation: &Operation, rows: &Rows) {
    for change in operation.before {
        w.sql(&format!("{change} WHERE id = $1"), [rows.campaign.id.into()]).await;
    }
}

const PAUSED: &[&str] = &["UPDATE campaigns SET status = 'paused'"];
const PENDING: &[&str] = &["UPDATE campaigns SET status = 'pending'"];

/// Every operation of the application.
pub fn all() -> Vec<Operation> {
    // Webhooks come first: an account has room for twenty.
    [
        webhooks(),
        service(),
        account(),
        contacts(),
        outreaches(),
        recipients(),
        campaigns(),
        credentials(),
        enrolling(),
        billing(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn service() -> Vec<Operation> {
    vec![
        get("/status", "/status").public(),
        get("/metrics", "/metrics").public(),
        get("/openapi.json", "/openapi.json").public(),
        get("/docs", "/docs").public(),
        get("/docs/docs.css", "/docs/docs.css").public(),
        get("/docs/redoc.js", "/docs/redoc.js").public(),
        get("/docs/reference.js", "/docs/reference.js").public(),
        get("/docs/errors", "/docs/errors").public(),
        get("/docs/errors/{code}", "/docs/errors/not_found").public(),
    ]
}

fn account() -> Vec<Operation> {
    vec![
        post("/signup", "/signup", json!({"email": "$new@example.com"})).public(),
        get("/account", "/account"),
        get("/usage", "/usage?since=30d"),
        get("/api_keys", "/api_keys"),
        post("/api_keys", "/api_keys", json!({"label": "new"})),
        delete("/api_keys/{id}", "/api_keys/$api_key"),
    ]
}

fn billing() -> Vec<Operation> {
    let event =
        json!({"id": "evt_$new", "type": "charge.refunded", "livemode": false, "data": {"object": {}}});
    vec![
        get("/plans", "/plans").public(),
        get("/billing/subscription", "/billing/subscription"),
        get("/billing/usage", "/billing/usage"),
        post("/billing/checkout", "/billing/checkout", json!({"plan_slug": "pro"})),
        post("/billing/portal", "/billing/portal", json!({})),
        post("/webhooks/stripe", "/webhooks/stripe", event).public(),
    ]
}

fn contacts() -> Vec<Operation> {
    let new = json!({"contact_import": {"name": "new", "contacts": [{"email": "$new@example.com"}]}});
    vec![
        get("/contact_imports", "/contact_imports"),
        post("/contact_imports", "/contact_imports", new),
        get("/contact_imports/{id}", "/contact_imports/$contact_import"),
        delete("/contact_imports/{id}", "/contact_imports/$contact_import"),
        get("/contact_imports/{id}/contacts", "/contact_imports/$contact_import/contacts"),
        get("/contacts", "/contacts"),
        get("/contacts/{id}", "/contacts/$contact"),
        patch("/contacts/{id}", "/contacts/$contact", json!({"contact": {"company": "changed"}})),
        delete("/contacts/{id}", "/contacts/$contact"),
    ]
}

fn outreaches() -> Vec<Operation> {
    vec![
        get("/outreaches", "/outreaches"),
        post("/outreaches", "/outreaches", json!({"outreach": {"name": "new"}})),
        get("/outreaches/{id}", "/outreaches/$outreach"),
        patch("/outreaches/{id}", "/outreaches/$outreach", json!({"outreach": {"name": "changed"}})),
        delete("/outreaches/{id}", "/outreaches/$outreach"),
    ]
}

/// What recipients are shown, and what providers report. A token is no id: a bad one of a recipient is answered like any
/// other.
fn recipients() -> Vec<Operation> {
    vec![
        get("/u/{token}", "/u/bad").public(),
        post("/u/{token}", "/u/bad", json!({})).public(),
        get("/o/{token}", "/o/bad.gif").public(),
        post("/inbound/smtp2go/{token}", "/inbound/smtp2go/$token", json!({})).public(),
    ]
}

fn credential() -> Value {
    json!({
        "smtp_host": "127.0.0.1", "smtp_port": 2525, "smtp_username": "u", "smtp_password": "p",
        "from_name": "F", "from_email": "f@example.com", "daily_limit": 5,
    })
}

fn campaigns() -> Vec<Operation> {
    let step = json!({"position": 1, "subject": "S", "body_html": "<p>B</p>"});
    let new = json!({"campaign": {
        "name": "new", "outreach_id": "$outreach", "smtp_credentials": [credential()], "sequence_steps": [step],
    }});
    let moved = json!({"campaign": {"name": "moved", "outreach_id": "$outreach"}});
    vec![
        get("/campaigns", "/campaigns?outreach_id=$outreach").filtered(),
        post("/campaigns", "/campaigns", new),
        get("/campaigns/{id}", "/campaigns/$campaign"),
        patch("/campaigns/{id}", "/campaigns/$campaign", moved).after(PENDING),
        delete("/campaigns/{id}", "/campaigns/$campaign").after(PAUSED),
        get("/campaigns/{id}/preview", "/campaigns/$campaign/preview?contact_id=$contact"),
        get("/campaigns/{id}/send_forecast", "/campaigns/$campaign/send_forecast"),
        post(
            "/campaigns/{id}/test_send",
            "/campaigns/$campaign/test_send",
            json!({"emails": ["test@example.com"], "contact_id": "$contact"}),
        ),
        post("/campaigns/{id}/pause", "/campaigns/$campaign/pause", json!({})),
        post("/campaigns/{id}/resume", "/campaigns/$campaign/resume", json!({})).after(PAUSED),
    ]
}

fn credentials() -> Vec<Operation> {
    const LIST: &str = "/campaigns/{campaign_id}/smtp_credentials";
    const ONE: &str = "/campaigns/{campaign_id}/smtp_credentials/{id}";
    let one = "/campaigns/$campaign/smtp_credentials/$credential";
    vec![
        get(LIST, "/campaigns/$campaign/smtp_credentials"),
        post(LIST, "/campaigns/$campaign/smtp_credentials", json!({"smtp_credential": credential()})),
        get(ONE, one),
        patch(ONE, one, json!({"smtp_credential": {"label": "changed"}})),
        delete(ONE, one).after(PAUSED),
        post(
            "/campaigns/{campaign_id}/smtp_credentials/{id}/reenable",
            "/campaigns/$campaign/smtp_credentials/$credential/reenable",
            json!({}),
        ),
        post(
            "/campaigns/{campaign_id}/smtp_credentials/{id}/verify",
            "/campaigns/$campaign/smtp_credentials/$credential/verify",
            json!({}),
        ),
    ]
}

fn enrolling() -> Vec<Operation> {
    vec![
        post(
            "/campaigns/{campaign_id}/enroll",
            "/campaigns/$campaign/enroll",
            json!({"contact_import_id": "$contact_import"}),
        ),
        post(
            "/campaigns/{campaign_id}/enroll_contact",
            "/campaigns/$campaign/enroll_contact",
            json!({"contact_id": "$free_contact"}),
        ),
        get("/campaigns/{campaign_id}/enroll_jobs/{id}", "/campaigns/$campaign/enroll_jobs/$enroll_job"),
        get("/campaigns/{campaign_id}/enrollments", "/campaigns/$campaign/enrollments"),
        get("/campaigns/{campaign_id}/enrollment_skips", "/campaigns/$campaign/enrollment_skips"),
        post("/campaigns/{id}/dispatch", "/campaigns/$campaign/dispatch", json!({})),
        get("/campaigns/{id}/deliveries", "/campaigns/$campaign/deliveries"),
        post(
            "/campaigns/{id}/deliveries/{delivery_id}/resolve",
            "/campaigns/$campaign/deliveries/$delivery/resolve",
            json!({"as": "sent"}),
        ),
    ]
}

fn webhooks() -> Vec<Operation> {
    let one = "/webhooks/$webhook";
    let delivery = "/webhooks/$webhook/deliveries/$webhook_delivery";
    vec![
        get("/webhooks", "/webhooks"),
        post("/webhooks", "/webhooks", json!({"webhook": {"url": "http://127.0.0.1:9/$new"}})),
        patch("/webhooks/{id}", one, json!({"webhook": {"event_filters": ["*"]}})),
        delete("/webhooks/{id}", one),
        post("/webhooks/{id}/rotate_secret", "/webhooks/$webhook/rotate_secret", json!({})),
        post("/webhooks/{id}/test", "/webhooks/$webhook/test", json!({})),
        get("/webhooks/{id}/deliveries", "/webhooks/$webhook/deliveries"),
        get("/webhooks/{id}/deliveries/{delivery_id}", delivery),
        post(
            "/webhooks/{id}/deliveries/{delivery_id}/redeliver",
            "/webhooks/$webhook/deliveries/$webhook_delivery/redeliver",
            json!({}),
        ),
    ]
}
