//! What arrives, and what becomes of what does not.

use ampout::{clock::Timestamp, sending::health::disable_sick};
use rstest::rstest;
use serde_json::{Value as Json, json};
use testkit::sink::{Auth, Behaviour, Greeting, Matcher, Point, Sink};

use crate::support::{World, campaign::*, world};

async fn engine_world<F, Fut>(test: F)
where
    F: FnOnce(World, Engine, Sink) -> Fut,
    Fut: Future<Output = ()>,
{
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let engine = Engine::start(&w.ctx);
        test(w, engine, sink).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_reaches_every_contact_once_and_the_campaign_completes() {
    engine_world(|w, engine, sink| async move {
        let credentials = [credential(&sink, "one@sender.test"), credential(&sink, "two@sender.test")];
        let id = dispatched(&w.alice, &campaign(&credentials, 2), &addresses("ok", 30)).await;
        let seen = until_status(&w.alice, &id, "completed").await;
        assert_eq!(sink.count(), 60);
        assert_eq!(seen["totals"]["sent"], 30);
        assert_eq!(seen["totals"]["pending"], 0);
        for address in addresses("ok", 30) {
            let got = sink.messages_to(&address);
            assert_eq!(got.len(), 2, "{address}");
            let (first, second) = (&got[0], &got[1]);
            assert_eq!(first.subject().as_deref(), Some("Step 1 for Ada"));
            assert_eq!(second.subject().as_deref(), Some("Step 2 for Ada"));
            assert_eq!(first.from, second.from, "a sequence stays on its lane");
            assert_eq!(second.header("In-Reply-To").as_deref(), first.header("Message-ID").as_deref());
            assert!(second.header("References").is_some());
            assert!(first.header("List-Unsubscribe").is_some());
            assert!(first.html().unwrap().contains("Engines &amp; Sons"));
        }
        assert_eq!(w.number("SELECT sends FROM account_periods", []).await, 60);
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
        assert_eq!(w.number("SELECT CAST(sum(first_sends) AS bigint) FROM credential_days", []).await, 30);
        engine.stop().await;
    })
    .await;
}

#[rstest]
#[case::at_their_address(Behaviour::reject(550), Behaviour::defer(451))]
#[case::at_the_final_dot(Behaviour::after_dot(550), Behaviour::after_dot(451))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_bounces_and_who_is_deferred_waits(
    #[case] refused: Behaviour,
    #[case] deferred: Behaviour,
) {
    engine_world(|w, engine, sink| async move {
        let people = ["ok@example.test", "refused@example.test", "deferred@example.test"].map(str::to_owned);
        sink.script(&people[1], vec![refused]);
        sink.script(&people[2], vec![deferred]);
        enrolled(&w.bob, &campaign(&[credential(&sink, "two@sender.test")], 1), &people).await;
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let path = format!("/campaigns/{id}/enrollments");
        let rows = testkit::wait::eventually(DEADLINE, || async {
            let rows = w.alice.seen(&path).await;
            let waits = rows.as_array().unwrap().iter().any(|row| row["waiting_reason"] == "retry");
            (waits && sink.count() == 1 && rows.to_string().contains("bounced\"")).then_some(rows)
        })
        .await
        .unwrap();
        let bounced = rows.as_array().unwrap().iter().find(|row| row["status"] == "bounced").unwrap();
        assert!(bounced["bounce_reason"].as_str().unwrap().starts_with("550"));
        let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
        assert_eq!(seen["status"], "active");
        assert_eq!(seen["totals"]["sent"], 1);
        assert_eq!(seen["totals"]["bounced"], 1);
        assert_eq!(seen["totals"]["pending"], 1);
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_535_disables_the_credential_pauses_the_campaign_and_blames_nobody() {
    engine_world(|w, engine, sink| async move {
        sink.set_auth(Auth::Refuse("535 5.7.8 no".into()));
        let id =
            dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &addresses("ok", 5))
                .await;
        let seen = until_status(&w.alice, &id, "paused").await;
        assert_eq!(seen["totals"]["pending"], 5);
        assert_eq!(seen["totals"]["bounced"], 0);
        assert!(seen["credentials"][0]["disabled_at"].is_string());
        assert_eq!(sink.count(), 0);
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_relay_never_counts_as_sent_and_bounces_nobody() {
    engine_world(|w, engine, sink| async move {
        let processes = "SELECT id FROM engine_processes";
        let life = testkit::wait::eventually(DEADLINE, || async {
            let ids = w.ids(processes, []).await;
            (!ids.is_empty()).then_some(ids)
        });
        let life = life.await.unwrap();
        let mut nowhere = credential(&sink, "one@sender.test");
        nowhere["smtp_port"] = testkit::child::free_port().unwrap().into();
        let id = dispatched(&w.alice, &campaign(&[nowhere], 1), &addresses("ok", 5)).await;
        testkit::wait::eventually(DEADLINE, || async {
            let failures = w.number("SELECT max(failures) FROM smtp_credentials", []).await;
            (failures > 0).then_some(())
        })
        .await
        .unwrap();
        let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
        assert_eq!(seen["totals"]["pending"], 5);
        assert_eq!(seen["totals"]["sent"], 0);
        assert_eq!(seen["totals"]["bounced"], 0);
        let theirs = campaign(&[credential(&sink, "two@sender.test")], 1);
        let theirs = dispatched(&w.bob, &theirs, &addresses("ok", 2)).await;
        until_status(&w.bob, &theirs, "completed").await;
        assert_eq!(sink.count(), 2);
        assert_eq!(w.ids(processes, []).await, life, "the trouble of a lane is not the process's");
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_after_the_final_dot_is_uncertain_and_not_sent_again() {
    engine_world(|w, engine, sink| async move {
        let people = ["close-after-dot@example.test".to_owned()];
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 2), &people).await;
        let path = format!("/campaigns/{id}/deliveries?state=uncertain");
        let rows = testkit::wait::eventually(DEADLINE, || async {
            let rows = w.alice.seen(&path).await;
            (rows.as_array().unwrap().len() == 1).then_some(rows)
        })
        .await
        .unwrap();
        assert_eq!(sink.count(), 1);
        let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
        assert_eq!(seen["status"], "active");
        assert_eq!(seen["uncertain"], 1);
        let resolve = format!("/campaigns/{id}/deliveries/{}/resolve", rows[0]["id"].as_str().unwrap());
        sink.script("close-after-dot@example.test", vec![Behaviour::Accept]);
        w.alice.made(&resolve, &serde_json::json!({"as": "sent"})).await;
        until_status(&w.alice, &id, "completed").await;
        assert_eq!(sink.count(), 2, "the second step follows, the first is not repeated");
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_will_not_send_for_us_disables_the_credential_and_blames_nobody() {
    engine_world(|w, engine, sink| async move {
        let people = ["policy-550@example.test", "ok@example.test"].map(str::to_owned);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let seen = until_status(&w.alice, &id, "paused").await;
        let lanes = w.alice.seen(&format!("/campaigns/{id}/smtp_credentials")).await;
        assert_eq!(lanes[0]["disabled_reason"], "policy");
        let totals = ["pending", "sent", "bounced"].map(|count| seen["totals"][count].as_i64().unwrap());
        assert_eq!((totals, sink.count()), ([2, 0, 0], 0));
        assert_eq!(w.number("SELECT CAST(sum(attempts) AS bigint) FROM deliveries", []).await, 0);
        engine.stop().await;
    })
    .await;
}

#[rstest]
#[case::with_a_refusal(Some("554 no service here"), "ok")]
#[case::with_a_421(Some("421 too busy"), "ok")]
#[case::with_a_421_at_the_recipient(None, "busy-421")]
#[case::by_closing_at_the_recipient(None, "close-at-rcpt")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_sends_us_away_never_counts_as_sent_or_as_a_try(
    #[case] greeting: Option<&'static str>,
    #[case] local: &'static str,
) {
    engine_world(|w, engine, sink| async move {
        if let Some(greeting) = greeting {
            sink.set_greeting(Greeting::Reply(greeting.into()));
        }
        let body = campaign(&[credential(&sink, "one@sender.test")], 1);
        let id = dispatched(&w.alice, &body, &addresses(local, 3)).await;
        let rests = "SELECT count(*) FROM smtp_credentials WHERE failures > 0 AND holder IS NULL \
                     AND next_send_at > 0 AND disabled_at IS NULL";
        testkit::wait::eventually(DEADLINE, || async { (w.number(rests, []).await == 1).then_some(()) })
            .await
            .unwrap();
        engine.stop().await;
        let seen = w.alice.seen(&format!("/campaigns/{id}")).await;
        let totals = ["pending", "sent", "bounced"].map(|count| seen["totals"][count].as_i64().unwrap());
        assert_eq!((&seen["status"], totals, sink.count()), (&"active".into(), [3, 0, 0], 0));
        let tried = "SELECT count(*) FROM deliveries WHERE attempts > 0 OR state <> 'queued'";
        assert_eq!(w.number(tried, []).await, 0);
        assert_eq!(w.number("SELECT sends + reserved FROM account_periods", []).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_put_off_an_eighth_time_bounces_with_the_servers_words() {
    engine_world(|w, engine, sink| async move {
        let people = ["defer-451@example.test".to_owned()];
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let path = format!("/campaigns/{id}/deliveries");
        let put_off = async |times: i64| {
            let left = "SELECT count(*) FROM smtp_credentials WHERE holder IS NULL";
            testkit::wait::eventually(DEADLINE, || async {
                let row = w.alice.seen(&path).await[0].clone();
                (row["attempts"] == times && w.number(left, []).await == 1).then_some(row)
            })
            .await
            .unwrap()
        };
        assert_eq!(put_off(1).await["state"], "deferred");
        // As if it had been put off seven times.
        w.sql("UPDATE deliveries SET attempts = 7", []).await;
        w.sql("UPDATE enrollments SET due_at = 0", []).await;
        w.sql("UPDATE smtp_credentials SET wake_at = 0, next_send_at = 0", []).await;
        assert_eq!(put_off(8).await["state"], "bounced");
        engine.stop().await;
        let row = w.alice.seen(&format!("/campaigns/{id}/enrollments")).await[0].clone();
        assert_eq!(row["status"], "bounced");
        assert!(row["bounce_reason"].as_str().unwrap().starts_with("451"), "{row}");
        assert_eq!(w.number("SELECT sends + reserved FROM account_periods", []).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_corrected_while_the_old_one_is_refused_is_tried_and_not_disabled() {
    engine_world(|w, engine, sink| async move {
        // Both have read the old password, and are not yet greeted.
        let hold = sink.hold(Point::AfterConnect, Matcher::Any);
        let lane = [credential(&sink, "one@sender.test")];
        let id = dispatched(&w.alice, &campaign(&lane, 1), &addresses("ok", 3)).await;
        let theirs = dispatched(&w.bob, &campaign(&lane, 1), &addresses("bob", 3)).await;
        hold.reached_by(2, DEADLINE).await.unwrap();
        sink.set_auth(Auth::Required { user: "user".to_owned(), password: "corrected".to_owned() });
        let path = format!("/campaigns/{id}/smtp_credentials");
        let mine = w.alice.seen(&path).await[0]["id"].as_str().unwrap().to_owned();
        let corrected = json!({ "smtp_credential": { "smtp_password": "corrected" } });
        w.alice.patch(&format!("{path}/{mine}"), &corrected).await.assert_status_ok();
        hold.release();
        let seen = until_status(&w.alice, &id, "completed").await;
        assert!(seen["credentials"][0]["disabled_at"].is_null(), "{seen}");
        // What was not corrected is to blame.
        let seen = until_status(&w.bob, &theirs, "paused").await;
        assert!(seen["credentials"][0]["disabled_at"].is_string(), "{seen}");
        assert_eq!(sink.count(), 3);
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_cannot_be_made_bounces_and_weighs_nothing_on_its_sender() {
    engine_world(|w, engine, sink| async move {
        const MANY: usize = 25;
        // For somebody with so long a note it passes what a mail may have.
        let mut mine = campaign(&[credential(&sink, "alice@sender.test")], 1);
        mine["campaign"]["sequence_steps"][0]["body_html"] = json!("{{ custom.note }}".repeat(110));
        let note = json!({ "note": "x".repeat(10_000) });
        let contacts: Vec<Json> =
            addresses("ok", MANY).iter().map(|email| json!({ "email": email, "custom": note })).collect();
        let import = json!({ "contact_import": { "name": "People", "contacts": contacts } });
        let import = w.alice.made("/contact_imports", &import).await;
        let made = w.alice.made("/campaigns", &mine).await;
        let id = made["id"].as_str().unwrap();
        w.alice.made(&format!("/campaigns/{id}/enroll"), &json!({ "contact_import_id": import["id"] })).await;
        w.alice.made(&format!("/campaigns/{id}/dispatch"), &json!({})).await;
        let lane = [credential(&sink, "bob@sender.test")];
        let theirs = dispatched(&w.bob, &campaign(&lane, 1), &addresses("reject-550", MANY)).await;
        let ended = "SELECT CAST(sum(bounced) AS bigint) FROM campaign_totals";
        testkit::wait::eventually(DEADLINE, || async { (w.number(ended, []).await >= 45).then_some(()) })
            .await
            .unwrap();
        let seen = until_status(&w.alice, id, "completed").await;
        engine.stop().await;
        disable_sick(&w.db(), Timestamp::now()).await.unwrap();
        assert_eq!(seen["totals"]["bounced"], MANY);
        let row = w.alice.seen(&format!("/campaigns/{id}/enrollments")).await[0].clone();
        assert_eq!(
            (&row["status"], &row["bounce_reason"]),
            (&json!("bounced"), &json!("the rendered text is too large"))
        );
        let row = w.alice.seen(&format!("/campaigns/{id}/deliveries")).await[0].clone();
        assert_eq!(row["state"], "bounced");
        let lane = w.alice.seen(&format!("/campaigns/{id}/smtp_credentials")).await[0].clone();
        assert_eq!((&lane["bounce_rate"], &lane["disabled_at"]), (&json!(0.0), &Json::Null));
        // Whom a server refuses weighs.
        let lane = w.bob.seen(&format!("/campaigns/{theirs}/smtp_credentials")).await[0].clone();
        assert_eq!((&lane["bounce_rate"], &lane["disabled_reason"]), (&json!(100.0), &json!("bounce_rate")));
        assert_eq!(
            w.number("SELECT CAST(sum(sends + reserved) AS bigint) FROM account_periods", []).await,
            0
        );
        assert_eq!(w.number("SELECT CAST(sum(reserved) AS bigint) FROM credential_days", []).await, 0);
    })
    .await;
}
