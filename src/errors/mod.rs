//! What goes wrong, said once: the closed catalogue of codes, the error every layer above the
//! network returns, and the collector of validation failures.
//!
//! Only `respond` knows HTTP types; everything else here can be used by models and jobs alike.

mod api_error;
mod catalogue;
mod database;
mod framework;
mod respond;
mod sample;
mod validation;

pub use api_error::{ApiError, ApiResult};
pub use catalogue::Code;
pub(crate) use database::is_passing;
pub use database::{Constraint, on_constraint};
pub use respond::{Rendered, docs_base, set_docs_base};
pub use sample::Sample;
pub use validation::{Failures, Reason};
