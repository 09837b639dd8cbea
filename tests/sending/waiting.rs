//! What an enrollment says that it waits for, and when it goes on. The clock is moved by changing rows.

use ampout::clock::Timestamp;
use serde_json::{Value as Json, json};
use testkit::{sink::Sink, wait::eventually};
use uuid::Uuid;

use crate::support::{World, campaign::*, world};

async fn reason(w: &World, id: &str) -> Json {
    w.alice.seen(&format!("/campaigns/{id}/enrollments")).await[0]["waiting_reason"].clone()
}

async fn lane_of(w: &World, id: &str) -> Uuid {
    let lanes = w.alice.seen(&format!("/campaigns/{id}/smtp_credentials")).await;
    lanes[0]["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reason_is_shown_for_its_cause_and_no_longer() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let body = campaign(&[credential(&sink, "one@sender.test")], 1);
        let id = enrolled(&w.alice, &body, &addresses("ok", 1)).await;
        let theirs = dispatched(&w.bob, &body, &addresses("ok", 1)).await;
        let (lane, account): (Uuid, Uuid) = (lane_of(&w, &id).await, w.alice.account_id.parse().unwrap());
        assert_eq!(reason(&w, &id).await, "undispatched");
        let call = async |what: &str| w.alice.made(&format!("/campaigns/{id}/{what}"), &json!({})).await;
        call("dispatch").await;
        assert_eq!(reason(&w, &id).await, "pacing");
        call("pause").await;
        assert_eq!(reason(&w, &id).await, "paused");
        call("resume").await;

        let period = "INSERT INTO account_periods (account_id, period_start, period_end, sends, reserved) \
                      VALUES ($1, 0, 9000000000000000000, 60, 40)";
        w.sql(period, [account.into()]).await;
        assert_eq!(reason(&w, &id).await, "plan_limit");
        w.sql("DELETE FROM account_periods", []).await;

        let day = "INSERT INTO credential_days (smtp_credential_id, day, account_id, first_sends) \
                   VALUES ($1, $2, $3, 100000)";
        w.sql(day, [lane.into(), Timestamp::now().day().into(), account.into()]).await;
        assert_eq!(reason(&w, &id).await, "daily_limit");
        w.sql("UPDATE credential_days SET day = day - 1", []).await;
        assert_eq!(reason(&w, &id).await, "pacing", "the next day has room");

        w.sql("UPDATE smtp_credentials SET disabled_at = 1 WHERE id = $1", [lane.into()]).await;
        assert_eq!(reason(&w, &id).await, "no_credential");
        w.sql("UPDATE smtp_credentials SET disabled_at = NULL", []).await;

        for (progress, shown) in [("uncertain", json!("uncertain")), ("finished", Json::Null)] {
            w.sql(
                "UPDATE enrollments SET progress = $1 WHERE account_id = $2",
                [progress.into(), account.into()],
            )
            .await;
            assert_eq!(reason(&w, &id).await, shown);
        }
        let others = w.bob.seen(&format!("/campaigns/{theirs}/enrollments")).await;
        assert_eq!(others[0]["waiting_reason"], "pacing", "nothing of it is another account's");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_is_full_of_what_was_sent_and_what_is_on_its_way_and_a_follow_up_waits_for_its_mailbox() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let mut body = campaign(&[credential(&sink, "one@sender.test")], 2);
        body["campaign"]["smtp_credentials"][0]["daily_limit"] = json!(2);
        let id = dispatched(&w.alice, &body, &addresses("ok", 1)).await;
        let theirs = dispatched(&w.bob, &body, &addresses("ok", 1)).await;
        let (lane, account): (Uuid, Uuid) = (lane_of(&w, &id).await, w.alice.account_id.parse().unwrap());
        let day = "INSERT INTO credential_days (smtp_credential_id, day, account_id, reserved, first_sends) \
                   VALUES ($1, $2, $3, 1, 1)";
        w.sql(day, [lane.into(), Timestamp::now().day().into(), account.into()]).await;
        assert_eq!(reason(&w, &id).await, "daily_limit");
        w.sql("UPDATE credential_days SET reserved = 0", []).await;
        assert_eq!(reason(&w, &id).await, "pacing", "one place is left");

        w.sql("UPDATE credential_days SET reserved = 1", []).await;
        let sql = "UPDATE enrollments SET progress = 'waiting', current_step = 1, next_position = 2, due_at = 0, \
                   smtp_credential_id = $1 WHERE account_id = $2";
        w.sql(sql, [lane.into(), account.into()]).await;
        assert_eq!(reason(&w, &id).await, "pacing", "a follow-up needs no place, and there is no mailbox");
        let sql = "UPDATE smtp_credentials SET imap_host = 'imap.test', imap_port = 993, imap_username = 'me'";
        w.sql(sql, []).await;
        assert_eq!(reason(&w, &id).await, "mailbox_unread");
        let mailbox = "INSERT INTO mailboxes (id, account_id, host, port, username, next_poll_at, last_read_at, \
                       created_at) VALUES ($1, $2, 'imap.test', 993, 'me', 0, $3, 0)";
        w.sql(mailbox, [Uuid::now_v7().into(), account.into(), Timestamp::now().micros().into()]).await;
        assert_eq!(reason(&w, &id).await, "pacing", "read lately");
        w.sql("UPDATE mailboxes SET last_read_at = 1", []).await;
        assert_eq!(reason(&w, &id).await, "mailbox_unread");
        let others = w.bob.seen(&format!("/campaigns/{theirs}/enrollments")).await;
        assert_eq!(others[0]["waiting_reason"], "pacing", "a first step needs no mailbox");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_counts_first_steps_only_and_what_does_not_fit_goes_on_the_next() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let mut lane = credential(&sink, "one@sender.test");
        lane["daily_limit"] = json!(2);
        let engine = Engine::start(&w.ctx);
        let id = dispatched(&w.alice, &campaign(&[lane], 2), &addresses("ok", 3)).await;
        let waiting = format!("/campaigns/{id}/enrollments?status=pending");
        eventually(DEADLINE, || async {
            let rows = w.alice.seen(&waiting).await;
            let rested = "SELECT count(*) FROM smtp_credentials WHERE holder IS NULL AND wake_at IS NOT NULL";
            let left = rows.as_array().unwrap().len() == 1 && rows[0]["waiting_reason"] == "daily_limit";
            (left && sink.count() == 4 && w.number(rested, []).await == 1).then_some(())
        })
        .await
        .unwrap();
        // It is looked at again when the day is over, and not before.
        let tomorrow = Timestamp::from_day(Timestamp::now().day() + 1).micros();
        assert_eq!(w.number("SELECT wake_at FROM smtp_credentials", []).await, tomorrow);
        let lane = lane_of(&w, &id).await;
        let path = format!("/campaigns/{id}/smtp_credentials/{lane}");
        assert_eq!(w.alice.seen(&path).await["sent_today"], 2);

        w.sql("UPDATE credential_days SET day = day - 1", []).await;
        w.sql("UPDATE smtp_credentials SET wake_at = 0", []).await;
        until_status(&w.alice, &id, "completed").await;
        engine.stop().await;
        assert_eq!(sink.count(), 6);
        assert_eq!(w.alice.seen(&path).await["sent_today"], 1);
    })
    .await;
}

