//! What `GET /status` answers.

use serde::Serialize;

/// The service and its database answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Status {
    status: &'static str,
    version: &'static str,
    database: &'static str,
}

impl Status {
    /// All is well.
    pub const fn well() -> Self {
        Self { status: "ok", version: env!("CARGO_PKG_VERSION"), database: "ok" }
    }
}
