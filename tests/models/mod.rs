//! Models against the database, behind the API.

mod entities;
pub mod removal;
