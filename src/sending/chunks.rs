//! Which mail servers are sent chunks (RFC 3030). Some promise to take them, or a gateway before them does, and then refuse,
//! put off, break off or sit out each one, or each but the first: they are sent their messages behind DATA.

use std::time::Duration;

use moka::future::Cache;

use super::smtp::{Broken, DataOutcome, Endpoint};

/// What a chunk weighs that was not taken, against one that was. Where more than a third is not, it adds up.
const UNTAKEN: i32 = 2;
const TAKEN: i32 = -1;
/// From here on a server gets no more: the first two were not taken, or as many more as …
const ENOUGH: i32 = 4;
/// … a server that took many is believed to take them.
const LEAST: i32 = -20;
/// How long a server is remembered after the last that changed what is known of it.
const KEPT: Duration = Duration::from_hours(1);
/// Servers that are remembered at a time.
const MOST: u64 = 10_000;

/// What a process knows of servers and chunks; cheap to clone.
#[derive(Clone, Debug)]
pub struct Chunks {
    wanted: bool,
    /// What the chunks of a server weigh together, by host and port.
    servers: Cache<(String, u16), i32>,
}

impl Chunks {
    /// Nothing is known yet. Unless `wanted`, no server is sent any.
    pub fn new(wanted: bool) -> Self {
        Self { wanted, servers: Cache::builder().max_capacity(MOST).time_to_live(KEPT).build() }
    }

    /// Whether this server is sent its messages as chunks where it offers that.
    pub async fn go_to(&self, server: &Endpoint<'_>) -> bool {
        self.wanted && self.weight(server).await < ENOUGH
    }

    /// Learns what became of a chunk. One that the server cannot have seen to its end says nothing of it.
    pub async fn note(&self, server: &Endpoint<'_>, outcome: &DataOutcome) {
        let by = match outcome {
            DataOutcome::Accepted(_) => TAKEN,
            DataOutcome::NotSent(Broken::NoChunks) => ENOUGH - LEAST,
            DataOutcome::NotSent(_) => return,
            DataOutcome::Deferred { .. } | DataOutcome::Refused { .. } | DataOutcome::Unknown(_) => UNTAKEN,
        };
        let before = self.weight(server).await;
        let weight = (before + by).clamp(LEAST, ENOUGH);
        if weight == before {
            return;
        }
        if weight == ENOUGH {
            tracing::warn!(
                host = server.host,
                port = server.port,
                "a server offers chunks and takes none: it gets DATA"
            );
        }
        self.servers.insert(key(server), weight).await;
    }

    async fn weight(&self, server: &Endpoint<'_>) -> i32 {
        self.servers.get(&key(server)).await.unwrap_or(0)
    }
}

fn key(server: &Endpoint<'_>) -> (String, u16) {
    (server.host.to_owned(), server.port)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::sending::smtp::{Phase, Reply};

    fn at(port: u16) -> Endpoint<'static> {
        Endpoint { host: "mail.test", port, username: "", password: "" }
    }

    fn answered(code: u16) -> DataOutcome {
        let reply = Reply::new(code, vec![]);
        match code / 100 {
            2 => DataOutcome::Accepted(reply),
            4 => DataOutcome::Deferred { phase: Phase::Dot, reply },
            _ => DataOutcome::Refused { phase: Phase::Dot, reply },
        }
    }

    #[rstest]
    #[case::refused_as_a_command(vec![DataOutcome::NotSent(Broken::NoChunks)], false)]
    #[case::put_off_once(vec![answered(451)], true)]
    #[case::put_off_twice(vec![answered(451), answered(451)], false)]
    #[case::refused_twice(vec![answered(554), answered(554)], false)]
    #[case::never_answered(vec![DataOutcome::Unknown(Broken::Timeout), DataOutcome::Unknown(Broken::Closed)], false)]
    #[case::taken_in_between(vec![answered(451), answered(250), answered(451)], true)]
    #[case::only_the_first_of_each_connection_taken([answered(250), answered(451)].repeat(4), false)]
    #[case::two_of_three_taken([answered(250), answered(451), answered(250)].repeat(50), true)]
    #[case::many_taken_before([vec![answered(250); 20], vec![answered(451); 11]].concat(), true)]
    #[case::many_taken_long_before([vec![answered(250); 99], vec![answered(451); 12]].concat(), false)]
    #[case::taken_before_and_not_known_any_more([vec![answered(250); 99], vec![DataOutcome::NotSent(Broken::NoChunks)]].concat(), false)]
    #[case::never_sent(vec![DataOutcome::NotSent(Broken::NotAlive), DataOutcome::NotSent(Broken::Timeout)], true)]
    #[tokio::test]
    async fn a_server_that_takes_none_is_sent_none_and_others_are(
        #[case] outcomes: Vec<DataOutcome>,
        #[case] expected: bool,
    ) {
        let chunks = Chunks::new(true);
        for outcome in &outcomes {
            chunks.note(&at(25), outcome).await;
        }
        assert_eq!((chunks.go_to(&at(25)).await, chunks.go_to(&at(587)).await), (expected, true));
    }

    #[tokio::test]
    async fn none_go_anywhere_where_they_are_not_wanted() {
        assert!(!Chunks::new(false).go_to(&at(25)).await);
    }
}
