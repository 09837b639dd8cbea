//! Requests and the ledger at once: on PostgreSQL they lock the same rows, and none may wait for another in a circle.

use std::time::Duration;

use ampout::{
    clock::{Timestamp, new_id},
    inbox::lease::{self, Left},
    models::{periods, states::Progress},
};
use axum_test::TestResponse;
use futures_util::future::join_all;
use serde_json::{Value as Json, json};
use testkit::{sink::Sink, wait::eventually};
use uuid::Uuid;

use super::engine_process;
use crate::support::{
    World,
    campaign::*,
    held::Held,
    rows::{self, Rows},
    world,
};

const LANES: usize = 6;
const PEOPLE: usize = 90;
const ROUNDS: usize = 12;

fn assert_answered(what: &str, answer: &TestResponse) {
    assert!(!answer.status_code().is_server_error(), "{what}: {} {}", answer.status_code(), answer.text());
}

async fn hold_and_go_on(w: &World, id: &str) {
    for _ in 0..ROUNDS {
        for call in ["pause", "resume", "dispatch"] {
            assert_answered(call, &w.alice.post(&format!("/campaigns/{id}/{call}"), &json!({})).await);
        }
    }
}

async fn change_credentials(w: &World, id: &str, lanes: &[Json]) {
    for round in 0..ROUNDS {
        for lane in lanes {
            let path = format!("/campaigns/{id}/smtp_credentials/{}", lane["id"].as_str().unwrap());
            let body = json!({ "smtp_credential": { "label": format!("round {round}") } });
            assert_answered("credential", &w.alice.patch(&path, &body).await);
        }
    }
}

async fn open_all(w: &World, enrollments: &[Uuid]) {
    let account = w.alice.account_id.parse().unwrap();
    let keys = w.state().link_keys;
    for enrollment in enrollments {
        let pixel = ampout::crypto::links::open_url("", &keys, account, *enrollment);
        assert_answered("open", &w.server.get(&pixel).await);
    }
}

async fn delete_some(w: &World, contacts: &[Uuid]) {
    for contact in contacts {
        assert_answered("delete", &w.alice.delete(&format!("/contacts/{contact}")).await);
    }
}

async fn settle_some(w: &World, id: &str) {
    for round in 0..ROUNDS {
        let uncertain = w.alice.seen(&format!("/campaigns/{id}/deliveries?state=uncertain&limit=3")).await;
        for row in uncertain.as_array().unwrap() {
            let path = format!("/campaigns/{id}/deliveries/{}/resolve", row["id"].as_str().unwrap());
            let word = if round % 2 == 0 { "sent" } else { "resend" };
            assert_answered("resolve", &w.alice.post(&path, &json!({ "as": word })).await);
        }
    }
}

/// The path of alice's own webhook for her mail provider.
async fn hook(w: &World) -> String {
    let account = w.alice.seen("/account").await;
    let url = account["inbound_webhooks"]["smtp2go"].as_str().unwrap().to_owned();
    url[url.find("/inbound/").unwrap()..].to_owned()
}

/// Of people whose messages are uncertain: what they say settles a send, and stops what they are enrolled in.
async fn complain(w: &World, people: &[String]) {
    let path = hook(w).await;
    for _ in 0..ROUNDS {
        for person in people {
            let report = json!({ "event": "spam", "rcpt": person });
            assert_answered("complaint", &w.server.post(&path).json(&report).await);
        }
    }
}

