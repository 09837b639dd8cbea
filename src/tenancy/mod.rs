//! The one door to tenant data.
//!
//! [`Scope`] owns an account id and a connection; finders, inserts, updates and deletes of tenant tables are its
//! methods, so that no statement can forget the account. It is made from an authenticated [`Caller`] only.
//! [`SystemScope`] is the engine's and the operator's: it sees every account, and the places that may have one are
//! listed in `tests/contract/layers.rs`.

mod caller;
mod entity;
mod scope;
mod system;

pub use caller::Caller;
pub use entity::TenantEntity;
pub(crate) use entity::tenant_entity;
pub use scope::{Conn, Scope};
pub use system::SystemScope;
