//! What the ledger locks, in which order, and how long it waits for it on PostgreSQL. SQLite has one writer and no locks of
//! rows: there the same calls just succeed.

use std::fmt::Debug;

use ampout::{
    clock::Timestamp,
    models::periods,
    sending::{
        lanes::{self, Lane, Rest},
        ledger::{Holder, Marking, Owner, Ticket, Verdict, lock_soon, void},
    },
    tenancy::SystemScope,
};
use uuid::Uuid;

use crate::support::{
    World,
    campaign::DEADLINE,
    held::Held,
    lane::{FRESH, HeldLane, claim, with_ledger, with_people},
};

const DAY: i64 = 24 * 3_600 * 1_000_000;

/// A period of the account that ended so many days ago.
async fn ended(w: &World, account: Uuid, days: i64) -> i64 {
    let end = Timestamp::now().micros() - days * DAY;
    let sql = "INSERT INTO account_periods (account_id, period_start, period_end) VALUES ($1, $2, $3)";
    w.sql(sql, [account.into(), (end - DAY).into(), end.into()]).await;
    end - DAY
}

/// Locks one period.
async fn hold_period(w: &World, account: Uuid, start: i64) -> Option<Held> {
    let held = Held::begin(w).await?;
    let sql = "SELECT sends FROM account_periods WHERE account_id = $1 AND period_start = $2 FOR UPDATE";
    held.system.query(sql, [account.into(), start.into()]).await.unwrap();
    Some(held)
}

/// Locks alice's campaign.
async fn hold_campaign(w: &World, mine: &HeldLane) -> Option<Held> {
    let held = Held::begin(w).await?;
    let sql = "SELECT id FROM campaigns WHERE id = $1 FOR UPDATE";
    held.system.query(sql, [mine.campaign.into()]).await.unwrap();
    Some(held)
}

