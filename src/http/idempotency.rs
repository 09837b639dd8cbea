//! `Idempotency-Key`: the first answer to a key is stored in the transaction of its effects, and given again.
//!
//! A [`Claim`] is taken after the body was parsed and before anything is prepared or begun. Twins in one process queue
//! in [`Turns`]; twins of other processes are seen by the row, or on PostgreSQL by an advisory lock. An earlier answer is
//! looked for then as well, or on PostgreSQL together with that lock ([`Look`]). Nobody waits with a connection in hand. The primary key has the last word: whoever cannot store rolls back and replays.
//!
//! A handler whose body is streamed takes [`super::Given`]: the key is claimed behind the body's end, and a refusal before
//! that is kept under what was read.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::OriginalUri,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use sea_orm::DbBackend;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::client_ip::ClientIp;
use crate::{
    clock::Timestamp,
    errors::{ApiError, ApiResult, Code, Rendered},
    models::idempotency_keys::{self, Answer, Found, Lease, Use},
    state::AppState,
    tenancy::{Conn, Scope, SystemScope},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key, in characters.
const MAX_LENGTH: usize = 255;
/// How long a twin waits for the answer of the first.
const WAIT: Duration = Duration::from_secs(10);
/// How often it looks when the first runs in another process.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// `Retry-After` of one that has waited for long enough, in seconds.
const RETRY_SECONDS: u32 = 5;
/// What describes the content, and is given again with it.
const KEPT_HEADERS: [HeaderName; 5] =
    [header::CONTENT_TYPE, header::LINK, header::LOCATION, header::RETRY_AFTER, header::WWW_AUTHENTICATE];

/// The key of a request: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key that the headers carry, if they carry one.
    ///
    /// # Errors
    /// `bad_request` for one that is empty, too long, not visible ASCII, or given twice.
    pub fn of(parts: &Parts) -> ApiResult<Option<Self>> {
        let mut given = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = given.next() else { return Ok(None) };
        if given.next().is_some() {
            return Err(ApiError::bad_request("`Idempotency-Key` is given twice"));
        }
        let bytes = value.as_bytes();
        if !(1..=MAX_LENGTH).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(ApiError::bad_request("`Idempotency-Key` must be 1 to 255 visible ASCII characters"));
        }
        Ok(Some(Self(String::from_utf8_lossy(bytes).into_owned())))
    }

    /// The id of its row.
    fn id(&self, account: Uuid) -> Uuid {
        let digest: [u8; 32] =
            Sha256::new().chain_update(account.as_bytes()).chain_update(&self.0).finalize().into();
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        uuid::Builder::from_custom_bytes(id).into_uuid()
    }
}

/// SHA-256 over method, path with query, and body.
#[derive(Clone, Debug)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Of a request whose body is still to come.
    pub fn of(parts: &Parts) -> Self {
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
        let path = uri.path_and_query().map_or("", axum::http::uri::PathAndQuery::as_str);
        // Neither a method nor a path contains a line feed.
        Self(Sha256::new().chain_update(format!("{} {path}\n", parts.method)))
    }

    /// Adds a piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// After the last piece.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Whose turn it is among twins of this process.
#[derive(Clone, Debug)]
pub struct Turns {
    queues: Arc<Mutex<HashMap<Uuid, Arc<tokio::sync::Mutex<()>>>>>,
    wait: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self::waiting(WAIT)
    }
}

impl Turns {
    /// With another time to wait.
    pub fn waiting(wait: Duration) -> Self {
        Self { queues: Arc::default(), wait }
    }

    async fn enter(&self, id: Uuid, deadline: Instant) -> ApiResult<Turn> {
        let queue = Arc::clone(self.queues.lock().entry(id).or_default());
        let mut turn = Turn { id, turns: self.clone(), held: None };
        match tokio::time::timeout_at(deadline.into(), queue.lock_owned()).await {
            Ok(held) => turn.held = Some(held),
            Err(_) => return Err(still_running()),
        }
        Ok(turn)
    }
}

