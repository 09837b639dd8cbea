//! A stand-in for Stripe: it makes customers, checkout and portal sessions, shows the subscriptions that it is given, and
//! checks what it is asked as Stripe would: the key, the form's fields, the idempotency keys. It can be slow, busy and
//! out of order, and keeps what came. It knows nothing of the application.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

/// The key that it knows.
pub const SECRET_KEY: &str = "sk_test_standin";

/// A call as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// The fields of the form, or of the query.
    pub fields: BTreeMap<String, String>,
    /// The idempotency key; empty where there is none.
    pub key: String,
}

/// What it does instead of answering as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Nothing else: it answers as it should.
    Answers,
    /// An error of this status.
    Fails(u16),
    /// Nothing, for so long.
    Sleeps(Duration),
    /// Something that is not JSON, with status 200.
    Babbles,
}

#[derive(Debug, Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    /// Idempotency key: the call, and how it was answered.
    answered: Mutex<BTreeMap<String, (Call, u16, Value)>>,
    subscriptions: Mutex<BTreeMap<String, Value>>,
    customers: Mutex<u64>,
    moods: Mutex<Vec<Mood>>,
    always: Mutex<Option<Mood>>,
    /// Whether answers to GET are held back once they are made.
    held: watch::Sender<bool>,
    count: watch::Sender<usize>,
}

/// A running stand-in; it ends when it is dropped.
#[derive(Debug)]
pub struct StripeServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

impl StripeServer {
    /// Listens on a port of 127.0.0.1.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Listens there.
    ///
    /// # Errors
    /// The port cannot be had.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::default()));
        let router = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It ends with the set; there is nobody to tell of an error.
            drop(axum::serve(listener, router).await);
        });
        Ok(Self { address, shared, _server: server })
    }

    /// What `STRIPE_API_BASE` is set to.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Shows this subscription from now on.
    pub fn show(&self, subscription: &Value) {
        let id = subscription.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.shared.subscriptions.lock().insert(id, subscription.clone());
    }

    /// Forgets a subscription.
    pub fn forget(&self, id: &str) {
        self.shared.subscriptions.lock().remove(id);
    }

    /// Does these in turn with the calls that come next.
    pub fn next(&self, moods: &[Mood]) {
        self.shared.moods.lock().extend(moods);
    }

    /// Does this with every call, or answers again.
    pub fn always(&self, mood: Option<Mood>) {
        *self.shared.always.lock() = mood;
    }

    /// Looks at what a GET asks for, and answers only after [`Self::release`].
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Lets go what is held.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// What came, in the order of coming.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().clone()
    }

    /// What came to one path.
    pub fn calls_to(&self, path: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.path == path).collect()
    }

    /// Waits until at least so many calls have come.
    ///
    /// # Errors
    /// `TimedOut` after `deadline`.
    pub async fn wait_for_calls(&self, count: usize, deadline: Duration) -> io::Result<()> {
        let mut seen = self.shared.count.subscribe();
        let wait = seen.wait_for(|seen| *seen >= count);
        let came = tokio::time::timeout(deadline, wait).await;
        came.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(drop).map_err(io::Error::other)
    }

    /// How many customers were made.
    pub fn customers(&self) -> u64 {
        *self.shared.customers.lock()
    }
}

async fn take(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header =
        |name: &str| parts.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let query = parts.uri.query().unwrap_or_default();
    let fields = if parts.method == Method::GET { Bytes::copy_from_slice(query.as_bytes()) } else { body };
    let call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        fields: form_urlencoded::parse(&fields).into_owned().collect(),
        key: header("idempotency-key"),
    };
    shared.calls.lock().push(call.clone());
    shared.count.send_modify(|count| *count += 1);
    let mood = {
        let mut moods = shared.moods.lock();
        if moods.is_empty() { *shared.always.lock() } else { Some(moods.remove(0)) }
    };
    match mood {
        Some(Mood::Sleeps(long)) => tokio::time::sleep(long).await,
        Some(Mood::Babbles) => return "<html>".into_response(),
        Some(Mood::Fails(status)) => return answer(status, &error("api_error", "a_mood", "none")),
        Some(Mood::Answers) | None => {}
    }
    if parts.method == Method::POST && header("content-type") != "application/x-www-form-urlencoded" {
        return answer(400, &error("invalid_request_error", "parameter_invalid_empty", "content-type"));
    }
    if header("authorization") != format!("Bearer {SECRET_KEY}") || header("stripe-version").is_empty() {
        return answer(401, &error("invalid_request_error", "api_key_expired", "none"));
    }
    if call.method == "GET" {
        let (status, body) = show(&shared, &call);
        let mut held = shared.held.subscribe();
        // The sender lives as long as the server.
        drop(held.wait_for(|held| !held).await);
        return answer(status, &body);
    }
    let (status, body) = make_once(&shared, &call);
    answer(status, &body)
}

fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

fn error(kind: &str, code: &str, parameter: &str) -> Value {
    // The message is what must never reach a client.
    json!({"error": {"type": kind, "code": code, "param": parameter, "message": "words of Stripe"}})
}

/// Stripe's rule: one key, one request. <https://docs.stripe.com/api/idempotent_requests>
fn make_once(shared: &Shared, call: &Call) -> (u16, Value) {
    if call.key.is_empty() {
        return (400, error("invalid_request_error", "parameter_missing", "idempotency-key"));
    }
    let mut answered = shared.answered.lock();
    if let Some((first, status, body)) = answered.get(&call.key) {
        return if first == call {
            (*status, body.clone())
        } else {
            (400, error("idempotency_error", "idempotency_key_in_use", "none"))
        };
    }
    let (status, body) = make(shared, call);
    answered.insert(call.key.clone(), (call.clone(), status, body.clone()));
    (status, body)
}

fn make(shared: &Shared, call: &Call) -> (u16, Value) {
    let made = match call.path.as_str() {
        "/v1/customers" => make_customer(shared, call),
        "/v1/checkout/sessions" => make_checkout(call),
        "/v1/billing_portal/sessions" => make_portal(shared, call),
        _ => return (404, error("invalid_request_error", "resource_missing", "none")),
    };
    match made {
        Ok(made) => (200, made),
        Err((code, parameter)) => (400, error("invalid_request_error", code, parameter)),
    }
}

/// What a call lacks, or what it names that is not there, and the parameter at fault.
type Fault = (&'static str, &'static str);

