//! The mailbox itself: read once however many name it, broken in every way, numbered anew, and what waits for it.

use std::{sync::Arc, time::Duration};

use ampout::state::AppState;
use rstest::rstest;
use serde_json::json;
use testkit::{
    imap::{Imap, Trouble},
    sink::Sink,
    wait::eventually,
};

use super::{
    enrollments, fixture, hurry, message_id, sent, sent_impatiently, two_steps, until, with_mailbox,
};
use crate::support::{campaign::*, world};

const PEOPLE: &[&str] = &["ada@example.test"];
const REPLIED: &str = "SELECT CAST(sum(replied) AS bigint) FROM campaign_totals";

/// How many mails were found so by this process.
fn mails_found(outcome: &str) -> u64 {
    let text = ampout::metrics::render(None).unwrap();
    let series = format!("ampout_inbox_mails_total{{outcome=\"{outcome}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
}

#[rstest]
#[case::refused("LOGIN", Trouble::Refuse, "auth_failed")]
#[case::garbage("EXAMINE", Trouble::Garbage, "protocol_failed")]
#[case::closed("UID SEARCH", Trouble::Close, "protocol_failed")]
#[case::goodbye("UID FETCH", Trouble::Bye, "protocol_failed")]
#[case::too_much_announced("UID FETCH", Trouble::HugeLiteral, "protocol_failed")]
#[case::a_line_without_an_end("EXAMINE", Trouble::EndlessLine, "protocol_failed")]
#[case::not_selectable("EXAMINE", Trouble::Refuse, "protocol_failed")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_mailbox_backs_off_says_why_and_loses_nothing(
    #[case] command: &'static str,
    #[case] trouble: Trouble,
    #[case] word: &'static str,
) {
    sent(PEOPLE, |s| async move {
        s.imaps[0].trouble(command, trouble, u32::MAX);
        s.imaps[0].deliver(fixture("reply_plain", &s.id_for(PEOPLE[0]), PEOPLE[0]));
        until(&s.w, "SELECT count(*) FROM mailboxes WHERE failures >= 2", 1).await;
        let path = format!("/campaigns/{}/smtp_credentials", s.campaigns[0]);
        assert_eq!(s.w.alice.seen(&path).await[0]["imap_error"], word);
        let others = format!("/campaigns/{}/smtp_credentials", s.campaigns[1]);
        assert_eq!(s.w.bob.seen(&others).await[0]["imap_error"], json!(null));
        assert_eq!(s.w.number(REPLIED, []).await, 0);
        s.imaps[0].heal();
        until(&s.w, REPLIED, 1).await;
        s.until_read().await;
        let shown = s.w.alice.seen(&path).await;
        assert_eq!(shown[0]["imap_error"], json!(null));
        assert!(shown[0]["imap_read_at"].is_string());
        s.engine.stop().await;
    })
    .await;
}

