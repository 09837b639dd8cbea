//! Mail servers that talk nonsense, send us away, put everybody off or fall silent: nobody is blamed for it, nobody
//! is written to twice, and another account's mail goes out meanwhile. Waits are ended by changing rows.

use std::time::{Duration, Instant};

use ampout::clock::Timestamp;
use rstest::rstest;
use testkit::{
    sink::{Behaviour, Greeting, Interruption, Moment, Sink, Stage, noise},
    wait::eventually,
};

use super::engine_process;
use crate::support::{World, campaign::*, world};

const PEOPLE: usize = 6;

/// As if every lane had rested and every retry were due.
async fn waits_are_over(w: &World) {
    let now = Timestamp::now().micros();
    w.sql("UPDATE smtp_credentials SET next_send_at = 0 WHERE holder IS NULL", []).await;
    w.sql("UPDATE enrollments SET due_at = 0 WHERE progress = 'waiting' AND due_at > $1", [now.into()]).await;
    w.sql("UPDATE smtp_credentials SET wake_at = 0 WHERE holder IS NULL AND wake_at IS NOT NULL", []).await;
    w.state().doorbells.sender.ring();
}

/// Ends waits until the campaign is completed, and looks that everybody was written to once.
async fn completes(w: &World, sink: &Sink, id: &str, people: &[String]) {
    eventually(2 * DEADLINE, || async {
        waits_are_over(w).await;
        (w.alice.seen(&format!("/campaigns/{id}")).await["status"] == "completed").then_some(())
    })
    .await
    .unwrap();
    for person in people {
        assert_eq!(sink.messages_to(person).len(), 1, "{person}");
    }
}

/// Bob's campaign to a server of its own, which must go out whatever Alice's server does.
async fn bob_is_served(w: &World) {
    let sink = Sink::start().await.unwrap();
    let lane = credential(&sink, "bob@sender.test");
    let id = dispatched(&w.bob, &campaign(&[lane], 1), &addresses("ok", PEOPLE)).await;
    until_status(&w.bob, &id, "completed").await;
    assert_eq!(sink.count(), PEOPLE as u64);
}

#[rstest]
#[case::ten_megabytes_without_a_line(Greeting::Raw(vec![b'2'; 10 << 20].into()))]
#[case::a_greeting_of_a_million_lines(Greeting::Raw(b"220-again\r\n".repeat(1_000_000).into()))]
#[case::random_bytes(Greeting::random_bytes())]
#[case::too_busy(Greeting::busy())]
#[case::no_word(Greeting::Close)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_greet_costs_the_lane_a_rest_and_nobody_else_anything(
    #[case] greeting: Greeting,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        sink.set_greeting(greeting);
        let engine = Engine::start(&w.ctx);
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let failed = "SELECT max(failures) FROM smtp_credentials";
        eventually(DEADLINE, || async { (w.number(failed, []).await > 0).then_some(()) }).await.unwrap();
        bob_is_served(&w).await;
        let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
        assert_eq!((&seen["totals"]["pending"], &seen["totals"]["bounced"]), (&PEOPLE.into(), &0.into()));
        assert!(seen["credentials"][0]["disabled_at"].is_null(), "{seen}");
        assert_eq!(
            w.number(
                "SELECT CAST(coalesce(sum(attempts), 0) AS bigint) FROM deliveries WHERE state <> 'sent'",
                []
            )
            .await,
            0
        );
        sink.set_greeting(Greeting::Banner);
        completes(&w, &sink, &id, &people).await;
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_away_at_every_third_recipient_the_lane_comes_back_and_no_attempt_is_counted() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 9);
        let away =
            Behaviour::Reply { at: Stage::Rcpt, reply: "421 4.3.2 enough for this connection".to_owned() };
        for person in people.iter().skip(2).step_by(3) {
            sink.script(person, vec![away.clone(), Behaviour::Accept]);
        }
        let engine = Engine::start(&w.ctx);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        completes(&w, &sink, &id, &people).await;
        let attempts = "SELECT max(attempts) FROM deliveries";
        assert_eq!(w.number(attempts, []).await, 1, "a server that sends us away is nobody's failed attempt");
        let bounced = "SELECT count(*) FROM enrollments WHERE bounced_at IS NOT NULL";
        assert_eq!(w.number(bounced, []).await, 0);
        engine.stop().await;
    })
    .await;
}

