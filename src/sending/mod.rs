//! The send path, one stage per file.
//!
//! ```text
//! lanes ── acquire ──► lane ── claim ──► ledger          the lane takes due deliveries (rows: claimed)
//!                        │ render, compose               no I/O
//!                        │ smtp: open … RCPT             nothing has happened yet: any failure gives it back
//!                        ├─ mark ────► ledger            `sending`, committed before DATA, behind every fact of the gate
//!                        │ smtp: DATA … final reply      decided by the phase reached
//!                        ├─ record ──► ledger            sent, deferred, bounced, uncertain or given back
//! lanes ◄── release ─────┘                               when it is next worth looking at
//! ```
//!
//! `ledger` is the one writer and gathers what lanes ask for into common commits. A delivery whose mark is stored and
//! whose outcome is not is uncertain, and is never sent again by itself.

pub mod aside;
pub mod chunks;
pub mod compose;
pub mod enrolling;
pub mod estimate;
pub mod forecast;
pub mod health;
pub mod lane;
pub mod lanes;
pub mod ledger;
mod offer;
pub mod plain_text;
pub mod preview;
pub mod program;
pub mod prospect;
pub mod ready;
pub mod render;
pub mod retry;
pub mod smtp;
pub mod standing;
pub mod stranded;
pub mod template;
pub mod test_send;
pub mod verify;
pub mod waiting;
mod worker;

use crate::points;
