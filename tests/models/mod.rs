//! Models against the database, behind the API.

mod addresses;
mod entities;
mod evidence;
mod key_lookups;
mod mailboxes;
mod migrations;
pub mod removal;
mod sqlite;
mod staged;
mod together;
mod transactions;