#[rstest]
#[case::at_mail(Moment::Mail)]
#[case::at_rcpt(Moment::Rcpt)]
#[case::at_data(Moment::Data)]
#[case::at_the_dot(Moment::Dot)]
#[case::unasked(Moment::Between)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_away_by_every_connection_after_three_messages_everybody_is_written_to_once(
    #[case] at: Moment,
    #[values(true, false)] pipelining: bool,
) {
    world(|w| async move {
        let sink = if pipelining { Sink::builder() } else { Sink::builder().without_pipelining() };
        let sink = sink.start().await.unwrap();
        let words = "421 4.3.2 enough for this connection\r\n".into();
        sink.interrupt(Interruption { at, after: 3, words, times: usize::MAX });
        let engine = Engine::start(&w.ctx);
        let people = addresses("ok", 10);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        bob_is_served(&w).await;
        completes(&w, &sink, &id, &people).await;
        let had: Vec<u64> = sink.connections().iter().map(|connection| connection.messages).collect();
        assert!(had.iter().all(|messages| *messages <= 3) && had.iter().sum::<u64>() == 10, "{had:?}");
        let refused = sink.refused().len();
        assert_eq!(refused > 0, at == Moment::Dot, "{refused} were refused");
        nobody_is_blamed(&w).await;
        engine.stop().await;
    })
    .await;
}

/// Each message counts one attempt, and neither a person nor a lane is given up.
async fn nobody_is_blamed(w: &World) {
    assert_eq!(w.number("SELECT max(attempts) FROM deliveries", []).await, 1);
    for blamed in [
        "SELECT count(*) FROM enrollments WHERE bounced_at IS NOT NULL",
        "SELECT count(*) FROM smtp_credentials WHERE disabled_at IS NOT NULL",
    ] {
        assert_eq!(w.number(blamed, []).await, 0, "{blamed}");
    }
}

/// What the bytes are and how many messages go before them is told by the seed.
#[rstest]
#[case::for_a_greeting(None)]
#[case::for_the_answer_to_ehlo(Some(Moment::Ehlo))]
#[case::for_the_answer_to_mail(Some(Moment::Mail))]
#[case::for_the_answer_to_rcpt(Some(Moment::Rcpt))]
#[case::for_the_answer_to_data(Some(Moment::Data))]
#[case::for_the_answer_to_the_dot(Some(Moment::Dot))]
#[case::behind_an_answer(Some(Moment::Between))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_bytes_end_a_connection_and_no_message_is_lost_or_doubled(
    #[case] at: Option<Moment>,
    #[values(1, 2, 3)] seed: u64,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let words = noise(seed);
        match at {
            None => sink.greet_next([Greeting::Raw(words)]),
            // A connection begins with it.
            Some(at @ Moment::Ehlo) => sink.interrupt(Interruption { at, after: 0, words, times: 1 }),
            Some(at) => sink.interrupt(Interruption { at, after: seed % 3, words, times: 1 }),
        }
        let engine = Engine::start(&w.ctx);
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        bob_is_served(&w).await;
        // Whoever was handed a message and heard no word for it is uncertain; nothing else is.
        let uncertain = usize::from(at == Some(Moment::Dot));
        let ended = eventually(DEADLINE, || async {
            waits_are_over(&w).await;
            (deliveries(&w, "sent").await + deliveries(&w, "uncertain").await == 2 * PEOPLE).then_some(())
        });
        ended.await.unwrap();
        assert_eq!(deliveries(&w, "uncertain").await, uncertain, "seed {seed}");
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}, seed {seed}");
        }
        assert!(sink.connections().len() >= 2, "seed {seed}: the connection that heard it was used on");
        nobody_is_blamed(&w).await;
        let status = if uncertain == 0 { "completed" } else { "active" };
        until_status(&w.alice, &id, status).await;
        engine.stop().await;
    })
    .await;
}

