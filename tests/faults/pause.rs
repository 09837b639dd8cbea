//! What was stored before the mark stops it; what was marked before goes out, and nothing after it.

use ampout::crypto::links;
use serde_json::json;
use testkit::sink::{Matcher, Point, Sink};

use crate::support::{World, campaign::*, world};

#[derive(Clone, Copy, Debug)]
enum Stop {
    Pause,
    /// As an import or a change of address finds it.
    Flag,
    /// The page that the mail links to.
    Unsubscribe,
    /// The same, cut off after its first commit.
    Suppress,
    Delete,
    Disable,
}

/// What the links of each enrollment say: its page, and the hash of the address it is for.
async fn links_of(w: &World, people: &[String]) -> Vec<(String, [u8; 32])> {
    let account = w.alice.account_id.parse().unwrap();
    let state = w.state();
    let mut found = vec![];
    for person in people {
        let enrollment = w
            .ids(
                "SELECT e.id FROM enrollments e JOIN contacts c ON c.id = e.contact_id WHERE c.email = $1",
                [person.clone().into()],
            )
            .await[0];
        let hash = state.suppression_key.hash(account, person);
        found.push((links::unsubscribe_url("", &state.link_keys, account, &hash, enrollment), hash));
    }
    found
}

async fn unsubscribe(w: &World, people: &[String], links: &[(String, [u8; 32])]) {
    for ((path, _), person) in links.iter().zip(people) {
        let page = w.server.post(path).form(&[("List-Unsubscribe", "One-Click")]).await;
        assert!(page.status_code().is_success(), "{person}: {}", page.text());
    }
}

async fn stop(w: &World, campaign: &str, people: &[String], how: Stop) {
    let links = links_of(w, people).await;
    match how {
        Stop::Pause => {
            w.alice.made(&format!("/campaigns/{campaign}/pause"), &json!({})).await;
        }
        Stop::Flag => {
            w.sql("UPDATE contacts SET unsubscribed_at = 1", []).await;
        }
        Stop::Unsubscribe => unsubscribe(w, people, &links).await,
        Stop::Suppress => {
            let account: uuid::Uuid = w.alice.account_id.parse().unwrap();
            for (_, hash) in &links {
                let sql = "INSERT INTO suppressions (account_id, email_hash, created_at) VALUES ($1, $2, 0)";
                w.sql(sql, [account.into(), hash.to_vec().into()]).await;
            }
        }
        Stop::Delete => {
            let contacts = w.alice.seen("/contacts").await;
            for contact in contacts.as_array().unwrap() {
                let gone = w.alice.delete(&format!("/contacts/{}", contact["id"].as_str().unwrap())).await;
                gone.assert_status_ok();
            }
        }
        Stop::Disable => {
            w.sql("UPDATE smtp_credentials SET disabled_at = 1, disabled_reason = 'policy'", []).await;
        }
    }
}

async fn held_at(point: Point, how: Stop, arrives: usize) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(point, Matcher::Any);
        let engine = Engine::start(&w.ctx);
        let people = addresses("ok", 3);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        hold.reached(DEADLINE).await.unwrap();
        stop(&w, &id, &people, how).await;
        hold.release();
        // The engine finishes what is marked before it stops, so afterwards nothing more can come.
        let settled = "SELECT count(*) FROM deliveries WHERE state IN ('claimed', 'sending')";
        testkit::wait::eventually(DEADLINE, || async { (w.number(settled, []).await == 0).then_some(()) })
            .await
            .unwrap();
        engine.stop().await;
        assert_eq!(sink.count(), arrives as u64, "{how:?} at {point:?}");
        let sent = w.number("SELECT count(*) FROM deliveries WHERE state = 'sent'", []).await;
        assert_eq!(usize::try_from(sent).unwrap(), arrives);
        assert_eq!(w.number("SELECT sends FROM account_periods", []).await, sent);
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
        if matches!(how, Stop::Suppress | Stop::Unsubscribe) {
            let unsubscribed = "SELECT count(*) FROM enrollments WHERE status = 'unsubscribed' \
                                AND unsubscribed_at IS NOT NULL AND progress = 'finished'";
            let expected = if matches!(how, Stop::Unsubscribe) { 3 } else { 3 - sent };
            assert_eq!(w.number(unsubscribed, []).await, expected);
            assert_eq!(w.number("SELECT unsubscribed FROM campaign_totals", []).await, expected);
            assert_eq!(w.number("SELECT unsubscribed FROM batches", []).await, expected);
        }
        if matches!(how, Stop::Delete | Stop::Suppress | Stop::Unsubscribe) {
            assert_eq!(w.number("SELECT pending FROM campaign_totals", []).await, 0);
            assert_eq!(w.number("SELECT pending FROM batches", []).await, 0);
        }
    })
    .await;
}

macro_rules! both_orders {
    ($($before:ident, $after:ident, $how:expr;)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $before() {
            held_at(Point::AfterRcpt, $how, 0).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $after() {
            held_at(Point::BeforeDataReply, $how, 1).await;
        }
    )+};
}

both_orders! {
    a_pause_before_the_mark_sends_nothing, a_pause_after_the_mark_lets_that_one_out, Stop::Pause;
    a_flag_before_the_mark_sends_nothing, a_flag_after_the_mark_lets_that_one_out, Stop::Flag;
    a_suppression_before_the_mark_sends_nothing, a_suppression_after_the_mark_lets_that_one_out, Stop::Suppress;
    an_unsubscribe_before_the_mark_sends_nothing, an_unsubscribe_after_the_mark_lets_that_one_out, Stop::Unsubscribe;
    a_delete_before_the_mark_sends_nothing, a_delete_after_the_mark_lets_that_one_out, Stop::Delete;
    a_disable_before_the_mark_sends_nothing, a_disable_after_the_mark_lets_that_one_out, Stop::Disable;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_535_in_the_middle_of_a_campaign_loses_and_doubles_nothing() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let hold = sink.hold(Point::AfterRcpt, Matcher::Any);
        let engine = Engine::start(&w.ctx);
        let people = addresses("ok", 5);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        hold.reached(DEADLINE).await.unwrap();
        // The server drops the connection before the mark, and no longer knows the password.
        sink.set_auth(testkit::sink::Auth::Refuse("535 5.7.8 no".into()));
        hold.cut();
        let rests = "SELECT count(*) FROM smtp_credentials WHERE failures > 0 AND holder IS NULL";
        testkit::wait::eventually(DEADLINE, || async { (w.number(rests, []).await == 1).then_some(()) })
            .await
            .unwrap();
        w.sql("UPDATE smtp_credentials SET wake_at = 0, next_send_at = 0", []).await;
        let seen = until_status(&w.alice, &id, "paused").await;
        engine.stop().await;
        assert!(seen["credentials"][0]["disabled_at"].is_string());
        assert_eq!((sink.count(), seen["totals"]["pending"].as_i64()), (0, Some(5)));
        assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 0);
        let held = "SELECT count(*) FROM deliveries WHERE state <> 'queued'";
        assert_eq!(w.number(held, []).await, 0);
    })
    .await;
}