/// What comes of something that waits for what is held, which is let go then.
async fn behind<T, E: Debug>(w: &World, held: Option<Held>, done: impl AsyncFn() -> Result<T, E>) -> T {
    let looking = async {
        let Some(held) = held else { return };
        held.is_waited_for(w).await;
        held.commit().await;
    };
    let (first, ()) = tokio::join!(done(), looking);
    // It may have given up before it was let go.
    if let Ok(first) = first { first } else { done().await.unwrap() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_locks_the_periods_of_its_account_of_the_last_two_months() {
    with_people(2, |w, mine| async move {
        let claimed = claim(&w, &mine, 2).await;
        let mark = async |nth: usize| {
            let ticket = claimed[nth].ticket();
            with_ledger(&w, async |ledger| ledger.mark(None, ticket, [0; 32]).await).await
        };
        let (recent, old) = (ended(&w, mine.account, 61).await, ended(&w, mine.account, 63).await);
        let held = hold_period(&w, mine.account, old).await;
        assert!(matches!(mark(0).await.unwrap(), Marking::Go(_)), "nobody counts in it any more");
        if let Some(held) = held {
            held.commit().await;
        }
        let held = hold_period(&w, mine.account, recent).await;
        assert!(matches!(behind(&w, held, async || mark(1).await).await, Marking::Go(_)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_waits_for_its_campaign() {
    with_people(1, |w, mine| async move {
        let ticket = claim(&w, &mine, 1).await[0].ticket();
        let row = "SELECT count(*) FROM deliveries WHERE id = $1 AND account_id = $2 AND campaign_id = $3";
        let owner = ticket.owner;
        let values = [ticket.delivery_id.into(), owner.account_id.into(), owner.campaign_id.into()];
        assert_eq!(w.number(row, values).await, 1, "its owner is that of its row");
        let mark = async || with_ledger(&w, async |ledger| ledger.mark(None, ticket, [0; 32]).await).await;
        let held = hold_campaign(&w, &mine).await;
        assert!(matches!(behind(&w, held, mark).await, Marking::Go(_)));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_changed_of_another_than_was_locked() {
    with_people(1, |w, mine| async move {
        let ticket = claim(&w, &mine, 1).await[0].ticket();
        let Owner { account_id, campaign_id } = ticket.owner;
        let others = [
            Owner { account_id, campaign_id: Uuid::now_v7() },
            Owner { account_id: Uuid::now_v7(), campaign_id },
        ];
        for owner in others {
            let ticket = Ticket { owner, ..ticket };
            let marking = with_ledger(&w, async |ledger| ledger.mark(None, ticket, [0; 32]).await).await;
            assert!(matches!(marking.unwrap(), Marking::Stopped(Verdict::LostLease)));
        }
        let claimed = "SELECT count(*) FROM deliveries WHERE id = $1 AND state = 'claimed'";
        assert_eq!(w.number(claimed, [ticket.delivery_id.into()]).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_held_is_voided_when_its_campaign_is_free() {
    with_people(2, |w, mine| async move {
        assert_eq!(claim(&w, &mine, 2).await.len(), 2);
        let (db, holder) = (w.db(), Holder::Process(mine.process));
        let voided = async || {
            SystemScope::in_transaction(&db, async |system| void(system, holder, Timestamp::now()).await)
                .await
        };
        let held = hold_campaign(&w, &mine).await;
        assert_eq!(behind(&w, held, voided).await, [(mine.account, mine.campaign)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_locks_its_period_before_its_campaign_and_its_lane() {
    with_people(2, |w, mine| async move {
        assert_eq!(claim(&w, &mine, 1).await.len(), 1, "which begins the period");
        let held = Held::begin(&w).await;
        if let Some(held) = &held {
            periods::hold_all(&held.system.account(mine.account)).await.unwrap();
        }
        let claiming = with_ledger(&w, async |ledger| ledger.claim(mine.want(1)).await);
        let looking = async {
            let Some(held) = held else { return };
            held.is_waited_for(&w).await;
            let rows = "SELECT k.id FROM campaigns k JOIN smtp_credentials s ON s.campaign_id = k.id \
                        WHERE k.id = $1 FOR UPDATE NOWAIT";
            let free = held.system.query(rows, [mine.campaign.into()]).await;
            assert!(free.is_ok(), "the claim has one of them, and waits for the period: {free:?}");
            held.commit().await;
        };
        let (claimed, ()) = tokio::join!(claiming, looking);
        // It may have given up before it was let go.
        let claimed = if let Ok(claimed) = claimed { claimed } else { claim(&w, &mine, 1).await };
        assert_eq!(claimed.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_batch_whose_first_steps_somebody_holds_is_left_for_another_look() {
    with_people(2, |w, mine| async move {
        if let Some(held) = Held::begin(&w).await {
            held.system.query("SELECT id FROM enrollments FOR UPDATE", []).await.unwrap();
            assert!(claim(&w, &mine, 2).await.is_empty());
            assert_eq!(w.number("SELECT count(*) FROM batches WHERE drained", []).await, 0);
            held.commit().await;
        }
        assert_eq!(claim(&w, &mine, 2).await.len(), 2);
    })
    .await;
}

async fn leave(w: &World, mine: &HeldLane) -> bool {
    let lane =
        Lane { credential_id: mine.lane, campaign_id: mine.campaign, account_id: mine.account, failures: 0 };
    let (db, rest) = (w.db(), Rest::Pause(Timestamp::now()));
    let left = lanes::release(&db, mine.process, &lane, (&rest, false), FRESH);
    tokio::time::timeout(DEADLINE, left)
        .await
        .expect("it waits for as long as the campaign is locked")
        .is_ok()
}

#[tokio::test]
async fn a_lane_is_not_left_while_its_campaign_is_locked_and_nobody_waits_for_that_long() {
    with_people(1, |w, mine| async move {
        let holder = "SELECT count(*) FROM smtp_credentials WHERE id = $1 AND holder IS NOT NULL";
        if let Some(held) = hold_campaign(&w, &mine).await {
            assert!(!leave(&w, &mine).await, "its rows were changed under a lock of somebody else");
            assert_eq!(w.number(holder, [mine.lane.into()]).await, 1);
            // A request may wait ten times as long.
            lock_soon(&held.system).await.unwrap();
            let patience = "SELECT current_setting('lock_timeout') AS patience";
            let patience = held.system.query_one(patience, []).await.unwrap().unwrap();
            assert_eq!(patience.try_get::<String>("", "patience").unwrap(), "500ms");
            held.commit().await;
        }
        assert!(leave(&w, &mine).await);
        assert_eq!(w.number(holder, [mine.lane.into()]).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_waits_for_whoever_changes_its_contact_and_heeds_what_was_changed() {
    with_people(2, |w, mine| async move {
        let claimed = claim(&w, &mine, 1).await;
        let unsubscribe = "UPDATE contacts SET unsubscribed_at = $1 WHERE account_id = $2";
        let values = [Timestamp::now().micros().into(), mine.account.into()];
        let held = Held::begin(&w).await;
        if let Some(held) = &held {
            held.system.execute(unsubscribe, values).await.unwrap();
        } else {
            w.sql(unsubscribe, values).await;
        }
        let ticket = claimed[0].ticket();
        let mark = async || with_ledger(&w, async |ledger| ledger.mark(None, ticket, [0; 32]).await).await;
        assert!(matches!(behind(&w, held, mark).await, Marking::Stopped(Verdict::Skipped)));
    })
    .await;
}
