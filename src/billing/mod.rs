//! Billing with Stripe: who pays, for which plan, and until when.
//!
//! Stripe decides and we follow: an event says only that something changed, and what it is about is then fetched
//! (`sync`), so that order and repetition do not matter (ADR 13). Nothing of a request waits for Stripe but checkout and
//! portal, whose answer is Stripe's own page. What an account may send is in `models::periods` and `models::plans`.

mod client;
pub mod customers;
pub mod event;
mod failure;
pub mod inbound;
pub mod notices;
pub mod pages;
mod reconcile;
pub mod signature;
mod sync;
mod tries;

pub use client::Stripe;
pub use failure::StripeFailure;
pub use reconcile::{Reconciled, reconcile, reconcile_nightly};
