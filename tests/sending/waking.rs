//! What a lane gives back, or settles late, wakes those that rest and may take it, and nobody else.

use ampout::{
    clock::Timestamp,
    engine::recover,
    sending::ledger::{Holder, Marking, Outcome, Ticket, Verdict, void},
    tenancy::SystemScope,
};
use rstest::rstest;
use serde_json::{Value as Json, json};
use testkit::{
    sink::{Greeting, Matcher, Point, Sink},
    wait::eventually,
};
use uuid::Uuid;

use crate::support::{
    World,
    campaign::*,
    lane::{HeldLane, claim, with_ledger, with_people},
    world,
};

const HOUR: i64 = 3_600 * 1_000_000;

/// Adds a lane to a campaign of alice's.
async fn add_lane(w: &World, campaign: Uuid, credential: &Json) -> Uuid {
    let path = format!("/campaigns/{campaign}/smtp_credentials");
    let made = w.alice.made(&path, &json!({ "smtp_credential": credential })).await;
    made["id"].as_str().unwrap().parse().unwrap()
}

/// A lane that rests beside one that has claimed both contacts of their campaign; nothing is left in the batch.
struct Beside {
    lane: Uuid,
    tickets: [Ticket; 2],
}

async fn beside(w: &World, mine: &HeldLane) -> Beside {
    let sink = Sink::start().await.unwrap();
    let lane = add_lane(w, mine.campaign, &credential(&sink, "beside@sender.test")).await;
    let claimed = claim(w, mine, 50).await;
    let drained = "SELECT count(*) FROM batches WHERE campaign_id = $1 AND drained";
    assert_eq!(w.number(drained, [mine.campaign.into()]).await, 1);
    w.sql("UPDATE smtp_credentials SET wake_at = NULL", []).await;
    Beside { lane, tickets: [claimed[0].ticket(), claimed[1].ticket()] }
}

impl Beside {
    async fn set(&self, w: &World, change: &str) {
        let sql = format!("UPDATE smtp_credentials SET {change} WHERE id = $1");
        assert_eq!(w.sql(&sql, [self.lane.into()]).await, 1);
    }

    /// When it is looked at; `None`: when something wakes it.
    async fn wakes(&self, w: &World) -> Option<i64> {
        let sql = "SELECT coalesce(wake_at, -1) FROM smtp_credentials WHERE id = $1";
        let at = w.number(sql, [self.lane.into()]).await;
        (at >= 0).then_some(at)
    }

    async fn is_awake(&self, w: &World) -> bool {
        self.wakes(w).await.is_some_and(|at| at <= Timestamp::now().micros())
    }
}

async fn record(w: &World, ticket: Ticket, outcome: Outcome) -> Verdict {
    with_ledger(w, async |ledger| ledger.record(vec![(ticket, outcome)]).await.unwrap()).await[0]
}

async fn give_back(w: &World, ticket: Ticket) {
    assert_eq!(record(w, ticket, Outcome::GivenBack).await, Verdict::Recorded);
}

/// No lane of anybody else is woken.
async fn nobody_else_is_awake(w: &World, beside: &Beside) {
    let awake = "SELECT count(*) FROM smtp_credentials WHERE wake_at IS NOT NULL AND id <> $1 AND campaign_id NOT IN \
                 (SELECT campaign_id FROM smtp_credentials WHERE id = $1)";
    assert_eq!(w.number(awake, [beside.lane.into()]).await, 0);
}

#[tokio::test]
async fn a_first_step_that_is_given_back_wakes_a_lane_that_rests() {
    with_people(2, |w, mine| async move {
        let beside = beside(&w, &mine).await;
        give_back(&w, beside.tickets[0]).await;
        assert!(beside.is_awake(&w).await, "it waited for nothing");
        let later = Timestamp::now().micros() + 72 * HOUR;
        beside.set(&w, &format!("wake_at = {later}")).await;
        give_back(&w, beside.tickets[1]).await;
        assert!(beside.is_awake(&w).await, "it waited for what is due in days");
        nobody_else_is_awake(&w, &beside).await;
    })
    .await;
}

#[tokio::test]
async fn a_lane_whose_day_is_full_is_woken_for_tomorrow() {
    with_people(2, |w, mine| async move {
        let beside = beside(&w, &mine).await;
        let today = Timestamp::now().day();
        let tomorrow = Timestamp::from_day(today + 1).micros();
        beside.set(&w, "daily_limit = 7").await;
        let day = "INSERT INTO credential_days (smtp_credential_id, day, account_id, reserved, first_sends) \
                   VALUES ($1, $2, $3, 3, 4)";
        w.sql(day, [beside.lane.into(), today.into(), mine.account.into()]).await;
        give_back(&w, beside.tickets[0]).await;
        assert_eq!(beside.wakes(&w).await, Some(tomorrow));
        beside.set(&w, "daily_limit = 8").await;
        give_back(&w, beside.tickets[1]).await;
        assert!(beside.is_awake(&w).await, "there is room for one");
    })
    .await;
}

