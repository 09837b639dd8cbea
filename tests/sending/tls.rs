//! Whole campaigns over TLS, by an engine process that trusts the authority of the sink.

use std::{io, net::SocketAddr};

use serde_json::json;
use testkit::sink::{Sink, Tls};

use crate::{
    faults::engine_process,
    support::{campaign::*, world},
};

async fn goes_out_over(sink: Sink, host: &'static str) {
    world(|w| async move {
        let mut lane = credential(&sink, "one@sender.test");
        lane["smtp_host"] = json!(host);
        let id = dispatched(&w.alice, &campaign(&[lane], 1), &addresses("ok", 5)).await;
        let engine = engine_process(&w);
        let authority = engine.path("authority.pem");
        std::fs::write(&authority, sink.ca_pem().unwrap()).unwrap();
        let strict = [("SSL_CERT_FILE", authority.to_str().unwrap()), ("ALLOW_PLAIN_MAIL", "false")];
        let engine = strict.into_iter().fold(engine, |engine, (name, value)| engine.env(name, value));
        let _engine = engine.start().unwrap();
        until_status(&w.alice, &id, "completed").await;
        assert_eq!(sink.count(), 5);
        assert!(sink.connections().iter().all(|connection| connection.tls), "nothing goes in clear");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_goes_out_over_starttls() {
    let sink = Sink::builder().tls(Tls::StartTls).auth("user", "secret").start().await.unwrap();
    goes_out_over(sink, "127.0.0.1").await;
}

/// Only where the system lets us listen on port 465, which alone stands for TLS from the first byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_goes_out_over_tls_from_the_first_byte() {
    const HOST: &str = "127.0.46.5";
    let listen = SocketAddr::from(([127, 0, 46, 5], 465));
    let sink = Sink::builder().listen(listen).tls_names([HOST]).tls(Tls::Implicit).auth("user", "secret");
    match sink.start().await {
        Ok(sink) => goes_out_over(sink, HOST).await,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::AddrNotAvailable) => {}
        Err(error) => panic!("{error}"),
    }
}
