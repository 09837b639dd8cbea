//! What somebody held who is gone: claims are given back, marks become uncertain, and what others hold is left alone.

use ampout::{
    clock::Timestamp,
    engine::{recover, sweep},
    sending::ledger::{Holder, Marking, are_holders_unnamed, bereaved, name_dead_holders, void},
    tenancy::{Conn, SystemScope},
};
use rstest::rstest;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{
    World,
    lane::{HeldLane, claim, with_ledger, with_people},
};

async fn voided(w: &World, holder: Holder) -> Vec<(Uuid, Uuid)> {
    let (db, now) = (w.db(), Timestamp::now());
    SystemScope::in_transaction(&db, async |system| void(system, holder, now).await).await.unwrap()
}

async fn bereaved_now(w: &World) -> Vec<Uuid> {
    bereaved(&SystemScope::new(Conn::Pool(w.db().pool().clone()))).await.unwrap()
}

async fn are_unnamed(w: &World) -> bool {
    are_holders_unnamed(&SystemScope::new(Conn::Pool(w.db().pool().clone()))).await.unwrap()
}

async fn named(w: &World) -> u64 {
    let name = async |system: &SystemScope| name_dead_holders(system).await;
    SystemScope::in_transaction(&w.db(), name).await.unwrap()
}

/// The process that holds the lane, dead or alive.
async fn process(w: &World, mine: &HeldLane, dead: bool) {
    let sql = "INSERT INTO engine_processes (id, name, started_at, heartbeat_at, dead_at) VALUES ($1, 'test', 0, 0, $2)";
    w.sql(sql, [mine.process.into(), dead.then_some(1_i64).into()]).await;
}

async fn in_state(w: &World, state: &str) -> i64 {
    w.number("SELECT count(*) FROM deliveries WHERE state = $1", [state.into()]).await
}

/// Of a version that named the process in the delivery alone, and ran on while this one was there already.
#[tokio::test]
async fn what_the_dead_held_without_saying_so_in_the_enrollment_is_found() {
    with_people(3, |w, mine| async move {
        process(&w, &mine, false).await;
        let claimed = claim(&w, &mine, 2).await;
        with_ledger(&w, async |ledger| ledger.mark(None, claimed[0].ticket(), [0; 32]).await).await.unwrap();
        assert!(!are_unnamed(&w).await, "each says who holds it");
        w.sql("UPDATE enrollments SET process_id = NULL", []).await;
        assert!(are_unnamed(&w).await);
        assert_eq!(named(&w).await, 0, "it lives");
        w.sql("UPDATE engine_processes SET dead_at = 1", []).await;
        assert!(bereaved_now(&w).await.is_empty());
        assert!(recover(&w.state()).await.unwrap());
        assert_eq!((in_state(&w, "uncertain").await, in_state(&w, "queued").await), (1, 1));
        assert!(!are_unnamed(&w).await, "none is held any more");
    })
    .await;
}

/// What one holds is found by its row.
#[tokio::test]
async fn a_process_is_forgotten_a_week_after_its_death_once_it_holds_nothing() {
    const KNOWN: &str = "SELECT count(*) FROM engine_processes";
    with_people(1, |w, mine| async move {
        process(&w, &mine, true).await;
        claim(&w, &mine, 1).await;
        let forgotten = async || sweep(&w.db(), &CancellationToken::new()).await.unwrap().engine_processes;
        w.sql("UPDATE smtp_credentials SET holder = NULL", []).await;
        assert_eq!((forgotten().await, w.number(KNOWN, []).await), (0, 1), "a claim");
        voided(&w, Holder::Dead(mine.account)).await;
        w.sql("UPDATE smtp_credentials SET holder = $1", [mine.process.into()]).await;
        assert_eq!((forgotten().await, w.number(KNOWN, []).await), (0, 1), "a lane");
        w.sql("UPDATE smtp_credentials SET holder = NULL", []).await;
        assert_eq!((forgotten().await, w.number(KNOWN, []).await), (1, 0));
    })
    .await;
}

#[rstest]
#[case::of_a_process(|mine: HeldLane| Holder::Process(mine.process), false)]
#[case::of_a_lane(|mine: HeldLane| Holder::Lane(mine.process, mine.lane), false)]
#[case::of_the_dead_of_an_account(|mine: HeldLane| Holder::Dead(mine.account), true)]
#[tokio::test]
async fn claims_are_given_back_and_marks_become_uncertain(
    #[case] holder: fn(HeldLane) -> Holder,
    #[case] dead: bool,
) {
    with_people(3, |w, mine| async move {
        process(&w, &mine, dead).await;
        let claimed = claim(&w, &mine, 2).await;
        let marking =
            with_ledger(&w, async |ledger| ledger.mark(None, claimed[0].ticket(), [0; 32]).await).await;
        assert!(matches!(marking.unwrap(), Marking::Go(_)));
        let strangers = HeldLane { account: Uuid::now_v7(), process: Uuid::now_v7(), ..mine };
        assert!(voided(&w, holder(strangers)).await.is_empty());
        assert!(voided(&w, Holder::Lane(mine.process, Uuid::now_v7())).await.is_empty());
        assert_eq!(bereaved_now(&w).await, if dead { vec![mine.account] } else { vec![] });
        if !dead {
            assert!(voided(&w, Holder::Dead(mine.account)).await.is_empty(), "it lives");
        }
        assert_eq!((in_state(&w, "sending").await, in_state(&w, "claimed").await), (1, 1));
        assert_eq!(voided(&w, holder(mine)).await, [(mine.account, mine.campaign)]);
        assert_eq!((in_state(&w, "uncertain").await, in_state(&w, "queued").await), (1, 1));
        let totals = "SELECT uncertain FROM campaign_totals WHERE campaign_id = $1";
        assert_eq!(w.number(totals, [mine.campaign.into()]).await, 1);
        let reserved = "SELECT reserved FROM account_periods WHERE account_id = $1";
        assert_eq!(w.number(reserved, [mine.account.into()]).await, 1, "of the one that is uncertain");
        assert!(voided(&w, holder(mine)).await.is_empty(), "once");
        assert!(bereaved_now(&w).await.is_empty());
    })
    .await;
}