#[rstest]
#[case::rests_from_its_trouble(
    "next_send_at = 9000000000000000, wake_at = 9000000000000000",
    Some(9_000_000_000_000_000)
)]
#[case::is_disabled("disabled_at = 1, disabled_reason = 'auth'", None)]
#[case::is_deleted("deleted_at = 1", None)]
#[case::is_at_work("holder = id", None)]
#[tokio::test]
async fn a_lane_that_could_not_take_it_is_not_woken(#[case] how: &'static str, #[case] wakes: Option<i64>) {
    with_people(2, |w, mine| async move {
        let beside = beside(&w, &mine).await;
        beside.set(&w, how).await;
        give_back(&w, beside.tickets[0]).await;
        assert_eq!(beside.wakes(&w).await, wakes);
    })
    .await;
}

#[tokio::test]
async fn what_nobody_else_may_take_wakes_nobody() {
    with_people(2, |w, mine| async move {
        let beside = beside(&w, &mine).await;
        w.sql("UPDATE deliveries SET attempts = 1 WHERE id = $1", [beside.tickets[0].delivery_id.into()])
            .await;
        give_back(&w, beside.tickets[0]).await;
        assert_eq!(beside.wakes(&w).await, None, "another try stays with its lane");
        w.sql("UPDATE campaigns SET status = 'paused' WHERE id = $1", [mine.campaign.into()]).await;
        give_back(&w, beside.tickets[1]).await;
        assert_eq!(beside.wakes(&w).await, None, "its campaign is paused");
    })
    .await;
}

#[tokio::test]
async fn what_the_dead_had_claimed_wakes_a_lane_that_rests() {
    with_people(2, |w, mine| async move {
        let beside = beside(&w, &mine).await;
        let dead = "INSERT INTO engine_processes (id, name, started_at, heartbeat_at, dead_at) VALUES ($1, 'test', 0, 0, 1)";
        w.sql(dead, [mine.process.into()]).await;
        assert!(recover(&w.state()).await.unwrap());
        assert!(beside.is_awake(&w).await);
        nobody_else_is_awake(&w, &beside).await;
    })
    .await;
}

/// What the outcome is when it comes, and whether anybody is to look.
#[rstest]
#[case::accepted(Outcome::Accepted { reply: "250 ok".into(), provider_id: None }, true)]
#[case::deferred(Outcome::Deferred { reply: "450 later".into() }, true)]
#[case::bounced(Outcome::Bounced { reason: "550 no".into() }, true)]
#[case::never_sent(Outcome::GivenBack, true)]
#[case::still_unknown(Outcome::Uncertain, false)]
#[tokio::test]
async fn what_settles_an_uncertain_message_late_wakes_the_lanes_of_its_campaign(
    #[case] outcome: Outcome,
    #[case] wakes: bool,
) {
    with_people(2, |w, mine| async move {
        let beside = beside(&w, &mine).await;
        let marked = async |ticket| {
            let marking = with_ledger(&w, async |ledger| ledger.mark(None, ticket, [0; 32]).await).await;
            assert!(matches!(marking.unwrap(), Marking::Go(_)));
        };
        marked(beside.tickets[0]).await;
        let holder = Holder::Process(mine.process);
        let voided = async |system: &SystemScope| void(system, holder, Timestamp::now()).await;
        assert_eq!(SystemScope::in_transaction(&w.db(), voided).await.unwrap().len(), 1);
        w.sql("UPDATE smtp_credentials SET wake_at = NULL, holder = NULL", []).await;
        assert_eq!(record(&w, beside.tickets[0], outcome).await, Verdict::Recorded);
        let lanes = "SELECT count(*) FROM smtp_credentials WHERE campaign_id = $1 AND wake_at <= $2";
        let woken = w.number(lanes, [mine.campaign.into(), Timestamp::now().micros().into()]).await;
        assert_eq!(woken, if wakes { 2 } else { 0 });
        nobody_else_is_awake(&w, &beside).await;
    })
    .await;
}

/// What becomes of the lane that has all of them.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Refused,
    SentAway,
    Deleted,
    Sick,
}

