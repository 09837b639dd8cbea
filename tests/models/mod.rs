//! Models against the database, behind the API.

mod entities;
mod removal;
