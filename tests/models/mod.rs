//! Models against the database, behind the API.

mod addresses;
mod entities;
mod evidence;
mod key_lookups;
mod mailboxes;
mod migrations;
pub mod removal;
mod sqlite;
pub mod staged;
mod staged_refused;
mod together;
mod transactions;