/// One's turn, until it is dropped.
#[derive(Debug)]
struct Turn {
    id: Uuid,
    turns: Turns,
    held: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = self.turns.queues.lock();
        self.held = None;
        if queues.get(&self.id).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.id);
        }
    }
}

fn still_running() -> ApiError {
    ApiError::new(Code::IdempotencyConflict)
        .message("The first request with this idempotency key is still running")
        .retry_after(RETRY_SECONDS)
}

/// Whether a request is to run, or is answered already.
pub enum Taken {
    /// It runs, and stores its answer through the claim.
    Run(Arc<Claim>),
    /// It was answered before.
    Answered(Response),
}

/// When it is looked whether a request was answered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Before anything is prepared or begun.
    First,
    /// With the first statement of its transaction, where that need not be waited for.
    InTransaction,
}

/// What a transaction finds that has just begun.
#[derive(Debug)]
pub enum Entered {
    /// No other process runs the same.
    Alone,
    /// Another one does.
    Busy,
    /// It was answered before.
    Answered(Response),
}

/// The right to run the request of a key and to store its answer.
pub struct Claim {
    state: AppState,
    account: Uuid,
    used: Use,
    deadline: Instant,
    _turn: Turn,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("account", &self.account)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

/// What stands for the address of a signup in place of an account.
pub fn scope_of_address(from: ClientIp, state: &AppState) -> Uuid {
    let hash = state.suppression_key.hash(Uuid::nil(), &format!("signup from {from}"));
    let mut id = [0; 16];
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(id).into_uuid()
}

impl Claim {
    /// Waits for a twin that is running, and answers as it did; else the request runs.
    ///
    /// # Errors
    /// `idempotency_conflict` when the key was used for another request, or the first runs for too long.
    pub async fn take(
        state: AppState,
        account: Uuid,
        key: &IdempotencyKey,
        fingerprint: [u8; 32],
        look: Look,
    ) -> ApiResult<Taken> {
        let deadline = Instant::now() + state.turns.wait;
        let used = Use { id: key.id(account), fingerprint };
        let turn = state.turns.enter(used.id, deadline).await?;
        let claim = Self { state, account, used, deadline, _turn: turn };
        // SQLite has one writer, which is not to be kept waiting by what can be read beside it.
        let later = look == Look::InTransaction && claim.state.db.backend() == DbBackend::Postgres;
        let answered = if later { None } else { claim.look().await? };
        Ok(answered.map_or_else(|| Taken::Run(Arc::new(claim)), Taken::Answered))
    }

    /// The answer that is there, waiting for one that is being made in another process.
    pub(super) async fn look(&self) -> ApiResult<Option<Response>> {
        loop {
            let scope = self.scope(Conn::Pool(self.state.db.pool().clone()));
            let found =
                idempotency_keys::find(&scope, &self.state.sealer, &self.used, Timestamp::now()).await?;
            match found {
                Found::Free => return Ok(None),
                Found::Other => return Err(ApiError::new(Code::IdempotencyConflict)),
                Found::Answered(answer) => return replay(answer).map(Some),
                Found::Running => self.pause().await?,
            }
        }
    }

    async fn pause(&self) -> ApiResult<()> {
        if Instant::now() + LOOK_EVERY > self.deadline {
            return Err(still_running());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }

    fn scope(&self, conn: Conn) -> Scope {
        SystemScope::new(conn).account(self.account)
    }

    /// In a transaction that has just begun: whether the request is to run. SQLite has one writer anyway.
    ///
    /// # Errors
    /// `idempotency_conflict` when the key was used for another request; what the database refuses.
    pub async fn enter(&self, conn: Conn) -> ApiResult<Entered> {
        let scope = self.scope(conn);
        if scope.backend() != DbBackend::Postgres {
            return Ok(Entered::Alone);
        }
        let (alone, found) =
            idempotency_keys::find_alone(&scope, &self.state.sealer, &self.used, Timestamp::now()).await?;
        match found {
            Found::Other => Err(ApiError::new(Code::IdempotencyConflict)),
            Found::Answered(answer) => replay(answer).map(Entered::Answered),
            Found::Free if alone => Ok(Entered::Alone),
            Found::Free | Found::Running => Ok(Entered::Busy),
        }
    }

    /// After another process was found to run the same: its answer, or `None` to try again.
    ///
    /// # Errors
    /// `idempotency_conflict` when it runs for too long.
    pub async fn await_other(&self) -> ApiResult<Option<Response>> {
        self.pause().await?;
        self.look().await
    }

    /// Stores an answer in the caller's transaction. `false`: another request's is there already; roll back.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn store(&self, conn: Conn, answer: &Answer) -> ApiResult<bool> {
        let scope = self.scope(conn);
        idempotency_keys::store(&scope, &self.state.sealer, &self.used, answer, Timestamp::now()).await
    }

