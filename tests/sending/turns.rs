//! A lane without pauses gives its place back when its turn is over, and whoever waited longer is taken first.

use std::{sync::Arc, time::Duration};

use ampout::state::AppState;
use testkit::sink::Sink;

use crate::support::{World, campaign::*, world};

const PEOPLE: usize = 10;

/// One place for all lanes, and turns that are over with their first message.
fn one_place_in_turns(w: &World) {
    let state = w.state();
    let mut settings = (*state.settings).clone();
    settings.engine.concurrency = 1;
    settings.engine.turn = Duration::ZERO;
    w.ctx.shared_store.insert(AppState { settings: Arc::new(settings), ..state });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_without_pauses_take_turns_and_another_account_waits_for_one_turn_only() {
    world(|w| async move {
        one_place_in_turns(&w);
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", PEOPLE);
        let theirs = addresses("bob", PEOPLE);
        let mine =
            dispatched(&w.alice, &campaign(&[credential(&sink, "alice@sender.test")], 1), &people).await;
        let other = dispatched(&w.bob, &campaign(&[credential(&sink, "bob@sender.test")], 1), &theirs).await;
        let engine = Engine::start(&w.ctx);
        until_status(&w.alice, &mine, "completed").await;
        until_status(&w.bob, &other, "completed").await;
        engine.stop().await;
        let senders: Vec<_> = sink.messages().iter().map(|message| message.from.clone()).collect();
        // Mostly one by one; whose row is locked just then is passed over once.
        let longest = senders.chunk_by(|one, next| one == next).map(<[_]>::len).max().unwrap();
        assert!(longest < PEOPLE / 2, "{senders:?}");
        for person in people.iter().chain(&theirs) {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        let kept = "SELECT count(*) FROM smtp_credentials WHERE failures > 0 OR holder IS NOT NULL";
        assert_eq!(w.number(kept, []).await, 0);
        assert_eq!(w.number("SELECT CAST(sum(reserved) AS bigint) FROM credential_days", []).await, 0);
    })
    .await;
}
