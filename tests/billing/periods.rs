//! Periods: Stripe's while a subscription is active, else the calendar month. What changes between them loses no send and
//! counts none twice, also while messages are on their way.

use ampout::{
    clock::{Timestamp, new_id},
    models::{periods, test_messages},
    tenancy::SystemScope,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::stripe::subscription;

use super::{DAY, assert_disjoint, began, now, paid, running, tell};
use crate::support::{
    Client, World,
    billing::{customer, paying},
    rows::Rows,
};

async fn seen(client: &Client) -> Value {
    client.seen("/billing/subscription").await["current_period"].clone()
}

fn shown(seconds: i64) -> String {
    Timestamp::from_seconds(seconds).to_string()
}

/// Says that the account has sent so many messages in its current period.
async fn sent(w: &World, client: &Client, count: i64) {
    let account = client.account_id.parse().unwrap();
    SystemScope::in_transaction(&w.db(), async |system| {
        let scope = system.account(account);
        let period = periods::lock(&scope, Timestamp::now()).await?;
        let sql = "UPDATE account_periods SET sends = sends + $3 WHERE account_id = $1 AND period_start = $2";
        scope.execute(sql, [period.start.micros().into(), count.into()]).await?;
        Ok::<_, ampout::errors::ApiError>(())
    })
    .await
    .unwrap();
}

async fn total(w: &World, column: &str) -> i64 {
    w.number(&format!("SELECT CAST(coalesce(sum({column}), 0) AS bigint) FROM account_periods"), []).await
}

#[tokio::test]
async fn the_month_gives_way_to_the_subscription_and_comes_back() {
    paying(|w, stripe| async move {
        let month = Timestamp::now();
        let (first, next) = (month.month_start().to_string(), month.next_month_start().to_string());
        assert_eq!(seen(&w.alice).await, json!({"start": first, "end": next, "sends_count": 0}));
        sent(&w, &w.alice, 7).await;
        sent(&w, &w.bob, 5).await;
        let (start, end) = running();
        let active = subscription("sub_1", &customer(&w.alice), "price_hobby", "active", (start, end));
        tell(&w, &stripe, &active).await;
        let own = json!({"start": shown(start), "end": shown(end), "sends_count": 0});
        assert_eq!(seen(&w.alice).await, own, "a subscription begins with nothing sent");
        sent(&w, &w.alice, 11).await;
        let usage = w.alice.seen("/billing/usage").await;
        assert_eq!(usage["monthly_limit"], 5_000);
        assert_eq!(usage["current"]["sends_count"], 11);
        assert_eq!(usage["current"]["period_start"], shown(start).as_str());
        let before = json!([{"period_start": first, "period_end": shown(start), "sends_count": 7}]);
        assert_eq!(usage["history"], before);
        // It is ended at once: what was sent stays counted until the month is over.
        let mut ended = active.clone();
        ended["status"] = json!("canceled");
        tell(&w, &stripe, &ended).await;
        assert_eq!(seen(&w.alice).await, json!({"start": shown(start), "end": next, "sends_count": 11}));
        assert_eq!(seen(&w.bob).await, json!({"start": first, "end": next, "sends_count": 5}));
        assert_eq!(total(&w, "sends").await, 23);
        assert_disjoint(&w).await;
    })
    .await;
}

#[tokio::test]
async fn a_renewal_begins_anew_and_its_repetition_does_not() {
    paying(|w, stripe| async move {
        let own = customer(&w.alice);
        let old = (now() - 30 * DAY, now() - 30);
        let next = (now() - 30, now() + 30 * DAY);
        tell(&w, &stripe, &subscription("sub_1", &own, "price_hobby", "active", old)).await;
        // Stripe has not said yet that it goes on: a period of the same length is assumed.
        sent(&w, &w.alice, 3).await;
        assert_eq!(seen(&w.alice).await["start"], shown(next.0).as_str());
        for _ in 0..3 {
            tell(&w, &stripe, &subscription("sub_1", &own, "price_hobby", "active", next)).await;
        }
        let period = json!({"start": shown(next.0), "end": shown(next.1), "sends_count": 3});
        assert_eq!(seen(&w.alice).await, period);
        assert_disjoint(&w).await;
    })
    .await;
}

#[tokio::test]
async fn a_subscription_that_is_heard_of_late_takes_what_was_sent_in_it() {
    paying(|w, stripe| async move {
        sent(&w, &w.alice, 9).await;
        // It began before the month did.
        let began = Timestamp::now().month_start().seconds() - 5 * DAY;
        let active =
            subscription("sub_1", &customer(&w.alice), "price_hobby", "active", (began, now() + DAY));
        tell(&w, &stripe, &active).await;
        let period = json!({"start": shown(began), "end": shown(now() + DAY), "sends_count": 9});
        let seen = seen(&w.alice).await;
        assert_eq!((&seen["start"], &seen["sends_count"]), (&period["start"], &period["sends_count"]));
        assert_eq!(total(&w, "sends").await, 9);
        assert_disjoint(&w).await;
    })
    .await;
}

#[tokio::test]
async fn twelve_ended_periods_are_shown_the_last_one_first() {
    paying(|w, _stripe| async move {
        let account: uuid::Uuid = w.alice.account_id.parse().unwrap();
        let first = Timestamp::now().month_start().seconds();
        for nth in 1..=14_i64 {
            let sql = "INSERT INTO account_periods (account_id, period_start, period_end, sends) VALUES ($1, $2, $3, $4)";
            let moment = |nth: i64| (first - nth * 28 * DAY) * 1_000_000;
            w.sql(sql, [account.into(), moment(nth).into(), moment(nth - 1).into(), nth.into()]).await;
        }
        let history = w.alice.seen("/billing/usage").await["history"].clone();
        let counts: Vec<_> = history.as_array().unwrap().iter().map(|one| one["sends_count"].clone()).collect();
        assert_eq!(json!(counts), json!((1..=12).collect::<Vec<_>>()));
        assert_eq!(w.bob.seen("/billing/usage").await["history"], json!([]));
    })
    .await;
}

/// A test message of the account, with its send reserved.
async fn reserve(w: &World, rows: &Rows) -> test_messages::Model {
    let message = test_messages::Model {
        id: new_id(),
        run_id: None,
        reserved_period: None,
        state: ampout::models::states::TestState::Claimed,
        ..rows.test_message.clone()
    };
    let db = w.db();
    let stored = SystemScope::in_transaction(&db, async |system| {
        let scope = system.account(rows.account_id);
        test_messages::claim(&scope, vec![message.clone()], Timestamp::now()).await
    });
    stored.await.unwrap().remove(0)
}

async fn record(
    w: &World,
    message: &test_messages::Model,
    marked: bool,
    state: ampout::models::states::TestState,
) {
    let db = w.db();
    if marked {
        // In a transaction of its own, as it is done: it locks the campaign, and periods come before campaigns.
        let done = SystemScope::in_transaction(&db, async |system| {
            test_messages::mark(&system.account(message.account_id), message, &[1; 32]).await
        });
        assert!(done.await.unwrap());
    }
    let done = SystemScope::in_transaction(&db, async |system| {
        test_messages::record(&system.account(message.account_id), message, marked, state, None).await
    });
    done.await.unwrap();
}

#[tokio::test]
async fn what_is_on_its_way_is_settled_where_it_was_reserved() {
    use ampout::models::states::TestState::{Failed, Sent, Uncertain};
    paying(|w, stripe| async move {
        let rows = Rows::of(w.alice.account_id.parse().unwrap());
        rows.store(&w.ctx.db).await;
        w.sql("DELETE FROM test_messages", []).await;
        let mut early = vec![];
        for _ in 0..3 {
            early.push(reserve(&w, &rows).await);
        }
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_hobby", "active")).await;
        let late = reserve(&w, &rows).await;
        assert_ne!(early[0].reserved_period, late.reserved_period);
        record(&w, &early[0], true, Sent).await;
        record(&w, &early[1], false, Failed).await;
        record(&w, &early[2], true, Uncertain).await;
        record(&w, &late, true, Sent).await;
        let of = |period: Option<Timestamp>| {
            let w = w.clone();
            async move {
                let start = period.unwrap().micros();
                let sql = "SELECT sends * 10 + reserved FROM account_periods WHERE period_start = $1";
                w.number(sql, [start.into()]).await
            }
        };
        // One sent, and one that keeps its place; then one sent.
        assert_eq!((of(early[0].reserved_period).await, of(late.reserved_period).await), (11, 10));
        assert_eq!(seen(&w.alice).await["sends_count"], 1);
        assert_disjoint(&w).await;
    })
    .await;
}

/// Many count while the subscription begins, goes on and ends: none is lost, none counted twice, no limit passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counted_by_many_while_periods_change_every_send_is_counted_once() {
    use ampout::models::states::TestState::Sent;
    paying(|w, stripe| async move {
        let rows = Rows::of(w.alice.account_id.parse().unwrap());
        rows.store(&w.ctx.db).await;
        w.sql("DELETE FROM test_messages", []).await;
        let counting = join_all((0..8).map(|_| async {
            for _ in 0..5 {
                let message = reserve(&w, &rows).await;
                record(&w, &message, true, Sent).await;
            }
        }));
        let changing = async {
            for nth in 0..6_i64 {
                let status = if nth % 3 == 2 { "canceled" } else { "active" };
                let (start, end) = began(nth);
                let id = format!("sub_{}", nth / 3);
                let shown = subscription(&id, &customer(&w.alice), "price_hobby", status, (start, end));
                tell(&w, &stripe, &shown).await;
            }
        };
        tokio::join!(counting, changing);
        assert_eq!((total(&w, "sends").await, total(&w, "reserved").await), (40, 0));
        assert_disjoint(&w).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opened_by_many_at_once_there_is_one_period() {
    paying(|w, _stripe| async move {
        let both = [&w.alice, &w.bob].map(|client| client.account_id.parse().unwrap());
        let db = w.db();
        let open = |_| {
            SystemScope::in_transaction(&db, async |system| {
                periods::open_all(system, &both, Timestamp::now()).await
            })
        };
        for done in join_all((0..8).map(open)).await {
            done.unwrap();
        }
        assert_eq!(w.number("SELECT count(*) FROM account_periods", []).await, 2);
    })
    .await;
}
