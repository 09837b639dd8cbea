//! How a lane is taken and left: what is counted of its failures, and when it is to be looked at again. Time passes by
//! changed rows.

use ampout::{
    clock::Timestamp,
    models::states::DisabledReason,
    sending::{
        lanes::{self, Idle, Lane, Rest, Room},
        program,
    },
    tenancy::SystemScope,
};
use serde_json::json;
use testkit::sink::Sink;
use uuid::Uuid;

use crate::support::{Client, World, campaign::*, lane::FRESH, world};

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// The lane of a campaign with one contact, who is dispatched and was not written to.
async fn lane(w: &World, client: &Client) -> Lane {
    let sink = Sink::start().await.unwrap();
    let body = campaign(&[credential(&sink, "one@sender.test")], 2);
    let campaign_id: Uuid = dispatched(client, &body, &addresses("ok", 1)).await.parse().unwrap();
    let lanes = w.ids("SELECT id FROM smtp_credentials WHERE campaign_id = $1", [campaign_id.into()]).await;
    let account_id = client.account_id.parse().unwrap();
    Lane { credential_id: lanes[0], campaign_id, account_id, failures: 3 }
}

/// The lanes of both accounts.
async fn lanes_of(w: &World) -> (Lane, Lane) {
    (lane(w, &w.alice).await, lane(w, &w.bob).await)
}

async fn hold(w: &World, lane: &Lane, process: Uuid) {
    let held = "UPDATE smtp_credentials SET holder = $1, wake_at = 0, failures = $2 WHERE id = $3";
    assert_eq!(w.sql(held, [process.into(), lane.failures.into(), lane.credential_id.into()]).await, 1);
}

async fn leave(w: &World, lane: &Lane, process: Uuid, rest: Rest, served: bool) {
    lanes::release(&w.db(), process, lane, (&rest, served), FRESH).await.unwrap();
}

/// A number of the lane's row.
async fn of_row(w: &World, lane: &Lane, column: &str) -> i64 {
    let sql = format!("SELECT {column} FROM smtp_credentials WHERE id = $1");
    w.number(&sql, [lane.credential_id.into()]).await
}

/// Leaves the lane as one that found nothing to do. Answers when it is looked at again; `None`: when something wakes it.
async fn wakes(w: &World, lane: &Lane) -> Option<i64> {
    let process = Uuid::now_v7();
    hold(w, lane, process).await;
    leave(w, lane, process, Rest::UntilDue, false).await;
    let at = of_row(w, lane, "coalesce(wake_at, -1)").await;
    (at >= 0).then_some(at)
}

/// That it is looked at again so many seconds after it was left.
async fn assert_wakes_after(w: &World, lane: &Lane, seconds: i64, why: &str) {
    let before = Timestamp::now().micros();
    let left = wakes(w, lane).await.unwrap() - seconds * SECOND;
    assert!((before..=Timestamp::now().micros()).contains(&left), "{why}: {} µs off", left - before);
}

/// The contact waits for this step, which is due then; nobody else does.
async fn waits(w: &World, lane: &Lane, position: i32, due_at: i64) {
    w.sql("UPDATE batches SET drained = true", []).await;
    let sql = "UPDATE enrollments SET progress = 'waiting', next_position = $1, due_at = $2, \
               smtp_credential_id = $3 WHERE campaign_id = $4";
    let values = [position.into(), due_at.into(), lane.credential_id.into(), lane.campaign_id.into()];
    assert_eq!(w.sql(sql, values).await, 1);
}

#[tokio::test]
async fn a_lane_is_looked_at_again_when_the_first_of_its_work_falls_due() {
    world(|w| async move {
        let (mine, _) = lanes_of(&w).await;
        let now = Timestamp::now().micros();
        waits(&w, &mine, 2, now + 3 * HOUR).await;
        assert_eq!(wakes(&w, &mine).await, Some(now + 3 * HOUR), "a later step");
        w.sql("UPDATE batches SET drained = false, due_at = $1", [(now + 2 * HOUR).into()]).await;
        assert_eq!(wakes(&w, &mine).await, Some(now + 2 * HOUR), "a batch before it");
        waits(&w, &mine, 1, now + HOUR).await;
        assert_eq!(wakes(&w, &mine).await, Some(now + HOUR), "another try of a first step");
        w.sql("UPDATE campaigns SET status = 'paused'", []).await;
        assert_eq!(wakes(&w, &mine).await, None, "paused");
        w.sql("UPDATE campaigns SET status = 'active'", []).await;
        w.sql("UPDATE enrollments SET progress = 'finished'", []).await;
        w.sql("UPDATE batches SET drained = true", []).await;
        assert_eq!(wakes(&w, &mine).await, None, "nothing is left");
    })
    .await;
}

