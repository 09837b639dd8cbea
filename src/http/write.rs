//! One transaction for each request that changes something.
//!
//! [`Write`] authenticates, reads and parses the body, and only then begins the transaction: a slow client never holds
//! SQLite's one writer. [`commit_or_roll_back`] wraps every handler: a success commits, any error rolls back.

use std::{future::Future, sync::Arc};

use axum::{
    extract::{FromRequest, Request},
    http::{header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use loco_rs::app::AppContext;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::{
    auth,
    client_ip::client_ip,
    idempotency::{self, Claim, Entered, Fingerprint, IdempotencyKey, Look, Taken},
    json::{self, NoFields},
    query,
    rate_limit::{self, Subject},
};
use crate::{
    db::WriteTx,
    errors::{ApiError, ApiResult, Code},
    points,
    state::AppState,
    tenancy::{Caller, Conn, Scope, SystemScope},
};

/// A request with a longer body, in bytes, may take its time, and shares its commit with nobody.
const SHORT: usize = 16 * 1024;

/// How long the transaction of a request may take: others that are done wait for a short one, and share its commit (ADR 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Milliseconds.
    Short,
    /// Seconds: nobody is to wait for it.
    Long,
}

impl Length {
    const fn of(body: &[u8]) -> Self {
        if body.len() <= SHORT { Self::Short } else { Self::Long }
    }
}

/// An authenticated change: its scope is on the request's transaction.
#[derive(Debug)]
pub struct Write<B> {
    /// The account's data.
    pub scope: Scope,
    /// The parsed body.
    pub body: B,
    /// Whose key it is.
    pub caller: Caller,
    /// What to do once the change is durable.
    pub after: AfterCommit,
}

/// A change by somebody without a key (signup), limited by the network that it comes from.
#[derive(Debug)]
pub struct PublicWrite<B> {
    /// All accounts.
    pub system: SystemScope,
    /// The parsed body.
    pub body: B,
}

/// The transaction of a request, from its beginning to its end.
#[derive(Clone, Debug, Default)]
pub struct TxSlot {
    open: Arc<Mutex<Option<Arc<WriteTx>>>>,
    claim: Arc<Mutex<Option<Arc<Claim>>>>,
    /// The answer of an earlier request with the same key: it is given in place of whatever the handler says.
    answered: Arc<Mutex<Option<Response>>>,
    pub(super) after: AfterCommit,
}

impl TxSlot {
    /// Takes the key of a request, if it has one, for a request whose body has this fingerprint. Where it was answered
    /// before, the error only ends the handler: the middleware gives the answer.
    ///
    /// # Errors
    /// `bad_request` for a malformed key, `idempotency_conflict`.
    pub async fn claim(
        &self,
        parts: &Parts,
        account: uuid::Uuid,
        ctx: &AppContext,
        fingerprint: impl FnOnce() -> [u8; 32] + Send,
        look: Look,
    ) -> ApiResult<()> {
        let Some(key) = IdempotencyKey::of(parts)? else { return Ok(()) };
        let taken = Claim::take(AppState::of(ctx)?, account, &key, fingerprint(), look).await?;
        match taken {
            Taken::Run(claim) => {
                *self.claim.lock() = Some(claim);
                Ok(())
            }
            Taken::Answered(response) => Err(self.answer(response)),
        }
    }

    /// Looks for an earlier answer once more.
    pub(super) async fn look_again(&self) -> ApiResult<()> {
        let claim = self.claim.lock().clone();
        let Some(claim) = claim else { return Ok(()) };
        claim.look().await?.map_or(Ok(()), |response| Err(self.answer(response)))
    }

    /// Hands the claim on: whoever has it stores the answer.
    pub(super) fn take_claim(&self) -> Option<Arc<Claim>> {
        self.claim.lock().take()
    }

    fn answer(&self, response: Response) -> ApiError {
        *self.answered.lock() = Some(response);
        ApiError::new(Code::IdempotencyConflict)
    }
}

/// Something to be done once.
type Act = Box<dyn FnOnce() + Send>;

/// What is done when the transaction has committed, never before: waking a loop, say.
#[derive(Clone, Default)]
pub struct AfterCommit(Arc<Mutex<Vec<Act>>>);

impl AfterCommit {
    /// Has `act` done after the commit.
    pub fn then(&self, act: impl FnOnce() + Send + 'static) {
        self.0.lock().push(Box::new(act));
    }
}

impl std::fmt::Debug for AfterCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AfterCommit").field(&self.0.lock().len()).finish()
    }
}

