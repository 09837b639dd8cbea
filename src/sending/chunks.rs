//! Which mail servers are sent chunks (RFC 3030). Some promise to take them, or a gateway before them does, and then refuse,
//! put off, break off or sit out each one: they are sent their messages behind DATA.

use std::time::Duration;

use moka::future::Cache;

use super::smtp::{Broken, DataOutcome, Endpoint};

/// So many in a row, of which none was taken, are enough.
const TRIES: u32 = 2;
/// How long a server is remembered after the last of them.
const KEPT: Duration = Duration::from_hours(1);
/// Servers that are remembered at a time.
const MOST: u64 = 10_000;

/// What a process knows of servers and chunks; cheap to clone.
#[derive(Clone, Debug)]
pub struct Chunks {
    wanted: bool,
    /// How many in a row a server, by host and port, did not take.
    untaken: Cache<(String, u16), u32>,
}

impl Chunks {
    /// Nothing is known yet. Unless `wanted`, no server is sent any.
    pub fn new(wanted: bool) -> Self {
        Self { wanted, untaken: Cache::builder().max_capacity(MOST).time_to_live(KEPT).build() }
    }

    /// Whether this server is sent its messages as chunks where it offers that.
    pub async fn go_to(&self, server: &Endpoint<'_>) -> bool {
        self.wanted && self.untaken.get(&key(server)).await.unwrap_or(0) < TRIES
    }

    /// Learns what became of a chunk. One that the server cannot have seen to its end says nothing of it.
    pub async fn note(&self, server: &Endpoint<'_>, outcome: &DataOutcome) {
        let more = match outcome {
            DataOutcome::Accepted(_) => return self.untaken.invalidate(&key(server)).await,
            DataOutcome::NotSent(Broken::NoChunks) => TRIES,
            DataOutcome::NotSent(_) => return,
            DataOutcome::Deferred { .. } | DataOutcome::Refused { .. } | DataOutcome::Unknown(_) => 1,
        };
        let before = self.untaken.get(&key(server)).await.unwrap_or(0);
        let untaken = before.saturating_add(more);
        if before < TRIES && untaken >= TRIES {
            tracing::warn!(
                host = server.host,
                port = server.port,
                "a server offers chunks and takes none: it gets DATA"
            );
        }
        self.untaken.insert(key(server), untaken).await;
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