    /// Stores an answer without effects in a transaction of its own.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn store_alone(&self, answer: &Answer) -> ApiResult<bool> {
        let tx = Arc::new(self.state.db.begin_short().await?);
        let stored = self.store(Conn::Tx(Arc::clone(&tx)), answer).await?;
        tx.commit_shared().await?;
        Ok(stored)
    }

    /// Takes the run for work that talks to the outside. `None`: another process has it, or it was answered.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn lease(&self) -> ApiResult<Option<Lease>> {
        let work = async |system: &SystemScope| {
            idempotency_keys::lease(&system.account(self.account), &self.used, Timestamp::now()).await
        };
        SystemScope::in_transaction(&self.state.db, work).await
    }

    /// Holds the run on.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn renew(&self, lease: Lease) -> ApiResult<bool> {
        let work = async |system: &SystemScope| {
            idempotency_keys::renew(&system.account(self.account), &self.used, lease).await
        };
        SystemScope::in_transaction(&self.state.db, work).await
    }

    /// Ends the run. `false`: somebody took it over meanwhile.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn settle(&self, lease: Lease, answer: Option<&Answer>) -> ApiResult<bool> {
        let work = async |system: &SystemScope| {
            let scope = system.account(self.account);
            idempotency_keys::settle(&scope, &self.state.sealer, &self.used, lease, answer).await
        };
        SystemScope::in_transaction(&self.state.db, work).await
    }

    /// The answer of whoever stored first.
    ///
    /// # Errors
    /// `idempotency_conflict` when there is none after all.
    pub async fn answer_of_first(&self) -> ApiResult<Response> {
        self.look().await?.ok_or_else(still_running)
    }
}

/// Whether an answer of this status is given again: successes, and what models and business rules refused.
pub const fn keeps(status: u16) -> bool {
    matches!(status, 200..=299 | 402 | 404 | 422)
}

/// The answer as it is kept, and the same answer again.
///
/// # Errors
/// `internal_error` when the body ends early.
pub async fn keep(response: Response) -> ApiResult<(Answer, Response)> {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.map_err(ApiError::internal)?.to_bytes();
    let mut headers = String::new();
    for name in &KEPT_HEADERS {
        for value in parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
            for part in [name.as_str(), ": ", value, "\n"] {
                headers.push_str(part);
            }
        }
    }
    let answer = Answer {
        status: parts.status.as_u16(),
        code: parts.extensions.get::<Rendered>().map(|rendered| rendered.0.as_str().to_owned()),
        headers,
        body: bytes.to_vec(),
    };
    Ok((answer, Response::from_parts(parts, Body::from(bytes))))
}

/// The response that an answer was.
fn replay(answer: Answer) -> ApiResult<Response> {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(ApiError::internal)?;
    for (name, value) in answer.headers.lines().filter_map(|line| line.split_once(": ")) {
        let name = name.parse::<HeaderName>().map_err(ApiError::internal)?;
        response.headers_mut().append(name, HeaderValue::from_str(value).map_err(ApiError::internal)?);
    }
    response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    if let Some(code) = answer.code.as_deref().and_then(Code::parse) {
        response.extensions_mut().insert(Rendered(code));
    }
    Ok(response)
}
