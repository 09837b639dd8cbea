//! Changes that talk to the outside: a test mail, a login, a call to an endpoint. The work runs on a task of its own, so
//! that a client that goes away cancels nothing, and without a transaction.
//!
//! With an `Idempotency-Key` a row says that it runs, held by a lease; its answer is stored there. A run whose process
//! died is taken over under the same run id. What is told to the outside carries that id, so that nothing is done
//! twice there; the id is new for each run that has no key.

use std::{future::Future, pin::pin, sync::Arc};

use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use loco_rs::app::AppContext;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{
    idempotency::{self, Claim},
    late_write::LateWrite,
    write::TxSlot,
};
use crate::{
    clock::new_id,
    engine::see_through,
    errors::{ApiError, ApiResult},
    models::idempotency_keys::{LEASE, Lease},
    tenancy::{Caller, Scope},
};

/// How many times a lease is renewed before it would run out.
const RENEWALS: u32 = 3;

/// An authenticated request whose work is done outside.
pub struct Outside<B> {
    /// The account's data, for reading.
    pub scope: Scope,
    /// The parsed body.
    pub body: B,
    /// Whose key it is.
    pub caller: Caller,
    /// Does the work.
    pub errand: Errand,
}

/// Work to be done once for its key.
pub struct Errand(TxSlot);

impl<B: DeserializeOwned + Send> FromRequest<AppContext> for Outside<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, ApiError> {
        let (scope, body, caller, slot) = LateWrite::<B>::from_request(request, ctx).await?.into_parts();
        Ok(Self { scope, body, caller, errand: Errand(slot) })
    }
}

impl Errand {
    /// Does the work, to which the id of the run is handed, or answers as an earlier run did. What is refused before
    /// this is called is stored like any refusal.
    ///
    /// # Errors
    /// Those of the work; `idempotency_conflict` when another process runs it for too long.
    pub async fn run<T, W>(self, work: impl FnOnce(Uuid) -> W + Send) -> ApiResult<Response>
    where
        T: IntoResponse + Send + 'static,
        W: Future<Output = ApiResult<T>> + Send + 'static,
    {
        let Some(claim) = self.0.take_claim() else {
            let work = Box::pin(work(new_id()));
            return see_through(work).await.map(IntoResponse::into_response);
        };
        let lease = loop {
            if let Some(lease) = claim.lease().await? {
                break lease;
            }
            if let Some(answered) = claim.await_other().await? {
                return Ok(answered);
            }
        };
        let work = Box::pin(work(lease.run_id));
        see_through(finish(claim, lease, work)).await
    }
}

/// Renews the lease while the work runs, then stores its answer.
async fn finish<T, W>(claim: Arc<Claim>, lease: Lease, work: W) -> ApiResult<Response>
where
    T: IntoResponse + Send + 'static,
    W: Future<Output = ApiResult<T>> + Send + 'static,
{
    // On a task of its own too, so that a panic becomes an answer.
    let mut work = pin!(see_through(work));
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = tokio::time::sleep(LEASE / RENEWALS) => {
                if let Err(error) = claim.renew(lease).await {
                    tracing::warn!(%error, "the lease of a keyed request was not renewed");
                }
            }
        }
    };
    let response = done.map_or_else(IntoResponse::into_response, IntoResponse::into_response);
    if !idempotency::keeps(response.status().as_u16()) {
        claim.settle(lease, None).await?;
        return Ok(response);
    }
    let (answer, response) = idempotency::keep(response).await?;
    if claim.settle(lease, Some(&answer)).await? { Ok(response) } else { claim.answer_of_first().await }
}