async fn lanes_of(w: &World, id: &str) -> Vec<Json> {
    w.alice.seen(&format!("/campaigns/{id}/smtp_credentials")).await.as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_two_engines_never_wait_for_each_other_in_a_circle() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let lanes: Vec<_> = (0..LANES).map(|n| credential(&sink, &format!("lane{n}@sender.test"))).collect();
        let mut people = addresses("ok", PEOPLE);
        people.extend(addresses("close-after-dot", 4));
        let mut campaigns = vec![];
        for _ in 0..2 {
            campaigns.push(
                w.alice.made("/campaigns", &campaign(&lanes, 2)).await["id"].as_str().unwrap().to_owned(),
            );
        }
        let list = import(&w.alice, &people).await;
        for id in &campaigns {
            let body = json!({ "contact_import_id": list, "batch_size": 10 });
            w.alice.made(&format!("/campaigns/{id}/enroll"), &body).await;
            w.alice.made(&format!("/campaigns/{id}/dispatch"), &json!({ "batch_number": 1 })).await;
        }
        w.sql("UPDATE plans SET monthly_limit = 100000", []).await;
        let one = engine_process(&w).start().unwrap();
        let two = engine_process(&w).start().unwrap();
        let enrollments = w.ids("SELECT id FROM enrollments ORDER BY contact_id, id", []).await;
        let contacts = w.ids("SELECT id FROM contacts ORDER BY id", []).await;
        let (w, enrollments, contacts) = (&w, &enrollments, &contacts);
        let doubtful = &people[PEOPLE..];
        let all = join_all(campaigns.iter().map(|id| async move {
            let lanes = lanes_of(w, id).await;
            tokio::join!(
                hold_and_go_on(w, id),
                change_credentials(w, id, &lanes),
                open_all(w, enrollments),
                delete_some(w, &contacts[..20]),
                settle_some(w, id),
            );
        }));
        tokio::join!(all, complain(w, doubtful));
        for output in [one.output(), two.output()] {
            assert!(!output.contains("deadlock"), "{output}");
        }
        let held = "SELECT count(*) FROM deliveries WHERE state IN ('claimed', 'sending')";
        for id in &campaigns {
            w.alice.post(&format!("/campaigns/{id}/pause"), &json!({})).await;
        }
        eventually(DEADLINE, || async { (w.number(held, []).await == 0).then_some(()) }).await.unwrap();
        for person in &people[..PEOPLE] {
            assert!(sink.messages_to(person).len() <= 4, "{person}: two steps of two campaigns");
        }
    })
    .await;
}

/// A complaint settles an uncertain message's send and stops campaigns: the periods come before the campaigns, as they do
/// for a ledger, which may have one of them and want the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complaint_about_an_uncertain_message_locks_periods_before_campaigns() {
    world(|w| async move {
        let mut mine = Rows::of(w.alice.account_id.parse().unwrap());
        mine.delivery.reserved_period = Some(mine.period.period_start);
        mine.store(&w.ctx.db).await;
        rows::insert(&w.ctx.db, &mine.period).await.unwrap();
        Rows::of(w.bob.account_id.parse().unwrap()).store(&w.ctx.db).await;
        let path = hook(&w).await;
        let report = json!({ "event": "spam", "rcpt": mine.contacts[0].email });
        let held = Held::begin(&w).await;
        if let Some(held) = &held {
            periods::hold_all(&held.system.account(mine.account_id)).await.unwrap();
        }
        let complaint = async { w.server.post(&path).json(&report).await.assert_status_ok() };
        let looking = async {
            let Some(held) = held else { return };
            held.is_waited_for(&w).await;
            let campaigns = "SELECT id FROM campaigns WHERE account_id = $1 FOR UPDATE NOWAIT";
            let free = held.system.account(mine.account_id).query(campaigns, []).await;
            assert!(free.is_ok(), "the complaint has the campaign, and waits for the period: {free:?}");
            held.commit().await;
        };
        tokio::join!(complaint, looking);
        let settled = "SELECT count(*) FROM deliveries WHERE state = 'sent' AND account_id = $1";
        assert_eq!(w.number(settled, [mine.account_id.into()]).await, 1);
        let stopped = "SELECT count(*) FROM contacts WHERE unsubscribed_at IS NOT NULL AND id = $1";
        assert_eq!(w.number(stopped, [mine.contacts[0].id.into()]).await, 1);
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE state = 'uncertain'", []).await, 1);
    })
    .await;
}

