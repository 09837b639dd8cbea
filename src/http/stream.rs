//! Bodies that are too large to be held: taken in piece by piece, before their transaction begins.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, header, request::Parts},
};
use futures_util::{Stream, stream};
use loco_rs::app::AppContext;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::{
    auth,
    idempotency::{self, Fingerprint, IdempotencyKey, Look},
    json,
    late_write::LateWrite,
    pieces::Pieces,
    query::parse_query,
    write::{TxSlot, Write},
};
use crate::{
    errors::{ApiError, ApiResult},
    imports::MOST_BYTES,
    tenancy::Caller,
};

/// The longest that an upload may take.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// A change whose body is either fields in JSON or a table in `text/csv`, and whose transaction begins behind it.
pub enum Given<B> {
    /// Fields: read whole.
    Fields(Box<LateWrite<B>>),
    /// A table: nothing of it is read.
    Table(Box<StreamWrite>),
}

/// An authenticated change whose body is still to come, and whose transaction begins behind it.
pub struct StreamWrite {
    /// Whose key it is.
    pub caller: Caller,
    parts: Parts,
    body: Pieces,
    slot: TxSlot,
    ctx: AppContext,
}

/// What is left of a [`StreamWrite`] while its body is read.
pub struct BehindStream {
    caller: Caller,
    parts: Parts,
    slot: TxSlot,
    ctx: AppContext,
    fingerprint: Arc<Mutex<Fingerprint>>,
}

impl<B: DeserializeOwned + Send> FromRequest<AppContext> for Given<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, ApiError> {
        if is_table(request.headers()) {
            StreamWrite::of(request, ctx).await.map(|upload| Self::Table(Box::new(upload)))
        } else {
            LateWrite::if_long(request, ctx).await.map(|late| Self::Fields(Box::new(late)))
        }
    }
}

fn is_table(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| json::is_media_type(value, "text/csv"))
}

impl StreamWrite {
    async fn of(request: Request, ctx: &AppContext) -> ApiResult<Self> {
        let (mut parts, body): (_, Body) = request.into_parts();
        let caller = auth::authenticate(&mut parts, ctx).await?;
        let slot = parts.extensions.get::<TxSlot>().cloned().unwrap_or_default();
        let body = Pieces::of(&parts.headers, body, MOST_BYTES)?;
        // It is taken behind the body, but a key that never can be is not worth an upload.
        IdempotencyKey::of(&parts)?;
        Ok(Self { caller, parts, body, slot, ctx: ctx.clone() })
    }

    /// The parameters of the query.
    ///
    /// # Errors
    /// `bad_request` that names the parameter.
    pub fn query<T: DeserializeOwned>(&self) -> ApiResult<T> {
        parse_query(self.parts.uri.query().unwrap_or_default())
    }

    /// The body, and what begins the transaction behind it. The pieces end with an error when the body is too large,
    /// breaks off, or comes too slowly.
    pub fn open(self) -> (BehindStream, impl Stream<Item = ApiResult<Bytes>> + Send) {
        let Self { caller, parts, body, slot, ctx } = self;
        let hash = Arc::new(Mutex::new(Fingerprint::of(&parts)));
        let (begun, fingerprint) = (Instant::now(), Arc::clone(&hash));
        let pieces = stream::try_unfold(body, move |mut body| {
            let hash = Arc::clone(&hash);
            async move {
                if begun.elapsed() > UPLOAD_DEADLINE {
                    return Err(ApiError::bad_request("The body arrived too slowly"));
                }
                let piece = body.next().await?;
                Ok(piece.map(|piece| {
                    hash.lock().update(&piece);
                    (piece, body)
                }))
            }
        });
        (BehindStream { caller, parts, slot, ctx, fingerprint }, pieces)
    }
}

impl BehindStream {
    /// Refuses the request under its `Idempotency-Key`, by what was read of it when that was decided: the rest may
    /// never come. What answers it is the refusal itself or, where the key was used before, what follows from that.
    pub async fn refuse(self, error: ApiError, head: &[u8]) -> ApiError {
        if !idempotency::keeps(error.code.status()) {
            return error;
        }
        let mut fingerprint = Fingerprint::of(&self.parts);
        fingerprint.update(head);
        let claimed = self
            .slot
            .claim(&self.parts, self.caller.account_id(), &self.ctx, || fingerprint.finish(), Look::First)
            .await;
        claimed.err().unwrap_or(error)
    }

    /// Takes the request's `Idempotency-Key`, then begins the transaction, once the body was read to its end.
    ///
    /// # Errors
    /// `idempotency_conflict`, or that the request was answered before, which ends it; when no connection is to be had.
    pub async fn begin(self) -> ApiResult<Write<()>> {
        let Self { caller, parts, slot, ctx, fingerprint } = self;
        let hash = fingerprint.lock().clone().finish();
        slot.claim(&parts, caller.account_id(), &ctx, || hash, Look::First).await?;
        LateWrite::behind(caller, slot, &ctx)?.begin().await
    }
}