impl<B: DeserializeOwned + Send> FromRequest<AppContext> for Write<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, ApiError> {
        let unopened = Unopened::<B>::read(request, ctx, |_| Look::InTransaction).await?;
        let conn = begin(&unopened.slot, ctx, unopened.length).await?;
        Ok(Self {
            scope: Scope::of(&unopened.caller, conn),
            body: unopened.body,
            caller: unopened.caller,
            after: unopened.slot.after,
        })
    }
}

/// An authenticated change whose transaction has not begun.
pub(super) struct Unopened<B> {
    pub(super) body: B,
    pub(super) length: Length,
    pub(super) caller: Caller,
    pub(super) slot: TxSlot,
}

impl<B: DeserializeOwned> Unopened<B> {
    pub(super) async fn read(
        request: Request,
        ctx: &AppContext,
        look: impl FnOnce(Length) -> Look,
    ) -> ApiResult<Self> {
        let limit = json::body_limit(&request);
        let (mut parts, body) = request.into_parts();
        let caller = auth::authenticate(&mut parts, ctx).await?;
        let slot = parts.extensions.get::<TxSlot>().cloned().unwrap_or_default();
        let (body, bytes) = parse(&parts, body, limit).await?;
        let length = Length::of(&bytes);
        slot.claim(&parts, caller.account_id(), ctx, || fingerprint(&parts, &bytes), look(length)).await?;
        Ok(Self { body, length, caller, slot })
    }
}

/// A body that needs something before its transaction may begin: names resolved, templates compiled.
pub trait Prepare: DeserializeOwned + Send {
    /// What it becomes.
    type Ready: Send;

    /// Does the work. A refusal that must wait for a look-up of its parent goes into the result.
    fn prepare(self, state: &AppState) -> impl Future<Output = Self::Ready> + Send;
}

/// A [`Write`] whose body was prepared before the transaction began.
#[derive(Debug)]
pub struct PreparedWrite<B: Prepare>(pub Write<B::Ready>);

impl<B: Prepare> FromRequest<AppContext> for PreparedWrite<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, ApiError> {
        let unopened = Unopened::<B>::read(request, ctx, |_| Look::First).await?;
        let body = unopened.body.prepare(&AppState::of(ctx)?).await;
        let conn = begin(&unopened.slot, ctx, unopened.length).await?;
        let scope = Scope::of(&unopened.caller, conn);
        Ok(Self(Write { scope, body, caller: unopened.caller, after: unopened.slot.after }))
    }
}

impl<B: DeserializeOwned + Send> FromRequest<AppContext> for PublicWrite<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, ApiError> {
        let limit = json::body_limit(&request);
        let (parts, body) = request.into_parts();
        let state = AppState::of(ctx)?;
        let from = client_ip(&parts, &state.settings.trusted_proxies);
        rate_limit::admit(&parts, &state.limits, Subject::Network(from.network())).await?;
        let slot = parts.extensions.get::<TxSlot>().cloned().unwrap_or_default();
        let (body, bytes) = parse(&parts, body, limit).await?;
        let client = idempotency::scope_of_address(from, &state);
        slot.claim(&parts, client, ctx, || fingerprint(&parts, &bytes), Look::InTransaction).await?;
        Ok(Self { system: SystemScope::new(begin(&slot, ctx, Length::of(&bytes)).await?), body })
    }
}

/// Reads the body whole, then its query (a change takes none) and its fields.
async fn parse<B: DeserializeOwned>(
    parts: &Parts,
    body: axum::body::Body,
    limit: usize,
) -> ApiResult<(B, bytes::Bytes)> {
    let bytes = json::read_body(&parts.headers, body, limit).await?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or(""));
    let fields = json::parse_body(content_type, &bytes)?;
    query::parse_query::<NoFields>(parts.uri.query().unwrap_or_default())?;
    Ok((fields, bytes))
}

