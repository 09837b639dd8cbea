//! What comes back by IMAP: answers, machines that answer, notices of mail servers and complaints.
//!
//! ```text
//! lease ── a mailbox that is due ──► poll ── session: headers, and bodies of notices
//!                                      │ classify (pure)     what is it?
//!                                      │ matching (pure)     which delivery, and what follows?
//!                                      └ apply               one transaction with the place up to which it was read
//! ```
//!
//! Nothing in a mailbox is changed: it is opened for reading only. What a mail says is believed only as far as it
//! names a delivery of the mailbox's own account.

pub mod apply;
mod auto;
pub mod classify;
#[cfg(test)]
mod corpus_tests;
mod fields;
pub mod lease;
pub mod matching;
pub mod notice;
mod parsed;
pub mod poll;
mod responses;
mod session;