#[tokio::test]
async fn a_lane_whose_day_is_full_is_looked_at_tomorrow_unless_a_later_step_is_due() {
    world(|w| async move {
        let (mine, _) = lanes_of(&w).await;
        let now = Timestamp::now();
        let tomorrow = Timestamp::from_day(now.day() + 1).micros();
        w.sql("UPDATE smtp_credentials SET daily_limit = 2", []).await;
        let day = "INSERT INTO credential_days (smtp_credential_id, day, account_id, reserved, first_sends) \
                   VALUES ($1, $2, $3, 1, 1)";
        w.sql(day, [mine.credential_id.into(), now.day().into(), mine.account_id.into()]).await;
        waits(&w, &mine, 1, now.micros() - SECOND).await;
        assert_eq!(wakes(&w, &mine).await, Some(tomorrow));
        waits(&w, &mine, 2, now.micros() - SECOND).await;
        assert_wakes_after(&w, &mine, 1, "a later step needs no place in the day").await;
        waits(&w, &mine, 1, now.micros() - SECOND).await;
        w.sql("UPDATE credential_days SET reserved = 0", []).await;
        assert_wakes_after(&w, &mine, 1, "there is room for one").await;
    })
    .await;
}

#[tokio::test]
async fn a_lane_whose_plan_is_used_up_is_looked_at_in_the_next_period() {
    world(|w| async move {
        let (mine, theirs) = lanes_of(&w).await;
        let now = Timestamp::now().micros();
        waits(&w, &mine, 2, now - SECOND).await;
        waits(&w, &theirs, 2, now - SECOND).await;
        w.sql("DELETE FROM account_periods", []).await;
        w.sql("UPDATE plans SET monthly_limit = 100", []).await;
        assert_wakes_after(&w, &mine, 1, "nothing was sent yet").await;
        let period = "INSERT INTO account_periods (account_id, period_start, period_end, sends, reserved) \
                      VALUES ($1, 0, $2, 100, 0)";
        w.sql(period, [mine.account_id.into(), (now + HOUR).into()]).await;
        assert_eq!(wakes(&w, &mine).await, Some(now + HOUR));
        assert_wakes_after(&w, &theirs, 1, "the plan of another account").await;
        w.sql("UPDATE account_periods SET sends = 99, reserved = 1", []).await;
        assert_wakes_after(&w, &mine, 30, "the last place is taken by what may come back").await;
        w.sql("UPDATE account_periods SET sends = 98, reserved = 1", []).await;
        assert_wakes_after(&w, &mine, 1, "one place is left").await;
        w.sql("UPDATE account_periods SET sends = 99, period_end = $1", [(now + 20 * SECOND).into()]).await;
        assert_eq!(wakes(&w, &mine).await, Some(now + 20 * SECOND), "the next period is sooner");
    })
    .await;
}

#[tokio::test]
async fn a_follow_up_waits_for_its_mailbox_which_is_asked_to_be_read() {
    world(|w| async move {
        let (mine, theirs) = lanes_of(&w).await;
        let now = Timestamp::now();
        let (long_ago, later) = (now.minus(FRESH).micros() - SECOND, now.micros() + HOUR);
        let sql = "UPDATE smtp_credentials SET imap_host = 'IMAP.test', imap_port = 993, imap_username = 'me'";
        w.sql(sql, []).await;
        waits(&w, &mine, 2, now.micros() - SECOND).await;
        assert_wakes_after(&w, &mine, 30, "a mailbox that is not known yet").await;
        let mailbox = "INSERT INTO mailboxes (id, account_id, host, port, username, next_poll_at, last_read_at, \
                       created_at) VALUES ($1, $2, 'imap.test', 993, 'me', $3, $4, 0)";
        for (lane, read_at) in [(&mine, long_ago), (&theirs, now.micros())] {
            w.sql(mailbox, [Uuid::now_v7().into(), lane.account_id.into(), later.into(), read_at.into()]).await;
        }
        let polled = async || {
            let sql = "SELECT next_poll_at FROM mailboxes WHERE account_id = $1";
            let at = w.number(sql, [mine.account_id.into()]).await;
            w.sql("UPDATE mailboxes SET next_poll_at = $1", [later.into()]).await;
            at
        };
        assert_wakes_after(&w, &mine, 30, "not read lately").await;
        assert!(polled().await <= Timestamp::now().micros(), "asked to be read now");
        w.sql("UPDATE mailboxes SET failures = 1", []).await;
        assert_wakes_after(&w, &mine, 30, "one that fails").await;
        assert_eq!(polled().await, later, "keeps its waits");
        w.sql("UPDATE mailboxes SET failures = 0", []).await;
        waits(&w, &mine, 2, later + HOUR).await;
        assert_eq!(wakes(&w, &mine).await, Some(later + HOUR), "what is not due yet");
        assert_eq!(polled().await, later, "needs no reading now");
        waits(&w, &mine, 2, now.micros() - SECOND).await;
        w.sql("UPDATE mailboxes SET last_read_at = $1", [now.micros().into()]).await;
        assert_wakes_after(&w, &mine, 1, "read lately").await;
        assert_eq!(polled().await, later);
    })
    .await;
}