/// Two lanes of one campaign that name one mailbox, which is due.
async fn lanes_of_a_mailbox(w: &World, account: &str) -> (Rows, Uuid) {
    let mut rows = Rows::of(account.parse().unwrap());
    rows.seal_passwords(&w.state().sealer);
    rows.enrollments[0].progress = Progress::Waiting;
    rows.credential.wake_at = None;
    (rows.mailbox.leased_until, rows.mailbox.last_read_at) = (None, None);
    rows.store(&w.ctx.db).await;
    let other = rows::smtp_credentials::Model { id: new_id(), ..rows.credential.clone() };
    rows::insert(&w.ctx.db, &other).await.unwrap();
    (rows, other.id)
}

/// Whoever changes a lane changes its mailbox and the other lanes of the campaign too; whoever reads the mailbox wakes lanes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_a_lane_locks_the_other_lanes_before_the_mailbox() {
    world(|w| async move {
        let (mine, other) = lanes_of_a_mailbox(&w, &w.alice.account_id).await;
        let (theirs, _) = lanes_of_a_mailbox(&w, &w.bob.account_id).await;
        let path = format!("/campaigns/{}/smtp_credentials/{}", mine.campaign.id, mine.credential.id);
        let moved = json!({ "smtp_credential": { "imap_username": "another" } });
        for deleted in [false, true] {
            let held = Held::begin(&w).await;
            if let Some(held) = &held {
                let lane = "SELECT id FROM smtp_credentials WHERE id = $1 FOR UPDATE";
                held.system.query(lane, [other.into()]).await.unwrap();
            }
            let changing = async {
                let answer =
                    if deleted { w.alice.delete(&path).await } else { w.alice.patch(&path, &moved).await };
                answer.assert_status_ok();
            };
            let looking = async {
                let Some(held) = held else { return };
                held.is_waited_for(&w).await;
                let free = held.system.query("SELECT id FROM mailboxes FOR UPDATE NOWAIT", []).await;
                assert!(free.is_ok(), "it has the mailbox, and waits for a lane: {free:?}");
                held.commit().await;
            };
            tokio::join!(changing, looking);
        }
        let names = "SELECT count(*) FROM mailboxes WHERE account_id = $1";
        assert_eq!(w.number(names, [mine.account_id.into()]).await, 1, "the other's");
        assert_eq!(w.number(names, [theirs.account_id.into()]).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_a_mailbox_waits_for_no_lane() {
    world(|w| async move {
        let (mine, other) = lanes_of_a_mailbox(&w, &w.alice.account_id).await;
        lanes_of_a_mailbox(&w, &w.bob.account_id).await;
        w.sql(
            "UPDATE enrollments SET smtp_credential_id = $1 WHERE account_id = $2",
            [other.into(), mine.account_id.into()],
        )
        .await;
        w.sql(
            "UPDATE mailboxes SET next_poll_at = $1 WHERE account_id <> $2",
            [i64::MAX.into(), mine.account_id.into()],
        )
        .await;
        let held = Held::begin(&w).await;
        if let Some(held) = &held {
            held.system.query("SELECT id FROM smtp_credentials FOR UPDATE", []).await.unwrap();
        }
        let db = w.db();
        let leave = async || {
            let claimed = lease::claim(&db, new_id(), 1, &[], Timestamp::now()).await.unwrap();
            let left = Left::Read(Timestamp::now());
            lease::leave(&db, &claimed[0], &left, Duration::ZERO, Timestamp::now()).await.unwrap();
        };
        let woken = "SELECT count(*) FROM smtp_credentials WHERE wake_at IS NOT NULL";
        leave().await;
        let Some(held) = held else {
            assert_eq!(w.number(woken, []).await, 1);
            return;
        };
        assert_eq!(w.number(woken, []).await, 0, "it looks again by itself");
        held.commit().await;
        let left = "SELECT count(*) FROM mailboxes WHERE lease_token IS NULL";
        assert_eq!(w.number(left, []).await, 1);
        leave().await;
        assert_eq!(w.number(woken, []).await, 1, "the lane that waits, of this account");
    })
    .await;
}
