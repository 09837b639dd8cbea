//! What clients, operators and readers of the source can rely on.

mod config;
mod described;
mod errors;
mod hostile;
mod layers;
mod openapi;
mod paging;
mod plans;
