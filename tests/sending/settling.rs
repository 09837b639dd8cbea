//! What a commit of the ledger makes of several asks: each is decided on what was there before it.

use ampout::sending::ledger::{Ledger, Marking, Outcome, Ticket, Verdict};

use crate::support::{
    World,
    lane::{HeldLane, claim, in_one_commit, with_ledger, with_people},
};

const FREE: [u8; 32] = [0; 32];
const SUPPRESSED: [u8; 32] = [1; 32];

async fn only(w: &World, mine: &HeldLane) -> Ticket {
    let claimed = claim(w, mine, 1).await;
    claimed[0].ticket()
}

async fn state(w: &World, ticket: Ticket, state: &str) -> bool {
    let sql = "SELECT count(*) FROM deliveries WHERE id = $1 AND state = $2";
    w.number(sql, [ticket.delivery_id.into(), state.into()]).await == 1
}

/// A sum over alice's rows of a table.
async fn sum(w: &World, mine: &HeldLane, column: &str, table: &str) -> i64 {
    let sql = format!("SELECT CAST(sum({column}) AS bigint) FROM {table} WHERE account_id = $1");
    w.number(&sql, [mine.account.into()]).await
}

fn accepted() -> Outcome {
    Outcome::Accepted { reply: "250 ok".into(), provider_id: None }
}

#[tokio::test]
async fn of_two_marks_of_one_delivery_one_goes() {
    with_people(1, |w, mine| async move {
        let ticket = only(&w, &mine).await;
        let mark = async |ledger: Ledger| ledger.mark(None, ticket, FREE).await.unwrap();
        let (first, second) = in_one_commit(&w, mark, mark).await;
        assert!(matches!(first, Marking::Go(_)), "{first:?}");
        assert!(matches!(second, Marking::Stopped(Verdict::LostLease)), "{second:?}");
        assert!(state(&w, ticket, "sending").await);
    })
    .await;
}

#[tokio::test]
async fn of_two_marks_to_different_addresses_none_goes_where_one_is_suppressed() {
    for addresses in [[FREE, SUPPRESSED], [SUPPRESSED, FREE]] {
        with_people(1, |w, mine| async move {
            let suppress = "INSERT INTO suppressions (account_id, email_hash, created_at) VALUES ($1, $2, 0)";
            w.sql(suppress, [mine.account.into(), SUPPRESSED.to_vec().into()]).await;
            let ticket = only(&w, &mine).await;
            let [one, other] = addresses;
            let (first, second) = in_one_commit(
                &w,
                async |ledger| ledger.mark(None, ticket, one).await.unwrap(),
                async |ledger| ledger.mark(None, ticket, other).await.unwrap(),
            )
            .await;
            assert!(matches!(first, Marking::Stopped(Verdict::Skipped)), "{first:?}");
            assert!(matches!(second, Marking::Stopped(Verdict::LostLease)), "{second:?}");
            assert!(state(&w, ticket, "skipped").await);
            let totals = "campaign_totals";
            let counts = (
                sum(&w, &mine, "unsubscribed", totals).await,
                sum(&w, &mine, "pending", totals).await,
                sum(&w, &mine, "reserved", "account_periods").await,
            );
            assert_eq!(counts, (1, 0, 0), "counted once");
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_recorded_twice_counts_once() {
    with_people(1, |w, mine| async move {
        let ticket = only(&w, &mine).await;
        with_ledger(&w, async |ledger| ledger.mark(None, ticket, FREE).await.unwrap()).await;
        let (first, second) = in_one_commit(
            &w,
            async |ledger| ledger.record(vec![(ticket, accepted())]).await.unwrap(),
            async |ledger| ledger.record(vec![(ticket, Outcome::Uncertain)]).await.unwrap(),
        )
        .await;
        assert_eq!((first, second), (vec![Verdict::Recorded], vec![Verdict::LostLease]));
        assert!(state(&w, ticket, "sent").await);
        let counts = (
            sum(&w, &mine, "sends", "account_periods").await,
            sum(&w, &mine, "reserved", "account_periods").await,
            sum(&w, &mine, "uncertain", "campaign_totals").await,
        );
        assert_eq!(counts, (1, 0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_is_marked_is_not_given_back_by_the_same_commit() {
    with_people(1, |w, mine| async move {
        let ticket = only(&w, &mine).await;
        let (marking, given_back) = in_one_commit(
            &w,
            async |ledger| ledger.mark(None, ticket, FREE).await.unwrap(),
            async |ledger| ledger.record(vec![(ticket, Outcome::GivenBack)]).await.unwrap(),
        )
        .await;
        assert!(matches!(marking, Marking::Go(_)), "{marking:?}");
        assert_eq!(given_back, [Verdict::LostLease]);
        assert!(state(&w, ticket, "sending").await);
        assert_eq!(sum(&w, &mine, "reserved", "account_periods").await, 1);
    })
    .await;
}

/// What comes back after that was never about the next try.
#[tokio::test]
async fn what_came_back_for_a_try_says_nothing_of_the_next_one() {
    with_people(1, |w, mine| async move {
        let ticket = only(&w, &mine).await;
        with_ledger(&w, async |ledger| ledger.mark(None, ticket, FREE).await.unwrap()).await;
        w.sql("UPDATE deliveries SET heard = 'arrived' WHERE state = 'sending'", []).await;
        let deferred = Outcome::Deferred { reply: "451 later".into() };
        with_ledger(&w, async |ledger| ledger.record(vec![(ticket, deferred)]).await.unwrap()).await;
        assert!(state(&w, ticket, "deferred").await);
        assert_eq!(w.number("SELECT count(*) FROM deliveries WHERE heard IS NOT NULL", []).await, 0);
        w.sql("UPDATE enrollments SET due_at = 0 WHERE due_at IS NOT NULL", []).await;
        let again = only(&w, &mine).await;
        with_ledger(&w, async |ledger| ledger.mark(None, again, FREE).await.unwrap()).await;
        with_ledger(&w, async |ledger| ledger.record(vec![(again, Outcome::Uncertain)]).await.unwrap()).await;
        assert!(state(&w, again, "uncertain").await);
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_of_one_ask_holds_up_no_other() {
    with_people(3, |w, mine| async move {
        let claimed = claim(&w, &mine, 3).await;
        // Nobody can claim what was sent, though its enrollment waits.
        let sent = "UPDATE deliveries SET state = 'sent' WHERE id = $1";
        w.sql(sent, [claimed[2].delivery_id.into()]).await;
        let waits = "UPDATE enrollments SET progress = 'waiting', due_at = 0 WHERE id = $1";
        w.sql(waits, [claimed[2].enrollment_id.into()]).await;
        let refused = async |ledger: Ledger| ledger.claim(mine.want(1)).await;
        let mark = async |ledger: Ledger, nth: usize| ledger.mark(None, claimed[nth].ticket(), FREE).await;
        let (first, second) = in_one_commit(&w, refused, async |ledger| mark(ledger, 0).await).await;
        assert!(first.is_err() && matches!(second.unwrap(), Marking::Go(_)));
        let (first, second) = in_one_commit(&w, async |ledger| mark(ledger, 1).await, refused).await;
        assert!(matches!(first.unwrap(), Marking::Go(_)) && second.is_err());
    })
    .await;
}
