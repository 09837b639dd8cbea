//! What the rows of an account say of its mailboxes, and nothing of another's.

use std::time::Duration;

use ampout::{
    clock::{Timestamp, new_id},
    engine::Process,
    inbox::lease::{self, Leased, Left},
    models::{mailboxes, states::DeliveryState},
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    World,
    rows::{self, Rows},
    world,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_is_read_from_the_first_day_of_any_of_its_credentials() {
    world(|w| async move {
        let db = &w.ctx.db;
        let mut mine = Rows::of(w.alice.account_id.parse().unwrap());
        mine.delivery.state = DeliveryState::Queued;
        mine.store(db).await;
        let mut theirs = Rows::of(w.bob.account_id.parse().unwrap());
        theirs.day.day = 19_999;
        theirs.store(db).await;
        // So many newer ones name it that whoever looks at some of them misses the oldest.
        for number in 0..210 {
            let newer = rows::smtp_credentials::Model { id: new_id(), ..mine.credential.clone() };
            rows::insert(db, &newer).await.unwrap();
            let day = rows::credential_days::Model {
                smtp_credential_id: newer.id,
                day: 20_001 + number,
                ..mine.day.clone()
            };
            rows::insert(db, &day).await.unwrap();
        }
        let reads = w.state().reads();
        let (alice, bob) = (reads.account(mine.account_id), reads.account(theirs.account_id));
        assert!(!mailboxes::has_sent(&alice, mine.mailbox.id).await.unwrap(), "it is queued");
        assert!(!mailboxes::has_sent(&alice, theirs.mailbox.id).await.unwrap());
        assert!(mailboxes::has_sent(&bob, theirs.mailbox.id).await.unwrap());
        for state in ["sending", "sent", "bounced", "uncertain", "deferred"] {
            let sql = format!("UPDATE deliveries SET state = '{state}' WHERE account_id = $1");
            alice.execute(&sql, []).await.unwrap();
            assert!(mailboxes::has_sent(&alice, mine.mailbox.id).await.unwrap(), "{state}");
        }
        let first = |day| Some(Timestamp::from_day(day));
        assert_eq!(mailboxes::first_send(&alice, mine.mailbox.id).await.unwrap(), first(20_000));
        assert_eq!(mailboxes::first_send(&bob, theirs.mailbox.id).await.unwrap(), first(19_999));
        assert_eq!(mailboxes::first_send(&bob, mine.mailbox.id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_mails_that_are_skipped_those_that_come_are_asked_for() {
    world(|w| async move {
        let mine = Rows::of(w.alice.account_id.parse().unwrap());
        mine.store(&w.ctx.db).await;
        Rows::of(w.bob.account_id.parse().unwrap()).store(&w.ctx.db).await;
        let validity = u32::try_from(mine.parked.uid_validity).unwrap();
        let uid = u32::try_from(mine.parked.uid).unwrap();
        let counted =
            rows::parked_mails::Model { id: new_id(), uid: 7, parked_at: None, ..mine.parked.clone() };
        rows::insert(&w.ctx.db, &counted).await.unwrap();
        let alice = w.state().reads().account(mine.account_id);
        let after = async |uid| mailboxes::parked(&alice, mine.mailbox.id, validity, uid).await.unwrap();
        assert_eq!(after(0).await, [uid].into());
        assert_eq!(after(uid - 1).await, [uid].into());
        assert_eq!(after(uid).await, [].into());
        let other = mailboxes::parked(&alice, mine.mailbox.id, validity - 1, 0).await.unwrap();
        assert_eq!(other, [].into(), "of another numbering");
    })
    .await;
}

#[tokio::test]
async fn no_more_mailboxes_are_taken_than_are_asked_for() {
    world(|w| async move {
        let now = Timestamp::now();
        for client in [&w.alice, &w.bob] {
            let rows = Rows::of(client.account_id.parse().unwrap());
            rows.store(&w.ctx.db).await;
        }
        w.sql("UPDATE mailboxes SET process_id = NULL, lease_token = NULL, leased_until = NULL", []).await;
        let take = async |most| {
            let taken = lease::claim(&w.db(), new_id(), most, &[], now).await.unwrap();
            taken.iter().map(|mailbox| mailbox.account_id.to_string()).collect::<Vec<_>>()
        };
        assert!(take(0).await.is_empty());
        let first = take(1).await;
        assert_eq!(first.len(), 1);
        let second = take(9).await;
        assert_eq!(second.len(), 1, "the other one");
        assert_ne!(first, second);
        assert!(take(9).await.is_empty());
    })
    .await;
}

const EVERY: Duration = Duration::from_secs(120);

/// A mailbox of each account, due and held by nobody.
async fn due(w: &World) -> [Rows; 2] {
    let rows = [&w.alice, &w.bob].map(|client| {
        let mut rows = Rows::of(client.account_id.parse().unwrap());
        rows.seal_passwords(&w.state().sealer);
        rows.mailbox.failures = 0;
        (rows.mailbox.process_id, rows.mailbox.lease_token, rows.mailbox.leased_until) = (None, None, None);
        rows.mailbox.next_poll_at = Timestamp(1);
        rows
    });
    for one in &rows {
        one.store(&w.ctx.db).await;
    }
    rows
}

/// The mailboxes that a process gets at this time.
async fn claimed(w: &World, process: Uuid, now: Timestamp) -> Vec<Leased> {
    lease::claim(&w.db(), process, 9, &[], now).await.unwrap()
}

async fn process(w: &World) -> Process {
    Process::register(&w.db(), "reader", Duration::from_secs(30)).await.unwrap()
}

async fn dies(w: &World, process: Process) {
    w.sql("UPDATE engine_processes SET dead_at = 1 WHERE id = $1", [process.id.into()]).await;
}

#[tokio::test]
async fn a_corrected_password_is_tried_although_the_old_one_fails_after_it() {
    world(|w| async move {
        let [mine, theirs] = due(&w).await;
        let reader = process(&w).await;
        let held = claimed(&w, reader.id, Timestamp::now()).await;
        assert_eq!(held.len(), 2);
        let path = format!("/campaigns/{}/smtp_credentials/{}", mine.campaign.id, mine.credential.id);
        let corrected = json!({ "smtp_credential": { "imap_password": "corrected" } });
        w.alice.patch(&path, &corrected).await.assert_status_ok();
        let failed = Left::Failed("auth_failed");
        for leased in &held {
            lease::leave(&w.db(), leased, &failed, EVERY, Timestamp::now()).await.unwrap();
        }
        let again = claimed(&w, reader.id, Timestamp::now()).await;
        let again: Vec<_> = again.iter().map(|leased| (leased.account_id, leased.failures)).collect();
        assert_eq!(again, [(mine.account_id, 0)], "hers is due, as if nothing had failed");
        let failures = "SELECT failures FROM mailboxes WHERE account_id = $1";
        assert_eq!(w.number(failures, [theirs.account_id.into()]).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_mailbox_whose_reading_ends_processes_is_left_alone_longer_each_time() {
    world(|w| async move {
        let [mine, _] = due(&w).await;
        let mut now = Timestamp::now();
        let mut holder = process(&w).await;
        for leased in claimed(&w, holder.id, now).await {
            if leased.account_id != mine.account_id {
                lease::leave(&w.db(), &leased, &Left::Idle, EVERY * 100, now).await.unwrap();
            }
        }
        for (failures, wait) in [(1, 10), (2, 20), (3, 40)] {
            dies(&w, holder).await;
            holder = process(&w).await;
            let due_at = now.plus(Duration::from_secs(wait));
            let early = claimed(&w, holder.id, due_at.minus(Duration::from_micros(1))).await;
            assert!(early.is_empty(), "within {wait} s");
            let held = claimed(&w, holder.id, due_at).await;
            let seen: Vec<_> = held.iter().map(|leased| (leased.account_id, leased.failures)).collect();
            assert_eq!(seen, [(mine.account_id, failures)], "after {wait} s");
            now = due_at;
            if failures == 3 {
                lease::leave(&w.db(), &held[0], &Left::Read(now), EVERY, now).await.unwrap();
            }
        }
        let left = claimed(&w, holder.id, now.plus(EVERY)).await;
        let seen: Vec<_> = left.iter().map(|leased| (leased.account_id, leased.failures)).collect();
        assert_eq!(seen, [(mine.account_id, 0)], "it was read to its end");
    })
    .await;
}

#[tokio::test]
async fn what_is_given_back_is_due_at_once_and_did_not_fail() {
    world(|w| async move {
        due(&w).await;
        let (first, second) = (process(&w).await, process(&w).await);
        assert_eq!(claimed(&w, first.id, Timestamp::now()).await.len(), 2);
        lease::free(&w.db(), first.id).await.unwrap();
        let again = claimed(&w, second.id, Timestamp::now()).await;
        assert_eq!(again.iter().map(|leased| leased.failures).collect::<Vec<_>>(), [0, 0]);
    })
    .await;
}
