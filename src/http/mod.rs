//! What every request goes through and every handler is given: bodies, queries, ids in paths,
//! pages, request ids, deadlines, and the envelope around everything that is refused.
//!
//! Nothing here knows a resource of the product.

mod answer;
mod auth;
pub mod client_ip;
pub mod envelope;
pub mod fallback;
pub mod idempotency;
pub mod json;
mod late_write;
pub mod metrics;
mod outside;
pub mod paging;
pub mod path;
mod pieces;
pub mod query;
pub mod rate_limit;
pub mod request_id;
pub mod timeout;
pub mod usage;

#[cfg(test)]
mod router_tests;

mod serde_words;
pub mod serve;
mod stream;
mod write;

pub use answer::{Accepted, Created};
pub use json::NoFields;
pub use late_write::LateWrite;
pub use outside::{Errand, Outside};
pub use paging::{List, Listed};
pub use path::PathIds;
pub use query::Query;
pub use stream::{BehindStream, Given, StreamWrite};
pub use write::{AfterCommit, Prepare, PreparedWrite, PublicWrite, Write};