/// What is uncertain may keep the last places for days: nobody looks again each second until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_without_a_place_in_the_plan_is_looked_at_seldom_while_some_places_are_uncertain() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let body = campaign(&[credential(&sink, "one@sender.test")], 1);
        let waits = dispatched(&w.alice, &body, &addresses("ok", 1)).await;
        let call = async |what: &str| w.alice.made(&format!("/campaigns/{waits}/{what}"), &json!({})).await;
        call("pause").await;
        dispatched(&w.alice, &body, &["close-after-dot@example.test".to_owned()]).await;
        w.sql("UPDATE plans SET monthly_limit = 1", []).await;
        let engine = Engine::start(&w.ctx);
        let uncertain = "SELECT count(*) FROM deliveries WHERE state = 'uncertain'";
        eventually(DEADLINE, || async { (w.number(uncertain, []).await == 1).then_some(()) }).await.unwrap();
        call("resume").await;
        let lane = lane_of(&w, &waits).await;
        let theirs = dispatched(&w.bob, &body, &addresses("ok", 1)).await;
        let rests = "SELECT count(*) FROM smtp_credentials WHERE id = $1 AND holder IS NULL AND wake_at > $2";
        let later = Timestamp::now().plus(std::time::Duration::from_secs(15)).micros();
        eventually(DEADLINE, || async {
            (w.number(rests, [lane.into(), later.into()]).await == 1).then_some(())
        })
        .await
        .unwrap();
        until_status(&w.bob, &theirs, "completed").await;
        engine.stop().await;
        assert_eq!(sink.messages_to("ok+0@example.test").len(), 1, "only the other account's");
    })
    .await;
}
