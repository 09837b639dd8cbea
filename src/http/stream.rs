//! Bodies that are too large to be held: taken in piece by piece, before their transaction begins.

use std::time::{Duration, Instant};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use futures_util::{Stream, stream};
use loco_rs::app::AppContext;
use serde::de::DeserializeOwned;

use super::{
    auth, json,
    query::parse_query,
    write::{LateWrite, TxSlot, Write},
};
use crate::{
    errors::{ApiError, ApiResult},
    imports::MOST_BYTES,
    tenancy::Caller,
};

/// The longest that an upload may take.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// A change whose body is either fields in JSON or a table in `text/csv`.
pub enum Given<B> {
    /// Fields: read whole, the transaction has begun.
    Fields(Write<B>),
    /// A table: nothing of it is read.
    Table(StreamWrite),
}

/// An authenticated change whose body is still to come, and whose transaction begins behind it.
pub struct StreamWrite {
    /// Whose key it is.
    pub caller: Caller,
    query: String,
    body: json::Pieces,
    late: LateWrite<()>,
}

impl<B: DeserializeOwned + Send> FromRequest<AppContext> for Given<B> {
    type Rejection = ApiError;

    async fn from_request(request: Request, ctx: &AppContext) -> Result<Self, ApiError> {
        if is_table(request.headers()) {
            StreamWrite::of(request, ctx).await.map(Self::Table)
        } else {
            Write::from_request(request, ctx).await.map(Self::Fields)
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
        let body = json::Pieces::of(&parts.headers, body, MOST_BYTES)?;
        let query = parts.uri.query().unwrap_or_default().to_owned();
        Ok(Self { caller, query, body, late: LateWrite::of((), caller, slot, ctx)? })
    }

    /// The parameters of the query.
    ///
    /// # Errors
    /// `bad_request` that names the parameter.
    pub fn query<T: DeserializeOwned>(&self) -> ApiResult<T> {
        parse_query(&self.query)
    }

    /// The body, and what begins the transaction behind it. The pieces end with an error when the body is too large,
    /// breaks off, or comes too slowly.
    pub fn open(self) -> (LateWrite<()>, impl Stream<Item = ApiResult<Bytes>> + Send) {
        let begun = Instant::now();
        let pieces = stream::try_unfold(self.body, move |mut body| async move {
            if begun.elapsed() > UPLOAD_DEADLINE {
                return Err(ApiError::bad_request("The body arrived too slowly"));
            }
            Ok(body.next().await?.map(|piece| (piece, body)))
        });
        (self.late, pieces)
    }
}
