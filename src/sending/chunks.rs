//! Which mail servers are sent chunks (RFC 3030). Some promise to take them, or a gateway before them does, and then refuse,
//! put off, break off or sit out each one, or each but the first: they are sent their messages behind DATA.

use std::{future, time::Duration};

use moka::{Entry, future::Cache};

use super::smtp::{Broken, DataOutcome, Endpoint};

/// What a chunk weighs that was taken, against one that was not. Below zero a server has shown that it takes them.
const TAKEN: i32 = -1;
const UNTAKEN: i32 = 2;
/// The weight of a server that took many.
const LEAST: i32 = -20;
/// The weight of a server that gets none.
const NEVER: i32 = i32::MAX;
/// How long a server is remembered after the last chunk that changed its weight.
const KEPT: Duration = Duration::from_hours(24);
/// Servers that are remembered at a time.
const MOST: u64 = 10_000;

/// What a process knows of servers and chunks; cheap to clone.
#[derive(Clone, Debug)]
pub struct Chunks {
    wanted: bool,
    /// Weights by host and port.
    servers: Cache<(String, u16), i32>,
}

impl Chunks {
    /// Nothing is known yet. Unless `wanted`, no server is sent any.
    pub fn new(wanted: bool) -> Self {
        Self { wanted, servers: Cache::builder().max_capacity(MOST).time_to_live(KEPT).build() }
    }

    /// Whether this server is sent its messages as chunks where it offers that.
    pub async fn go_to(&self, server: &Endpoint<'_>) -> bool {
        self.wanted && self.servers.get(&key(server)).await != Some(NEVER)
    }

    /// Learns what became of a chunk, and says what becomes of its message: refused by a server that has not shown that it takes
    /// chunks, the message goes behind DATA. The server does not have it, and what it refused is not known.
    pub async fn judge(&self, server: &Endpoint<'_>, outcome: DataOutcome) -> DataOutcome {
        let is_taken = matches!(outcome, DataOutcome::Accepted(_));
        if is_taken && self.servers.get(&key(server)).await == Some(LEAST) {
            return outcome;
        }
        let weigh = |known: Option<Entry<_, i32>>| {
            future::ready(weight(known.map_or(0, Entry::into_value), &outcome))
        };
        let after = self.servers.entry(key(server)).and_upsert_with(weigh).await.into_value();
        if let DataOutcome::Deferred { reply, .. } | DataOutcome::Refused { reply, .. } = &outcome
            && after == NEVER
        {
            tracing::warn!(
                host = server.host,
                port = server.port,
                reply = reply.kept(),
                "no chunks go there"
            );
            return DataOutcome::NotSent(Broken::NoChunks);
        }
        outcome
    }
}

fn key(server: &Endpoint<'_>) -> (String, u16) {
    (server.host.to_owned(), server.port)
}

/// A server's weight after this. A chunk that it cannot have seen to its end says nothing of it. Pure.
fn weight(before: i32, outcome: &DataOutcome) -> i32 {
    match outcome {
        _ if before == NEVER => NEVER,
        DataOutcome::Accepted(_) => (before + TAKEN).max(LEAST),
        DataOutcome::NotSent(Broken::NoChunks) => NEVER,
        DataOutcome::NotSent(_) => before,
        DataOutcome::Deferred { .. } | DataOutcome::Refused { .. } | DataOutcome::Unknown(_) => {
            if before < 0 { before + UNTAKEN } else { NEVER }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::sending::smtp::{Phase, Reply};

    const DOT: Phase = Phase::Dot;
    const UNKNOWN: DataOutcome = DataOutcome::Unknown(Broken::Timeout);
    const NONE: DataOutcome = DataOutcome::NotSent(Broken::NoChunks);

    fn at(port: u16) -> Endpoint<'static> {
        Endpoint { host: "mail.test", port, username: "", password: "" }
    }

    fn answered(code: u16) -> DataOutcome {
        let reply = Reply::new(code, vec![]);
        match code / 100 {
            2 => DataOutcome::Accepted(reply),
            4 => DataOutcome::Deferred { phase: DOT, reply },
            _ => DataOutcome::Refused { phase: DOT, reply },
        }
    }

    /// Whether the last outcome stays the message's own, and whether more chunks go there.
    #[rstest]
    #[case::refused_as_a_command(vec![NONE], true, false)]
    #[case::put_off_at_once(vec![answered(451)], false, false)]
    #[case::refused_at_once(vec![answered(554)], false, false)]
    #[case::never_answered(vec![UNKNOWN], true, false)]
    #[case::never_sent(vec![DataOutcome::NotSent(Broken::NotAlive), DataOutcome::NotSent(Broken::Timeout)], true, true)]
    #[case::taken(vec![answered(250)], true, true)]
    #[case::taken_once_and_then_refused(vec![answered(250), answered(554)], true, true)]
    #[case::only_the_first_of_each_connection_taken(vec![answered(250), answered(451), answered(250), answered(451)], false, false)]
    #[case::two_of_three_taken(vec![vec![answered(250), answered(250), answered(451)]; 50].concat(), true, true)]
    #[case::many_taken_before([vec![answered(250); 99], vec![answered(451); 10]].concat(), true, true)]
    #[case::many_taken_long_before([vec![answered(250); 99], vec![answered(451); 11]].concat(), false, false)]
    #[case::taken_before_and_not_known_any_more(vec![answered(250), NONE], true, false)]
    #[case::taken_late_by_another_behind_the_same_name(vec![NONE, answered(250)], true, false)]
    #[case::taken_by_another_behind_the_same_name(vec![NONE, answered(250), answered(451)], false, false)]
    #[tokio::test]
    async fn a_server_that_takes_none_is_sent_none_and_others_are(
        #[case] outcomes: Vec<DataOutcome>,
        #[case] keeps: bool,
        #[case] goes_on: bool,
    ) {
        let chunks = Chunks::new(true);
        let mut kept = true;
        for outcome in outcomes {
            let judged = chunks.judge(&at(25), outcome.clone()).await;
            kept = judged == outcome;
            assert!(kept || judged == NONE);
        }
        assert_eq!(kept, keeps);
        assert_eq!((chunks.go_to(&at(25)).await, chunks.go_to(&at(587)).await), (goes_on, true));
    }

    #[tokio::test]
    async fn none_go_anywhere_where_they_are_not_wanted() {
        assert!(!Chunks::new(false).go_to(&at(25)).await);
    }
}
