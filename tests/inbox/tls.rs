//! Mailboxes over TLS, read by an engine process that trusts the authority of the server.

use std::{io, net::SocketAddr};

use serde_json::json;
use testkit::{
    child::Builder,
    imap::Imap,
    sink::{Sink, Tls},
};

use super::{fixture, message_id, two_steps, until, with_mailbox};
use crate::{
    faults::engine_process,
    support::{World, campaign::*, world},
};

const REPLIED: &str = "SELECT CAST(sum(replied) AS bigint) FROM campaign_totals";

async fn secure_sink() -> Sink {
    Sink::builder().tls(Tls::StartTls).auth("user", "secret").start().await.unwrap()
}

/// An engine that allows no plain text and trusts these authorities.
fn strict(w: &World, authorities: &[Option<&str>]) -> Builder {
    let engine = engine_process(w).env("ALLOW_PLAIN_MAIL", "false").env("INBOX_POLL_SECONDS", "1");
    let trusted = engine.path("authorities.pem");
    let pems: Vec<&str> = authorities.iter().flatten().copied().collect();
    std::fs::write(&trusted, pems.join("\n")).unwrap();
    engine.env("SSL_CERT_FILE", trusted)
}

async fn is_read_over_tls(imap: Imap, host: &'static str) {
    world(|w| async move {
        let sink = secure_sink().await;
        let mut lane = with_mailbox(&sink, &imap, "one@sender.test");
        lane["imap_host"] = json!(host);
        imap.set_password("mail-secret");
        let people = addresses("ok", 1);
        dispatched(&w.alice, &two_steps(&[lane]), &people).await;
        let _engine = strict(&w, &[sink.ca_pem(), imap.ca_pem()]).start().unwrap();
        sink.wait_for(1, DEADLINE).await.unwrap();
        imap.deliver(fixture("reply_plain", &message_id(&sink, &people[0]), &people[0]));
        until(&w, REPLIED, 1).await;
        assert!(imap.count("LOGIN") > 0);
        assert_eq!(imap.clear_logins(), 0, "no password goes in clear");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_is_read_over_starttls() {
    is_read_over_tls(Imap::builder().tls(Tls::StartTls).start().await.unwrap(), "127.0.0.1").await;
}

/// Only where the system lets us listen on port 993, which alone stands for TLS from the first byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_is_read_over_tls_from_the_first_byte() {
    const HOST: &str = "127.0.99.3";
    let listen = SocketAddr::from(([127, 0, 99, 3], 993));
    match Imap::builder().listen(listen).tls_names([HOST]).tls(Tls::Implicit).start().await {
        Ok(imap) => is_read_over_tls(imap, HOST).await,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::AddrNotAvailable) => {}
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_tls_or_with_a_certificate_of_somebody_else_nobody_logs_in() {
    for imap in [Imap::start().await.unwrap(), Imap::builder().tls(Tls::StartTls).start().await.unwrap()] {
        world(|w| async move {
            let sink = secure_sink().await;
            let lanes = [with_mailbox(&sink, &imap, "one@sender.test")];
            let id = dispatched(&w.alice, &two_steps(&lanes), &addresses("ok", 1)).await;
            let _engine = strict(&w, &[sink.ca_pem()]).start().unwrap();
            until(&w, "SELECT count(*) FROM mailboxes WHERE failures >= 1", 1).await;
            let shown = w.alice.seen(&format!("/campaigns/{id}/smtp_credentials")).await;
            assert_eq!(shown[0]["imap_error"], "tls_failed");
            assert_eq!(imap.count("LOGIN"), 0);
        })
        .await;
    }
}
