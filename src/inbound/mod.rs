//! Webhooks of mail providers: what they say became of a message, applied like the mails of `inbox`.
//!
//!     body ─► smtp2go (pure): which event, about whom ─► apply: one transaction

pub mod apply;
pub mod smtp2go;