impl Call {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    fn needs(&self, names: &[&'static str]) -> Result<(), Fault> {
        let lacking = names.iter().find(|name| self.field(name).is_empty());
        lacking.map_or(Ok(()), |name| Err(("parameter_missing", *name)))
    }

    /// Stripe refuses what it does not know, rather than passing over it.
    fn knows(&self, names: &[&'static str]) -> Result<(), Fault> {
        let known = |field: &String| field.split('[').next().is_some_and(|name| names.contains(&name));
        if self.fields.keys().all(known) { Ok(()) } else { Err(("parameter_unknown", "one of them")) }
    }
}

fn make_customer(shared: &Shared, call: &Call) -> Result<Value, Fault> {
    call.knows(&["email", "name", "metadata"])?;
    call.needs(&["email", "metadata[account_id]"])?;
    *shared.customers.lock() += 1;
    let account = call.field("metadata[account_id]");
    Ok(json!({
        "id": format!("cus_{}", account.replace('-', "")), "object": "customer", "email": call.field("email"),
        "livemode": false, "created": 1_795_000_000, "metadata": {"account_id": account}, "address": null,
        "balance": 0, "currency": null, "default_source": null, "delinquent": false, "description": null,
        "discount": null, "invoice_prefix": "0759376C", "invoice_settings": {"custom_fields": null,
            "default_payment_method": null, "footer": null, "rendering_options": null},
        "name": call.fields.get("name"), "next_invoice_sequence": 1, "phone": null, "preferred_locales": [],
        "shipping": null, "tax_exempt": "none", "test_clock": null,
    }))
}

fn make_checkout(call: &Call) -> Result<Value, Fault> {
    call.knows(&[
        "mode",
        "customer",
        "client_reference_id",
        "line_items",
        "subscription_data",
        "success_url",
        "cancel_url",
    ])?;
    call.needs(&["mode", "customer", "success_url", "cancel_url", "client_reference_id"])?;
    call.needs(&["line_items[0][price]", "line_items[0][quantity]"])?;
    if call.field("customer") == "cus_unknown" {
        return Err(("resource_missing", "customer"));
    }
    Ok(json!({
        "id": "cs_test_1", "object": "checkout.session", "mode": "subscription", "status": "open",
        "url": format!("https://checkout.stripe.test/c/{}", call.key), "customer": call.field("customer"),
        "livemode": false, "amount_subtotal": 1900, "amount_total": 1900, "created": 1_795_000_000,
        "cancel_url": call.field("cancel_url"), "success_url": call.field("success_url"), "currency": "usd",
        "client_reference_id": call.field("client_reference_id"), "customer_details": null, "customer_email": null,
        "expires_at": 1_795_086_400, "invoice": null, "locale": null, "metadata": {}, "payment_intent": null,
        "payment_method_types": ["card"], "payment_status": "unpaid", "setup_intent": null, "subscription": null,
        "submit_type": null, "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    }))
}

fn make_portal(shared: &Shared, call: &Call) -> Result<Value, Fault> {
    const CONFIRM: [&str; 3] = [
        "flow_data[subscription_update_confirm][subscription]",
        "flow_data[subscription_update_confirm][items][0][id]",
        "flow_data[subscription_update_confirm][items][0][price]",
    ];
    call.knows(&["customer", "return_url", "flow_data"])?;
    call.needs(&["customer", "return_url"])?;
    if call.field("flow_data[type]") == "subscription_update_confirm" {
        call.needs(&CONFIRM)?;
        if !shared.subscriptions.lock().contains_key(call.field(CONFIRM[0])) {
            return Err(("resource_missing", CONFIRM[0]));
        }
    }
    Ok(json!({
        "id": "bps_1", "object": "billing_portal.session", "livemode": false, "customer": call.field("customer"),
        "url": format!("https://billing.stripe.test/p/{}", call.key), "return_url": call.field("return_url"),
        "configuration": "bpc_1", "created": 1_795_000_000, "flow": null, "locale": null, "on_behalf_of": null,
    }))
}

fn show(shared: &Shared, call: &Call) -> (u16, Value) {
    let subscriptions = shared.subscriptions.lock();
    let Some(rest) = call.path.strip_prefix("/v1/subscriptions") else {
        return (404, error("invalid_request_error", "resource_missing", "none"));
    };
    if let Some(id) = rest.strip_prefix('/') {
        return subscriptions.get(id).map_or_else(
            || (404, error("invalid_request_error", "resource_missing", "id")),
            |found| (200, found.clone()),
        );
    }
    // Two to a page, whatever is asked for: pages are walked.
    let after = call.fields.get("starting_after").map_or("", String::as_str);
    // Ended ones are left out unless all are asked for.
    let all = call.field("status") == "all";
    let shown = |it: &Value| all || it.get("status").and_then(Value::as_str) != Some("canceled");
    let behind = subscriptions.iter().filter(|(id, _)| id.as_str() > after).map(|(_, it)| it);
    let left: Vec<&Value> = behind.filter(|it| shown(it)).collect();
    let page: Vec<&Value> = left.iter().take(2).copied().collect();
    (200, json!({"object": "list", "url": "/v1/subscriptions", "has_more": left.len() > 2, "data": page}))
}

/// A subscription as Stripe shows it, to a price, in a period of seconds since the epoch.
pub fn subscription(id: &str, customer: &str, price: &str, status: &str, (start, end): (i64, i64)) -> Value {
    let recurring = json!({"interval": "month", "interval_count": 1});
    let price = json!({
        "id": price, "object": "price", "active": true, "currency": "usd", "livemode": false, "type": "recurring",
        "unit_amount": 1900, "recurring": recurring,
    });
    let item = json!({
        "id": format!("si_{id}"), "object": "subscription_item", "quantity": 1, "created": start,
        "current_period_start": start, "current_period_end": end, "subscription": id, "price": price,
    });
    let items = json!({
        "object": "list", "url": "/v1/subscription_items", "has_more": false, "data": [item],
    });
    let mut shown = json!({
        "id": id, "object": "subscription", "customer": customer, "status": status, "livemode": false,
        "created": start, "start_date": start, "billing_cycle_anchor": start, "currency": "usd", "items": items,
        "cancel_at_period_end": false, "collection_method": "charge_automatically", "latest_invoice": "in_1",
        "metadata": {},
    });
    let empty = [
        "cancel_at",
        "canceled_at",
        "ended_at",
        "trial_start",
        "trial_end",
        "pause_collection",
        "default_payment_method",
    ];
    if let Some(fields) = shown.as_object_mut() {
        fields.extend(empty.into_iter().map(|name| (name.to_owned(), Value::Null)));
    }
    shown
}

/// An event about an object.
pub fn event(id: &str, kind: &str, object: &Value) -> Value {
    json!({
        "id": id, "object": "event", "api_version": "2025-09-30.clover", "created": 1_795_000_000, "type": kind,
        "livemode": false, "pending_webhooks": 1, "request": {"id": null, "idempotency_key": null},
        "data": {"object": object},
    })
}
