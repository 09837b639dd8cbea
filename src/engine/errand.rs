//! Work that a request begins and that goes on when its client goes away.

use std::future::Future;

use crate::errors::{ApiError, ApiResult};

/// Runs `work` to its end on a task of its own, whatever becomes of the one who waits here.
///
/// # Errors
/// Those of the work; `internal_error` when it panicked.
pub async fn see_through<T, W>(work: W) -> ApiResult<T>
where
    T: Send + 'static,
    W: Future<Output = ApiResult<T>> + Send + 'static,
{
    #[expect(clippy::disallowed_methods, reason = "the task is waited for, and may outlive only its client")]
    let task = tokio::spawn(work);
    task.await.map_err(ApiError::internal)?
}