#[rstest]
#[case::no_greeting("GREETING", Trouble::Hang, "timeout")]
#[case::a_greeting_by_drops("GREETING", Trouble::Drip, "timeout")]
#[case::a_greeting_without_an_end("GREETING", Trouble::EndlessLine, "protocol_failed")]
#[case::silent_at_the_login("LOGIN", Trouble::Hang, "timeout")]
#[case::a_search_by_drops("UID SEARCH", Trouble::Drip, "timeout")]
#[case::silent_at_a_mail("UID FETCH", Trouble::Hang, "timeout")]
#[case::a_mail_by_drops("UID FETCH", Trouble::Drip, "timeout")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_ends_is_left_in_time_and_holds_up_no_other(
    #[case] command: &'static str,
    #[case] trouble: Trouble,
    #[case] word: &'static str,
) {
    sent_impatiently(PEOPLE, Duration::from_secs(2), |s| async move {
        s.imaps[0].deliver(fixture("reply_plain", &s.id_for(PEOPLE[0]), PEOPLE[0]));
        s.imaps[0].trouble(command, trouble, u32::MAX);
        until(&s.w, "SELECT count(*) FROM mailboxes WHERE failures >= 1", 1).await;
        let before = s.imaps[1].count("EXAMINE");
        until(&s.w, "SELECT count(*) FROM mailboxes WHERE failures >= 2", 1).await;
        assert!(s.imaps[1].count("EXAMINE") > before, "the other mailbox is read meanwhile");
        let path = format!("/campaigns/{}/smtp_credentials", s.campaigns[0]);
        assert_eq!(s.w.alice.seen(&path).await[0]["imap_error"], word);
        // What the systems' own buffers take, of a stream without an end.
        assert!(s.imaps[0].written() < 64 * 1024 * 1024, "{}", s.imaps[0].written());
        s.imaps[0].heal();
        until(&s.w, REPLIED, 1).await;
        s.until_read().await;
        assert_eq!(s.w.alice.seen(&path).await[0]["imap_error"], json!(null));
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_cannot_be_read_is_parked_after_three_failures() {
    sent(PEOPLE, |s| async move {
        let id = s.id_for(PEOPLE[0]);
        let before = ["matched", "unmatched", "parked"].map(mails_found);
        s.imaps[0].deliver(fixture("other_fresh_mail", &id, "nobody@example.test"));
        s.imaps[0].trouble("UID FETCH 2 (UID BODY.PEEK[]", Trouble::Garbage, u32::MAX);
        s.imaps[0].deliver(fixture("bounce_postfix", "other@sender.test", PEOPLE[0]));
        s.imaps[0].deliver(fixture("reply_plain", &id, PEOPLE[0]));
        until(&s.w, REPLIED, 1).await;
        let parked =
            "SELECT count(*) FROM parked_mails WHERE uid = 2 AND failures = 3 AND parked_at IS NOT NULL";
        assert_eq!(s.w.number(parked, []).await, 1);
        assert_eq!(s.imaps[0].count("UID FETCH 2 (UID BODY.PEEK[]"), 3);
        until(&s.w, "SELECT count(*) FROM mailboxes WHERE failures = 0 AND last_uid = 3", 1).await;
        for (outcome, before) in ["matched", "unmatched", "parked"].into_iter().zip(before) {
            // Other tests of this process count too.
            assert!(mails_found(outcome) > before, "{outcome} is not counted");
        }
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_no_session_shows_for_a_while_is_waited_for_and_read() {
    sent(PEOPLE, |s| async move {
        // Every mail, for much longer than the one of a mail that is parked.
        s.imaps[0].trouble("UID FETCH", Trouble::Refuse, u32::MAX);
        s.imaps[0].deliver(fixture("reply_plain", &s.id_for(PEOPLE[0]), PEOPLE[0]));
        s.imaps[0].deliver(fixture("other_fresh_mail", &s.id_for(PEOPLE[0]), "nobody@example.test"));
        until(&s.w, "SELECT count(*) FROM mailboxes WHERE failures >= 6", 1).await;
        assert_eq!(s.w.number("SELECT count(*) FROM parked_mails", []).await, 0);
        s.imaps[0].heal();
        until(&s.w, REPLIED, 1).await;
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_that_is_numbered_anew_is_read_again_and_counts_nothing_twice() {
    sent(&["ada@example.test", "grace@example.test"], |s| async move {
        s.imaps[0].deliver(fixture("reply_plain", &s.id_for("ada@example.test"), "ada@example.test"));
        s.imaps[0].deliver(fixture("bounce_postfix", &s.id_for("grace@example.test"), "grace@example.test"));
        until(&s.w, REPLIED, 1).await;
        s.until_read().await;
        let first = enrollments(&s.w.alice, &s.campaigns[0]).await;
        s.imaps[0].renumber();
        until(&s.w, "SELECT count(*) FROM mailboxes WHERE uid_validity = 2 AND last_uid = 2", 1).await;
        s.until_read().await;
        assert_eq!(enrollments(&s.w.alice, &s.campaigns[0]).await, first);
        assert_eq!(s.w.number(REPLIED, []).await, 1);
        assert_eq!(s.w.number("SELECT CAST(sum(bounced) AS bigint) FROM campaign_totals", []).await, 1);
        assert_eq!(s.w.number("SELECT CAST(sum(bounced) AS bigint) FROM credential_days", []).await, 1);
        s.engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follow_up_waits_until_its_mailbox_was_read() {
    world(|w| async move {
        hurry(&w, Duration::from_secs(3));
        let (sink, imap) = (Sink::start().await.unwrap(), Imap::start().await.unwrap());
        imap.trouble("EXAMINE", Trouble::Refuse, u32::MAX);
        let lanes = [with_mailbox(&sink, &imap, "one@sender.test")];
        let id = dispatched(&w.alice, &campaign(&lanes, 2), &addresses("ok", 1)).await;
        let without =
            dispatched(&w.bob, &campaign(&[credential(&sink, "two@sender.test")], 2), &addresses("ok", 1))
                .await;
        let engine = Engine::start(&w.ctx);
        until_status(&w.bob, &without, "completed").await;
        eventually(DEADLINE, || async {
            let rows = enrollments(&w.alice, &id).await;
            (rows[0]["waiting_reason"] == "mailbox_unread").then_some(())
        })
        .await
        .unwrap();
        until(&w, "SELECT count(*) FROM mailboxes WHERE failures >= 1", 1).await;
        assert_eq!(sink.count(), 3, "both steps without a mailbox, one step with it");
        imap.heal();
        until_status(&w.alice, &id, "completed").await;
        assert_eq!(sink.count(), 4);
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_lies_in_the_mailbox_stops_the_follow_up_that_is_due() {
    world(|w| async move {
        hurry(&w, Duration::from_secs(900));
        let (sink, imap) = (Sink::start().await.unwrap(), Imap::start().await.unwrap());
        imap.trouble("LOGIN", Trouble::Refuse, u32::MAX);
        let lanes = [with_mailbox(&sink, &imap, "one@sender.test")];
        let people = addresses("ok", 1);
        let id = dispatched(&w.alice, &campaign(&lanes, 2), &people).await;
        let engine = Engine::start(&w.ctx);
        sink.wait_for(1, DEADLINE).await.unwrap();
        imap.deliver(fixture("reply_plain", &message_id(&sink, &people[0]), &people[0]));
        imap.heal();
        let seen = until_status(&w.alice, &id, "completed").await;
        assert_eq!(seen["totals"]["replied"], 1);
        assert_eq!(sink.count(), 1);
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_credentials_of_one_mailbox_read_it_once_with_the_password_that_is_right() {
    world(|w| async move {
        hurry(&w, Duration::from_secs(900));
        let (sink, imap) = (Sink::start().await.unwrap(), Imap::start().await.unwrap());
        imap.set_password("mail-secret");
        let mut lanes: Vec<_> =
            (0..3).map(|n| with_mailbox(&sink, &imap, &format!("lane{n}@sender.test"))).collect();
        lanes[2]["imap_password"] = json!("out of date");
        let people = addresses("ok", 3);
        let id = dispatched(&w.alice, &two_steps(&lanes), &people).await;
        assert_eq!(w.number("SELECT count(*) FROM mailboxes", []).await, 1);
        let engine = Engine::start(&w.ctx);
        sink.wait_for(3, DEADLINE).await.unwrap();
        until(&w, "SELECT count(*) FROM mailboxes WHERE last_read_at IS NOT NULL", 1).await;
        for person in &people {
            imap.deliver(fixture("reply_plain", &message_id(&sink, person), person));
        }
        until(&w, REPLIED, 3).await;
        engine.stop().await;
        let kept = w.alice.seen(&format!("/campaigns/{id}/smtp_credentials")).await;
        assert_eq!(kept.as_array().unwrap().len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_comes_and_goes_with_the_credentials_that_name_it() {
    world(|w| async move {
        let (sink, imap) = (Sink::start().await.unwrap(), Imap::start().await.unwrap());
        let lanes = [with_mailbox(&sink, &imap, "one@sender.test"), with_mailbox(&sink, &imap, "two@sender.test")];
        let id = w.alice.made("/campaigns", &campaign(&lanes, 1)).await["id"].as_str().unwrap().to_owned();
        w.bob.made("/campaigns", &campaign(&lanes, 1)).await;
        let count = "SELECT count(*) FROM mailboxes";
        assert_eq!(w.number(count, []).await, 2, "one for each account");
        let path = format!("/campaigns/{id}/smtp_credentials");
        let list = w.alice.seen(&path).await;
        let at = |n: usize| format!("{path}/{}", list[n]["id"].as_str().unwrap());
        let other = json!({"smtp_credential": {"imap_username": "another"}});
        w.alice.patch(&at(0), &other).await.assert_status_ok();
        assert_eq!(w.number(count, []).await, 3);
        let same = json!({"smtp_credential": {"imap_host": "127.0.0.1", "imap_username": "reader"}});
        w.alice.patch(&at(0), &same).await.assert_status_ok();
        assert_eq!(w.number(count, []).await, 2);
        let none = json!({"smtp_credential": {"imap_host": null, "imap_port": null, "imap_username": null, "imap_password": null}});
        w.alice.patch(&at(0), &none).await.assert_status_ok();
        assert_eq!(w.number(count, []).await, 2);
        w.alice.delete(&at(1)).await.assert_status_ok();
        assert_eq!(w.number(count, []).await, 1, "bob's is left");
        let again = with_mailbox(&sink, &imap, "three@sender.test");
        w.alice.made(&path, &json!({"smtp_credential": again})).await;
        assert_eq!(w.number(count, []).await, 2);
        w.alice.delete(&format!("/campaigns/{id}")).await.assert_status_ok();
        assert_eq!(w.number(count, []).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_is_not_opened_before_anything_was_sent() {
    world(|w| async move {
        hurry(&w, Duration::from_secs(900));
        let (sink, imap) = (Sink::start().await.unwrap(), Imap::start().await.unwrap());
        let lanes = [with_mailbox(&sink, &imap, "one@sender.test")];
        let people = addresses("ok", 1);
        let id = enrolled(&w.alice, &campaign(&lanes, 1), &people).await;
        let engine = Engine::start(&w.ctx);
        let made = w.number("SELECT next_poll_at FROM mailboxes", []).await;
        until(
            &w,
            &format!("SELECT count(*) FROM mailboxes WHERE next_poll_at > {made} AND lease_token IS NULL"),
            1,
        )
        .await;
        assert_eq!(imap.connections(), 0);
        w.alice.made(&format!("/campaigns/{id}/dispatch"), &json!({})).await;
        until(&w, "SELECT count(*) FROM mailboxes WHERE last_read_at IS NOT NULL", 1).await;
        assert_eq!(imap.count("UID SEARCH SINCE"), 1);
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_one_account_that_never_end_do_not_hold_up_anothers() {
    world(|w| async move {
        hurry(&w, Duration::from_secs(900));
        let sink = Sink::start().await.unwrap();
        let (silent, imap) = (Imap::start().await.unwrap(), Imap::start().await.unwrap());
        silent.trouble("GREETING", Trouble::Hang, u32::MAX);
        let lanes: Vec<_> = (0..70)
            .map(|n| {
                let mut lane = with_mailbox(&sink, &silent, "alice@sender.test");
                lane["imap_username"] = json!(format!("reader{n}"));
                lane
            })
            .collect();
        w.alice.made("/campaigns", &campaign(&lanes, 1)).await;
        w.bob.made("/campaigns", &campaign(&[with_mailbox(&sink, &imap, "bob@sender.test")], 1)).await;
        // All were read before, and alice's are due the longest.
        w.sql("UPDATE mailboxes SET uid_validity = 1, next_poll_at = 1", []).await;
        let port = i64::from(imap.port());
        w.sql("UPDATE mailboxes SET next_poll_at = 2 WHERE port = $1", [port.into()]).await;
        let engine = Engine::start(&w.ctx);
        until(&w, "SELECT count(*) FROM mailboxes WHERE last_read_at IS NOT NULL", 1).await;
        assert!(imap.count("LOGIN") > 0);
        let held = silent.connections();
        assert!((1..16).contains(&held), "{held} of hers at a time");
        engine.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_is_read_on_one_connection_is_read_on_the_next_at_once() {
    world(|w| async move {
        hurry(&w, Duration::from_secs(900));
        let state = w.state();
        let mut settings = (*state.settings).clone();
        // What comes before the first mail is enough already, but for the answer to the first FETCH.
        settings.inbox.enough = 1_000;
        w.ctx.shared_store.insert(AppState { settings: Arc::new(settings), ..state });
        let (sink, imap, other) =
            (Sink::start().await.unwrap(), Imap::start().await.unwrap(), Imap::start().await.unwrap());
        let news = format!("Subject: news\r\nX-Long: {}\r\n\r\n", "x".repeat(900));
        let mut last = 0;
        for _ in 0..45 {
            last = imap.deliver(&news);
        }
        let mine = [with_mailbox(&sink, &imap, "one@sender.test")];
        let theirs = [with_mailbox(&sink, &other, "two@sender.test")];
        dispatched(&w.alice, &two_steps(&mine), &addresses("ok", 1)).await;
        dispatched(&w.bob, &two_steps(&theirs), &addresses("ok", 1)).await;
        let engine = Engine::start(&w.ctx);
        until(&w, &format!("SELECT count(*) FROM mailboxes WHERE last_uid = {last} AND failures = 0"), 1)
            .await;
        until(&w, "SELECT count(*) FROM mailboxes WHERE last_read_at IS NOT NULL", 2).await;
        engine.stop().await;
        let commands = imap.commands();
        let polls = commands.split(|command| command.starts_with("EXAMINE")).skip(1);
        let fetches = polls.map(|poll| poll.iter().filter(|one| one.starts_with("UID FETCH")).count());
        let fetches: Vec<_> = fetches.filter(|count| *count > 0).collect();
        // Twenty at a time: one of them is enough.
        assert_eq!(fetches, [1, 1, 1], "{commands:?}");
    })
    .await;
}
