//! Changes that look around before their transaction begins.

use axum::extract::{FromRequest, Request};
use loco_rs::app::AppContext;
use serde::de::DeserializeOwned;

use super::{
    idempotency::Look,
    write::{Length, TxSlot, Unopened, Write, begin},
};
use crate::{
    errors::{ApiError, ApiResult},
    state::AppState,
    tenancy::{Caller, Conn, Scope},
};

/// An authenticated change that looks around before its transaction begins: what it then asks of the network holds no
/// connection.
pub struct LateWrite<B> {
    /// The account's data, for reading.
    pub scope: Scope,
    /// The parsed body.
    pub body: B,
    caller: Caller,
    slot: TxSlot,
    length: Length,
    ctx: AppContext,
}

impl LateWrite<()> {
    /// For a body that was looked at elsewhere.
    pub(super) fn behind(caller: Caller, slot: TxSlot, ctx: &AppContext) -> ApiResult<Self> {
        Self::of((), caller, slot, Length::Long, ctx)
    }
}

impl<B> LateWrite<B> {
    fn of(body: B, caller: Caller, slot: TxSlot, length: Length, ctx: &AppContext) -> ApiResult<Self> {
        let scope = Scope::of(&caller, Conn::Pool(AppState::of(ctx)?.db.pool().clone()));
        Ok(Self { scope, body, caller, slot, length, ctx: ctx.clone() })
    }

    /// The body, and what begins the transaction behind it.
    pub fn open(self) -> (B, LateWrite<()>) {
        let Self { scope, body, caller, slot, length, ctx } = self;
        (body, LateWrite { scope, body: (), caller, slot, length, ctx })
    }

    /// Taken apart by what never begins a transaction.
    pub(super) fn into_parts(self) -> (Scope, B, Caller, TxSlot) {
        (self.scope, self.body, self.caller, self.slot)
    }

    /// Looks once more whether the request was answered before, by a twin in another process. Then the error only ends the
    /// handler.
    ///
    /// # Errors
    /// As said; what the database refuses.
    pub async fn look_again(&self) -> ApiResult<()> {
        self.slot.look_again().await
    }

    /// Begins the transaction, once.
    ///
    /// # Errors
    /// When no connection is to be had.
    pub async fn begin(self) -> ApiResult<Write<B>> {
        let conn = begin(&self.slot, &self.ctx, self.length).await?;
        let scope = Scope::of(&self.caller, conn);
        Ok(Write { scope, body: self.body, caller: self.caller, after: self.slot.after })
    }
}

impl<B: DeserializeOwned + Send> FromRequest<AppContext> for LateWrite<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, ApiError> {
        let Unopened { body, length: _, caller, slot } =
            Unopened::<B>::read(request, ctx, |_| Look::First).await?;
        Self::of(body, caller, slot, Length::Long, ctx)
    }
}

impl<B: DeserializeOwned + Send> LateWrite<B> {
    /// One that looks around only where its body is long: a short one is begun at once, and so looks for its earlier answer
    /// in the transaction.
    pub(super) async fn if_long(request: Request, ctx: &AppContext) -> ApiResult<Self> {
        let look = |length| if length == Length::Long { Look::First } else { Look::InTransaction };
        let Unopened { body, length, caller, slot } = Unopened::read(request, ctx, look).await?;
        Self::of(body, caller, slot, length, ctx)
    }
}
