//! A world per test: its own database, the booted application, and two accounts.

pub mod billing;
pub mod campaign;
pub mod campaigns;
pub mod conformance;
mod database;
mod enrolling;
pub mod held;
pub mod lane;
pub mod rows;
pub mod source;
mod world;

pub use database::Database;
pub use enrolling::id_of;
pub use world::{Client, World, world, world_in, world_with};