#[tokio::test]
async fn failures_are_counted_up_in_trouble_and_forgotten_when_the_server_serves() {
    world(|w| async move {
        let (mine, theirs) = lanes_of(&w).await;
        let later = Timestamp::from_micros(Timestamp::now().micros() + HOUR);
        for (rest, served, failures) in [
            (Rest::Trouble(later), false, 4),
            (Rest::Trouble(later), true, 1),
            (Rest::Pause(later), false, 3),
            (Rest::Pause(later), true, 0),
            (Rest::UntilDue, false, 3),
            (Rest::UntilDue, true, 0),
        ] {
            let process = Uuid::now_v7();
            hold(&w, &mine, process).await;
            leave(&w, &mine, process, rest, served).await;
            assert_eq!(of_row(&w, &mine, "failures").await, failures, "{rest:?}, served: {served}");
        }
        assert_eq!(of_row(&w, &theirs, "failures").await, 0);
    })
    .await;
}

/// A wrong host, say, while its lane tries it once more, or rests because of it.
#[tokio::test]
async fn a_sender_that_is_corrected_is_tried_again_at_once() {
    world(|w| async move {
        let ((mine, theirs), process) = (lanes_of(&w).await, Uuid::now_v7());
        let later = Timestamp::from_micros(Timestamp::now().micros() + HOUR);
        let path = format!("/campaigns/{}/smtp_credentials/{}", mine.campaign_id, mine.credential_id);
        let change = async |fields: serde_json::Value| {
            w.alice.patch(&path, &json!({"smtp_credential": fields})).await.assert_status_ok();
        };
        let correct = async || change(json!({"smtp_password": "again"})).await;
        let rests = async |lane: &Lane| {
            let from = of_row(&w, lane, "next_send_at").await.max(of_row(&w, lane, "wake_at").await);
            (of_row(&w, lane, "failures").await, from > Timestamp::now().micros())
        };
        for lane in [&mine, &theirs] {
            hold(&w, lane, process).await;
            leave(&w, lane, process, Rest::Trouble(later), false).await;
        }
        change(json!({"label": "another"})).await;
        assert_eq!(rests(&mine).await, (4, true), "what failed is as it was");
        correct().await;
        assert_eq!((rests(&mine).await, rests(&theirs).await), ((0, false), (4, true)), "while it rested");
        for served in [false, true] {
            hold(&w, &mine, process).await;
            correct().await;
            leave(&w, &mine, process, Rest::Trouble(later), served).await;
            assert_eq!(rests(&mine).await, (0, false), "while it was at work, served: {served}");
        }
        hold(&w, &mine, process).await;
        correct().await;
        leave(&w, &mine, process, Rest::UntilDue, false).await;
        assert_eq!(of_row(&w, &mine, "failures").await, 0);
    })
    .await;
}

/// A rest that failures made is over with them, a pause between messages is not.
#[tokio::test]
async fn a_correction_shortens_no_pause_between_messages() {
    world(|w| async move {
        let (mine, theirs) = lanes_of(&w).await;
        w.sql("UPDATE campaigns SET min_wait_seconds = 60, max_wait_seconds = 60", []).await;
        let path = format!("/campaigns/{}/smtp_credentials/{}", mine.campaign_id, mine.credential_id);
        let body = json!({"smtp_credential": {"smtp_password": "again"}});
        let before = Timestamp::now().micros();
        let set = "UPDATE smtp_credentials SET next_send_at = $1, failures = $2";
        for (pause, failures) in [(HOUR, 0), (30 * SECOND, 1), (HOUR, 1)] {
            w.sql(set, [(before + pause).into(), failures.into()]).await;
            w.alice.patch(&path, &body).await.assert_status_ok();
            let (left, now) = (of_row(&w, &mine, "next_send_at").await, Timestamp::now().micros());
            let longest = before + 60 * SECOND..=now + 60 * SECOND;
            let kept = left == before + pause;
            assert_eq!((kept, longest.contains(&left)), (pause < 60 * SECOND || failures == 0, !kept));
            assert_eq!(of_row(&w, &theirs, "next_send_at").await, before + pause);
        }
    })
    .await;
}