/// What an overloaded server says, and whether a try is counted for it.
const STORM: [(u16, bool); 8] = [
    (421, false),
    (450, true),
    (451, true),
    (432, false),
    (452, true),
    (454, false),
    (471, true),
    (499, true),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_all_temporary_replies_only_those_about_the_message_are_counted_and_all_goes_out() {
    world(|w| async move {
        // With a RCPT that went ahead, what a recipient met might be told to nobody.
        let sink = Sink::builder().without_pipelining().start().await.unwrap();
        let people = addresses("ok", STORM.len());
        let mut counted = vec![];
        for (nth, person) in people.iter().enumerate() {
            let met = [0, 3, 5].map(|turn| STORM[(nth + turn) % STORM.len()]);
            let stages = [Stage::Rcpt, Stage::Data, Stage::Dot].into_iter().cycle().skip(nth);
            let steps = met.iter().zip(stages);
            let steps =
                steps.map(|((code, _), at)| Behaviour::Reply { at, reply: format!("{code} not now") });
            sink.script(person, steps.chain([Behaviour::Accept]).collect());
            counted.push(met.iter().filter(|(_, counts)| *counts).count());
        }
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let _engine = engine_process(&w).start().unwrap();
        bob_is_served(&w).await;
        completes(&w, &sink, &id, &people).await;
        let tries = "SELECT d.attempts FROM deliveries d JOIN enrollments e ON e.id = d.enrollment_id \
                     JOIN contacts c ON c.id = e.contact_id WHERE d.account_id = $1 AND c.email = $2";
        let alice: uuid::Uuid = w.alice.account_id.parse().unwrap();
        for (person, counted) in people.iter().zip(counted) {
            let tries = w.number(tries, [alice.into(), person.as_str().into()]).await;
            assert_eq!(usize::try_from(tries).unwrap(), counted + 1, "{person}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_deferrals_ends_in_bounces_after_the_last_try_and_holds_no_place() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let engine = Engine::start(&w.ctx);
        let people = addresses("defer-451", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 2), &people).await;
        bob_is_served(&w).await;
        let seen = eventually(DEADLINE, || async {
            waits_are_over(&w).await;
            let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
            (seen["status"] == "completed").then_some(seen)
        })
        .await
        .unwrap();
        assert_eq!((&seen["totals"]["bounced"], &seen["totals"]["sent"]), (&PEOPLE.into(), &0.into()));
        let rows = w.alice.seen(&format!("/campaigns/{id}/deliveries")).await;
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), PEOPLE, "the second step is not begun");
        for row in rows {
            // One try, and one after each of the seven waits.
            assert_eq!((&row["state"], &row["attempts"]), (&"bounced".into(), &8.into()), "{row}");
            assert!(row["smtp_reply"].as_str().unwrap().starts_with("451"), "{row}");
        }
        let counted = "SELECT sends + reserved FROM account_periods WHERE account_id = $1";
        let alice: uuid::Uuid = w.alice.account_id.parse().unwrap();
        assert_eq!(w.number(counted, [alice.into()]).await, 0);
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_after_the_final_dot_is_uncertain_and_the_lane_goes_on() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let mut people = addresses("ok", PEOPLE);
        let silent = people[2].clone();
        sink.script(&silent, vec![Behaviour::Silent]);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let _engine = engine_process(&w).env("SMTP_FINAL_REPLY_SECONDS", "1").start().unwrap();
        let path = format!("/campaigns/{id}/deliveries");
        let rows = eventually(DEADLINE, || async {
            waits_are_over(&w).await;
            let rows = w.alice.seen(&path).await;
            let count = |state| rows.as_array().unwrap().iter().filter(|row| row["state"] == state).count();
            ((count("sent"), count("uncertain")) == (PEOPLE - 1, 1)).then_some(rows)
        })
        .await
        .unwrap();
        assert_eq!(rows.as_array().unwrap().len(), PEOPLE);
        people.retain(|person| *person != silent);
        for person in people.iter().chain([&silent]) {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
        assert_eq!((&seen["status"], &seen["uncertain"]), (&"active".into(), &1.into()));
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 1, "it keeps its place");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_greet_holds_up_neither_another_account_nor_a_stop() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        sink.set_greeting(Greeting::Delayed(Duration::from_secs(3_600)));
        let engine = Engine::start(&w.ctx);
        let people = addresses("ok", PEOPLE);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let held = "SELECT count(*) FROM deliveries WHERE state = 'claimed'";
        eventually(DEADLINE, || async { (w.number(held, []).await > 0).then_some(()) }).await.unwrap();
        bob_is_served(&w).await;
        // Pausing needs no answer from the server, and stopping gives back what was only claimed.
        w.alice.made(&format!("/campaigns/{id}/pause"), &serde_json::json!({})).await;
        let began = Instant::now();
        engine.stop().await;
        // SHUTDOWN_SECONDS is 25, and most of them are for what is marked.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!(w.number(held, []).await, 0);
        assert_eq!(sink.count(), 0);
    })
    .await;
}