#[rstest]
#[case::whose_login_is_refused(End::Refused)]
#[case::whose_server_sends_it_away(End::SentAway)]
#[case::that_is_deleted(End::Deleted)]
#[case::that_is_disabled(End::Sick)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lane_had_claimed_goes_out_by_another_that_had_found_nothing(#[case] end: End) {
    world(|w| async move {
        let (password, people) = (if end == End::Refused { "another" } else { "secret" }, addresses("ok", 7));
        let first = Sink::builder().auth("user", password).start().await.unwrap();
        let second = Sink::start().await.unwrap();
        // Sent away before its greeting, or held with a recipient that is not marked yet.
        let point = if end == End::SentAway { Point::AfterConnect } else { Point::AfterRcpt };
        let point = if end == End::Refused { Point::AfterConnect } else { point };
        let hold = first.hold(point, Matcher::Connection(1));
        if end == End::SentAway {
            first.set_greeting(Greeting::busy());
        }
        let engine = Engine::start(&w.ctx);
        let body = campaign(&[credential(&first, "one@sender.test")], 1);
        let id = dispatched(&w.alice, &body, &people).await;
        let campaign_id: Uuid = id.parse().unwrap();
        hold.reached(DEADLINE).await.unwrap();
        let lane = w.ids("SELECT id FROM smtp_credentials", []).await[0];
        let other = add_lane(&w, campaign_id, &credential(&second, "two@sender.test")).await;
        let at_rest = || async {
            let sql = "SELECT count(*) FROM smtp_credentials c JOIN batches b ON b.campaign_id = c.campaign_id \
                       WHERE c.id = $1 AND c.holder IS NULL AND c.wake_at IS NULL AND b.drained";
            (w.number(sql, [other.into()]).await == 1).then_some(())
        };
        eventually(DEADLINE, at_rest).await.unwrap();
        match end {
            End::Refused | End::SentAway => {}
            End::Deleted => {
                let gone = w.alice.delete(&format!("/campaigns/{id}/smtp_credentials/{lane}")).await;
                assert!(gone.status_code().is_success(), "{}", gone.text());
                // Woken by that, it finds nothing once more.
                eventually(DEADLINE, at_rest).await.unwrap();
            }
            End::Sick => {
                let day = "INSERT INTO credential_days (smtp_credential_id, day, account_id, sends, bounced) \
                           VALUES ($1, $2, $3, 100, 50) ON CONFLICT (smtp_credential_id, day) \
                           DO UPDATE SET sends = 100, bounced = 50";
                let account: Uuid = w.alice.account_id.parse().unwrap();
                w.sql(day, [lane.into(), Timestamp::now().day().into(), account.into()]).await;
                let disabled = "SELECT count(*) FROM smtp_credentials WHERE disabled_at IS NOT NULL";
                let disabled = || async { (w.number(disabled, []).await == 1).then_some(()) };
                eventually(DEADLINE, disabled).await.unwrap();
            }
        }
        hold.release();
        until_status(&w.alice, &id, "completed").await;
        assert_eq!((first.count(), second.count()), (0, 7));
        let theirs = dispatched(&w.bob, &campaign(&[credential(&second, "bob@sender.test")], 1), &people).await;
        until_status(&w.bob, &theirs, "completed").await;
        engine.stop().await;
    })
    .await;
}

/// A process that was taken for dead comes back when its lane has sent all else and rests.
#[rstest]
#[case::it_was_never_sent(Outcome::GivenBack, 1, 1)]
#[case::the_last_step_was_taken(Outcome::Accepted { reply: "250 ok".into(), provider_id: None }, 1, 0)]
#[case::a_step_was_taken_and_another_follows(Outcome::Accepted { reply: "250 ok".into(), provider_id: None }, 2, 1)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_record_completes_its_campaign(
    #[case] outcome: Outcome,
    #[case] steps: i32,
    #[case] messages: usize,
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 3);
        let id =
            dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], steps), &people).await;
        let lane = w.ids("SELECT id FROM smtp_credentials", []).await[0];
        let theirs =
            dispatched(&w.bob, &campaign(&[credential(&sink, "bob@sender.test")], 1), &addresses("bob", 2)).await;
        let process = Uuid::now_v7();
        w.sql("UPDATE smtp_credentials SET holder = $1 WHERE id = $2", [process.into(), lane.into()]).await;
        let (account, campaign) = (w.alice.account_id.parse().unwrap(), id.parse().unwrap());
        let held = HeldLane { account, campaign, lane, process };
        let claimed = claim(&w, &held, 1).await.remove(0);
        let ticket = claimed.ticket();
        with_ledger(&w, async |ledger| ledger.mark(None, ticket, [0; 32]).await).await.unwrap();
        let dead = "INSERT INTO engine_processes (id, name, started_at, heartbeat_at, dead_at) VALUES ($1, 'test', 0, 0, 1)";
        w.sql(dead, [process.into()]).await;
        let engine = Engine::start(&w.ctx);
        let all_else = 2 * i64::from(steps);
        let at_rest = "SELECT count(*) FROM deliveries d JOIN smtp_credentials c ON c.id = d.smtp_credential_id \
                       WHERE c.id = $1 AND c.holder IS NULL AND c.wake_at IS NULL AND d.state = 'sent'";
        let at_rest = || async { (w.number(at_rest, [lane.into()]).await == all_else).then_some(()) };
        eventually(DEADLINE, at_rest).await.unwrap();
        until_status(&w.bob, &theirs, "completed").await;
        assert_eq!(w.alice.seen(&format!("/campaigns/{id}")).await["uncertain"], 1);
        assert_eq!(record(&w, ticket, outcome).await, Verdict::Recorded);
        until_status(&w.alice, &id, "completed").await;
        engine.stop().await;
        assert_eq!(sink.messages_to(&claimed.contact.email).len(), messages);
    })
    .await;
}
