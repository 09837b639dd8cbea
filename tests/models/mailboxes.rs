//! What the rows of an account say of its mailboxes, and nothing of another's.

use ampout::{
    clock::{Timestamp, new_id},
    inbox::lease,
    models::{mailboxes, states::DeliveryState},
};

use crate::support::{
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
