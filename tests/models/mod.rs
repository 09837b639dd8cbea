//! Models against the database, behind the API.

mod addresses;
mod entities;
mod key_lookups;
pub mod removal;