fn fingerprint(parts: &Parts, body: &[u8]) -> [u8; 32] {
    let mut fingerprint = Fingerprint::of(parts);
    fingerprint.update(body);
    fingerprint.finish()
}

pub(super) async fn begin(slot: &TxSlot, ctx: &AppContext, length: Length) -> Result<Conn, ApiError> {
    let claim = slot.claim.lock().clone();
    let db = AppState::of(ctx)?.db;
    loop {
        let mut tx = match length {
            Length::Short => db.begin_short().await?,
            Length::Long => db.begin().await?,
        };
        if let Some(claim) = claim.clone() {
            // A twin is to find the answer, also where the first was cut off before it was durable.
            tx.hold(claim);
        }
        let tx = Arc::new(tx);
        let entered = match &claim {
            Some(claim) => claim.enter(Conn::Tx(Arc::clone(&tx))).await?,
            None => Entered::Alone,
        };
        let answered = match (entered, &claim) {
            (Entered::Busy, Some(claim)) => {
                // Whoever waits for another process holds no connection.
                drop(tx);
                claim.await_other().await?
            }
            (Entered::Answered(response), _) => Some(response),
            (Entered::Alone | Entered::Busy, _) => {
                *slot.open.lock() = Some(Arc::clone(&tx));
                return Ok(Conn::Tx(tx));
            }
        };
        if let Some(response) = answered {
            return Err(slot.answer(response));
        }
    }
}

/// Ends the transaction that the handler's extractor began, by what the handler answered.
pub async fn commit_or_roll_back(mut request: Request, next: Next) -> Response {
    let slot = TxSlot::default();
    request.extensions_mut().insert(slot.clone());
    let response = next.run(request).await;
    let (tx, claim) = (slot.open.lock().take(), slot.claim.lock().take());
    let answered = slot.answered.lock().take();
    if let Some(answered) = answered {
        return answered;
    }
    let Some(claim) = claim else { return end(tx, &slot, response).await };
    let ended = if response.status().is_success() {
        store_and_commit(tx, &claim, &slot, response).await
    } else {
        let response = end(tx, &slot, response).await;
        if idempotency::keeps(response.status().as_u16()) {
            store_refusal(&claim, response).await
        } else {
            Ok(response)
        }
    };
    ended.unwrap_or_else(IntoResponse::into_response)
}

/// The answer goes with its effects, or neither does.
async fn store_and_commit(
    tx: Option<Arc<WriteTx>>,
    claim: &Claim,
    slot: &TxSlot,
    response: Response,
) -> ApiResult<Response> {
    let (answer, response) = idempotency::keep(response).await?;
    let Some(tx) = tx else {
        return if claim.store_alone(&answer).await? { Ok(response) } else { claim.answer_of_first().await };
    };
    if !claim.store(Conn::Tx(Arc::clone(&tx)), &answer).await? {
        drop(tx);
        return claim.answer_of_first().await;
    }
    points::reach("answer-before-commit");
    let response = end(Some(tx), slot, response).await;
    points::reach("answer-after-commit");
    Ok(response)
}

/// What was refused has no effects, so its answer goes alone.
async fn store_refusal(claim: &Claim, response: Response) -> ApiResult<Response> {
    let (answer, response) = idempotency::keep(response).await?;
    if claim.store_alone(&answer).await? { Ok(response) } else { claim.answer_of_first().await }
}

/// Commits after a success, rolls back after an error.
async fn end(tx: Option<Arc<WriteTx>>, slot: &TxSlot, response: Response) -> Response {
    let Some(tx) = tx else { return response };
    // The handler has returned, so nobody else holds the transaction any more.
    let Some(tx) = Arc::into_inner(tx) else {
        return ApiError::internal("a handler kept its transaction").into_response();
    };
    if !response.status().is_success() {
        return match tx.rollback().await {
            Ok(()) => response,
            Err(error) => ApiError::from(error).into_response(),
        };
    }
    match tx.commit().await {
        Ok(()) => {
            let acts = std::mem::take(&mut *slot.after.0.lock());
            for act in acts {
                act();
            }
            response
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}
