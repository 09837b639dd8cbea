//! A stand-in for Stripe: it makes, lists and deletes customers, makes checkout and portal sessions, shows the subscriptions
//! that it is given, and checks what it is asked as Stripe would: the key, the form's fields, the idempotency keys. It can
//! be slow, busy and out of order, and keeps what came. It knows nothing of the application.

mod objects;

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

pub use objects::{event, subscription};

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
    /// An error of this status; one from 500 on is kept under the idempotency key.
    Fails(u16),
    /// It does what it is asked, and then says that it broke.
    Breaks,
    /// Nothing, for so long.
    Sleeps(Duration),
    /// Something that is not JSON, with status 200.
    Babbles,
}

/// Those that it has, in the order of making, and how many it ever made.
#[derive(Debug, Default)]
struct Customers {
    there: Vec<Value>,
    made: u64,
}

#[derive(Debug, Default)]
struct Shared {
    calls: Mutex<Vec<Call>>,
    /// Idempotency key: the call, and how it was answered.
    answered: Mutex<BTreeMap<String, (Call, u16, Value)>>,
    subscriptions: Mutex<BTreeMap<String, Value>>,
    customers: Mutex<Customers>,
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
        let id = objects::text(subscription, "id").to_owned();
        self.shared.subscriptions.lock().insert(id, subscription.clone());
    }

    /// Forgets a subscription.
    pub fn forget(&self, id: &str) {
        self.shared.subscriptions.lock().remove(id);
    }

    /// Forgets what it answered to which idempotency key, as after a day.
    pub fn forget_keys(&self) {
        self.shared.answered.lock().clear();
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
        self.shared.customers.lock().made
    }

    /// The ids of the customers that there are.
    pub fn customers_left(&self) -> Vec<String> {
        let left = self.shared.customers.lock();
        left.there.iter().map(|it| objects::text(it, "id").to_owned()).collect()
    }

    /// The status of a subscription that it shows.
    pub fn status(&self, subscription: &str) -> Option<String> {
        let shown = self.shared.subscriptions.lock();
        shown.get(subscription).map(|it| objects::text(it, "status").to_owned())
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
        Some(Mood::Fails(status)) => {
            let (status, body) = fail(&shared, &call, status);
            return answer(status, &body);
        }
        Some(Mood::Breaks | Mood::Answers) | None => {}
    }
    if parts.method == Method::POST && header("content-type") != "application/x-www-form-urlencoded" {
        return answer(400, &error("invalid_request_error", "parameter_invalid_empty", "content-type"));
    }
    if header("authorization") != format!("Bearer {SECRET_KEY}") || header("stripe-version").is_empty() {
        return answer(401, &error("invalid_request_error", "api_key_expired", "none"));
    }
    if call.method == "GET" {
        let (status, body) = objects::show(&shared, &call);
        let mut held = shared.held.subscribe();
        // The sender lives as long as the server.
        drop(held.wait_for(|held| !held).await);
        return answer(status, &body);
    }
    if call.method == "DELETE" {
        let (status, body) = objects::delete(&shared, &call);
        return answer(status, &body);
    }
    let (status, body) = make_once(&shared, &call, mood == Some(Mood::Breaks));
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

fn mood(status: u16) -> (u16, Value) {
    (status, error("api_error", "a_mood", "none"))
}

/// Stripe's rule: one key, one request, and one answer, be it that it broke; for a day.
/// <https://docs.stripe.com/api/idempotent_requests>
fn make_once(shared: &Shared, call: &Call, breaks: bool) -> (u16, Value) {
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
    let made = objects::make(shared, call);
    let (status, body) = if breaks { mood(500) } else { made };
    answered.insert(call.key.clone(), (call.clone(), status, body.clone()));
    (status, body)
}

/// Breaks before anything is done. That it was too busy, or did not know the key, it does not keep.
fn fail(shared: &Shared, call: &Call, status: u16) -> (u16, Value) {
    let mut answered = shared.answered.lock();
    if let Some((_, status, body)) = answered.get(&call.key) {
        return (*status, body.clone());
    }
    let (status, body) = mood(status);
    if status >= 500 && !call.key.is_empty() {
        answered.insert(call.key.clone(), (call.clone(), status, body.clone()));
    }
    (status, body)
}