/// The answer to the first time may have been lost, and the credential enabled since.
#[tokio::test]
async fn a_lane_that_is_no_longer_held_is_not_closed_again() {
    world(|w| async move {
        let (mine, theirs) = lanes_of(&w).await;
        let (process, another) = (Uuid::now_v7(), Uuid::now_v7());
        let disabled = "coalesce(disabled_at, 0)";
        let (_, sender) = program::load(&w.state(), &mine).await.unwrap().unwrap();
        let refused = Rest::Closed { reason: DisabledReason::Auth, tried: sender.tried };
        hold(&w, &mine, process).await;
        leave(&w, &mine, process, refused, false).await;
        assert!(of_row(&w, &mine, disabled).await > 0);
        w.sql("UPDATE smtp_credentials SET disabled_at = NULL, disabled_reason = NULL", []).await;
        leave(&w, &mine, process, refused, false).await;
        assert_eq!(of_row(&w, &mine, disabled).await, 0, "held by nobody");
        hold(&w, &mine, another).await;
        leave(&w, &mine, process, refused, false).await;
        assert_eq!(of_row(&w, &mine, disabled).await, 0, "held by another");
        assert_eq!(
            w.ids("SELECT holder FROM smtp_credentials WHERE holder IS NOT NULL", []).await,
            [another]
        );
        assert_eq!(of_row(&w, &theirs, disabled).await, 0);
    })
    .await;
}

#[tokio::test]
async fn lanes_that_are_awake_are_taken_but_for_those_that_are_being_left() {
    world(|w| async move {
        let (mine, theirs) = lanes_of(&w).await;
        let take = async |most: usize, leaving: &[Uuid]| {
            let (room, now) = (Room::of(most), Timestamp::now());
            let taken = lanes::acquire(&w.db(), Uuid::now_v7(), &room, leaving, now).await.unwrap();
            w.sql("UPDATE smtp_credentials SET holder = NULL", []).await;
            taken.iter().map(|lane| lane.credential_id).collect::<Vec<_>>()
        };
        assert!(take(0, &[]).await.is_empty());
        assert_eq!(take(1, &[]).await.len(), 1, "one more would be one too many at work");
        assert_eq!(take(9, &[]).await.len(), 2);
        assert_eq!(take(9, &[mine.credential_id]).await, [theirs.credential_id]);
        w.sql("UPDATE smtp_credentials SET wake_at = NULL", []).await;
        assert!(take(9, &[]).await.is_empty());
    })
    .await;
}

/// Alice's lane fails and waits longest; bob's serves.
#[tokio::test]
async fn lanes_that_fail_share_the_room_with_the_others_and_are_left_where_their_account_is_crowded() {
    world(|w| async move {
        let (mine, theirs) = lanes_of(&w).await;
        let (failing, serving) = (mine.credential_id, theirs.credential_id);
        let fail = "UPDATE smtp_credentials SET failures = 3, wake_at = 0 WHERE id = $1";
        w.sql(fail, [failing.into()]).await;
        let take = async |all: usize, crowded: &[Uuid]| {
            let (room, now) = (Room { all, failing: all, crowded: crowded.to_vec() }, Timestamp::now());
            let taken = lanes::acquire(&w.db(), Uuid::now_v7(), &room, &[], now).await.unwrap();
            w.sql("UPDATE smtp_credentials SET holder = NULL", []).await;
            taken.iter().map(|lane| lane.credential_id).collect::<Vec<_>>()
        };
        assert_eq!(take(1, &[]).await, [failing], "it waits longest, and there is room for one");
        assert_eq!(take(9, &[]).await, [serving, failing]);
        assert_eq!(take(9, &[mine.account_id]).await, [serving], "its account has its part already");
        assert_eq!(
            take(9, &[theirs.account_id]).await,
            [serving, failing],
            "one that serves is taken all the same"
        );
    })
    .await;
}

#[tokio::test]
async fn what_nobody_works_on_is_freed_and_what_is_at_work_is_not() {
    world(|w| async move {
        let (mine, theirs) = lanes_of(&w).await;
        let process = Uuid::now_v7();
        hold(&w, &mine, process).await;
        hold(&w, &theirs, process).await;
        let db = w.db();
        let idle = async |at_work: &[Uuid]| {
            SystemScope::in_transaction(&db, async |system| {
                lanes::count_idle(system, Idle::Of(process, at_work)).await
            })
            .await
            .unwrap()
        };
        assert_eq!((idle(&[]).await, idle(&[mine.credential_id]).await), (2, 1));
        let at_work = [mine.credential_id];
        let freed = SystemScope::in_transaction(&db, async |system| {
            lanes::free(system, Idle::Of(process, &at_work), Timestamp::now()).await
        });
        assert_eq!(freed.await.unwrap(), 1);
        let held = "SELECT id FROM smtp_credentials WHERE holder IS NOT NULL";
        assert_eq!(w.ids(held, []).await, [mine.credential_id]);
    })
    .await;
}
