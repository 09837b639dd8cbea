//! Mail to the owners of accounts: who is told what, once, and how it gets to the relay.

mod events;
mod relay;
mod words;

use std::time::Duration;

use testkit::{child::Builder, sink::Sink, wait::eventually};

use crate::{faults::engine_process, support::World};

const DEADLINE: Duration = Duration::from_secs(60);

/// An engine process whose relay is this sink, in plain text.
fn engine(w: &World, sink: &Sink) -> Builder {
    engine_to(w, &format!("smtp://127.0.0.1:{}", sink.port()))
}

/// An engine process with another relay.
fn engine_to(w: &World, url: &str) -> Builder {
    engine_process(w)
        .env("SYSTEM_SMTP_URL", url)
        .env("SYSTEM_MAIL_FROM", "Ampout <no-reply@ampout.test>")
        .env("PUBLIC_URL", "https://mail.ampout.test")
}

/// Mails in this state.
async fn mails(w: &World, status: &str) -> i64 {
    let sql = "SELECT count(*) FROM jobs WHERE name = 'SendSystemMail' AND status = $1";
    w.number(sql, [status.into()]).await
}

/// Waits until so many mails are in this state.
async fn until(w: &World, status: &str, count: i64) {
    let seen = eventually(DEADLINE, || async { (mails(w, status).await == count).then_some(()) }).await;
    seen.unwrap_or_else(|error| panic!("{count} {status}: {error}"));
}

/// Forgets the mails that signing up caused.
async fn forget_welcomes(w: &World) {
    assert_eq!(w.sql("DELETE FROM jobs WHERE name = 'SendSystemMail'", []).await, 2);
}
