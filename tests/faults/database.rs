//! The database goes away under a running campaign, again and again: nobody is written to twice, nobody is left out, and
//! no limit is passed. For PostgreSQL: SQLite is in the process and dies with it.

use std::net::{SocketAddr, ToSocketAddrs};

use sea_orm::DbBackend;
use testkit::{child::Builder, proxy::Proxy, sink::Sink, wait::eventually};
use url::Url;

use super::engine_process;
use crate::support::{World, campaign::*, world};

const LANES: usize = 3;

/// The server's address in the world's `DATABASE_URL`; `None` on SQLite.
fn server(w: &World) -> Option<(Url, SocketAddr)> {
    if w.db().backend() != DbBackend::Postgres {
        return None;
    }
    let (_, url) = w.environment.iter().find(|(name, _)| *name == "DATABASE_URL").unwrap();
    let url = Url::parse(url).unwrap();
    let address = (url.host_str().unwrap(), url.port().unwrap_or(5432)).to_socket_addrs().unwrap().next();
    Some((url, address.unwrap()))
}

/// An engine whose connections carry this name, and come by this port.
fn engine(w: &World, url: &Url, name: &str, port: Option<u16>) -> Builder {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("application_name", name);
    if let Some(port) = port {
        url.set_port(Some(port)).unwrap();
    }
    // A connection that is lost for a moment is no death.
    engine_process(w).env("DATABASE_URL", url.as_str()).env("ENGINE_DEAD_AFTER_SECONDS", "30")
}

/// A campaign of two steps to so many people, on a plan that allows it.
async fn begun(w: &World, sink: &Sink, people: &[String]) -> String {
    w.sql("UPDATE plans SET monthly_limit = 100000", []).await;
    let lanes: Vec<_> = (0..LANES).map(|n| credential(sink, &format!("lane{n}@sender.test"))).collect();
    dispatched(&w.alice, &campaign(&lanes, 2), people).await
}

/// Waits until so many messages came. A lane that rests after trouble is not waited for.
async fn came(w: &World, sink: &Sink, messages: u64) {
    eventually(DEADLINE, || async {
        rests_are_over(w).await;
        (sink.count() >= messages).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_drops_everybody_twenty_times_loses_and_doubles_nothing() {
    world(|w| async move {
        let Some((url, _)) = server(&w) else { return };
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 120);
        let id = begun(&w, &sink, &people).await;
        let _engine = engine(&w, &url, "dropped", None).start().unwrap();
        let drop = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                    WHERE application_name = 'dropped' AND datname = current_database()";
        let mut dropped = 0;
        for restart in 1..=20 {
            came(&w, &sink, restart * 10).await;
            dropped += w.number(drop, []).await;
        }
        assert!(dropped >= 20, "only {dropped} connections were dropped");
        ends_well(&w, &sink, &id, &people, 2).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_engines_whose_links_to_the_database_break_in_turn_lose_and_double_nothing() {
    world(|w| async move {
        let Some((url, address)) = server(&w) else { return };
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 120);
        let id = begun(&w, &sink, &people).await;
        let links = [Proxy::start(address).await.unwrap(), Proxy::start(address).await.unwrap()];
        let _one = engine(&w, &url, "one", Some(links[0].port())).start().unwrap();
        let _two = engine(&w, &url, "two", Some(links[1].port())).start().unwrap();
        for (round, link) in (1..=20).zip(links.iter().cycle()) {
            came(&w, &sink, round * 10).await;
            link.drop_connections();
        }
        ends_well(&w, &sink, &id, &people, 2).await;
    })
    .await;
}
