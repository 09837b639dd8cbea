//! No account sees or changes what another owns.

mod coverage;
pub mod operations;
mod replay;
mod scope;
