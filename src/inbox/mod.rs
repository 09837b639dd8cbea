//! What comes back by IMAP: answers, machines that answer, notices of mail servers and complaints.
//!
//! ```text
//! session ── headers, and bodies of notices ──► classify (pure) ──► find ──► apply, one transaction with the place read to
//! ```
//!
//! Nothing in a mailbox is changed: it is opened for reading only. What a mail says is believed only as far as it
//! names a delivery of the mailbox's own account.

mod auto;
pub mod classify;
mod fields;
pub mod notice;

#[cfg(test)]
mod corpus_tests;
