//! What owners are told: most and all of the period's sends used, once each; a failed payment, once per invoice.

use ampout::{
    billing::{inbound, notices},
    clock::Timestamp,
    mailers::{Envelope, Mail},
    models::periods,
    tenancy::SystemScope,
};
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use testkit::stripe::event;

use super::{paid, tell};
use crate::support::{
    Client, World,
    billing::{customer, paying, send_event},
};

/// The mails that wait to be sent, in the order of their storing.
async fn mails(w: &World) -> Vec<Envelope> {
    let sql = "SELECT args FROM jobs WHERE name = 'SendSystemMail' ORDER BY id";
    let statement = Statement::from_string(w.ctx.db.get_database_backend(), sql);
    let rows = w.ctx.db.query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| serde_json::from_str(&row.try_get::<String>("", "args").unwrap()).unwrap())
        .collect()
}

/// Marks that owners were told of.
async fn told(w: &World) -> Vec<(String, i32, i64)> {
    let told = mails(w).await.into_iter().map(|envelope| match envelope.mail {
        Mail::PlanUsage { percent, limit, .. } => (envelope.account_id.to_string(), percent, limit),
        other @ (Mail::Welcome
        | Mail::CredentialDisabled { .. }
        | Mail::CampaignPaused { .. }
        | Mail::PaymentFailed { .. }) => panic!("{other:?}"),
    });
    told.collect()
}

async fn set_sends(w: &World, client: &Client, sends: i64) {
    let account = client.account_id.parse().unwrap();
    SystemScope::in_transaction(&w.db(), async |system| {
        let scope = system.account(account);
        let period = periods::lock(&scope, Timestamp::now()).await?;
        let sql = "UPDATE account_periods SET sends = $3 WHERE account_id = $1 AND period_start = $2";
        scope.execute(sql, [period.start.micros().into(), sends.into()]).await?;
        Ok::<_, ampout::errors::ApiError>(())
    })
    .await
    .unwrap();
}

async fn look(w: &World) -> usize {
    notices::tell_of_usage(&w.db(), Timestamp::now()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mark_is_told_once_in_a_period() {
    paying(|w, stripe| async move {
        set_sends(&w, &w.alice, 79).await;
        set_sends(&w, &w.bob, 3).await;
        assert_eq!(look(&w).await, 0);
        set_sends(&w, &w.alice, 80).await;
        let db = w.db();
        let many = join_all((0..4).map(|_| notices::tell_of_usage(&db, Timestamp::now()))).await;
        assert_eq!(many.into_iter().map(Result::unwrap).sum::<usize>(), 1);
        set_sends(&w, &w.alice, 99).await;
        assert_eq!(look(&w).await, 0);
        set_sends(&w, &w.alice, 100).await;
        assert_eq!((look(&w).await, look(&w).await), (1, 0));
        let alice = w.alice.account_id.clone();
        assert_eq!(told(&w).await, [(alice.clone(), 80, 100), (alice.clone(), 100, 100)]);
        // A larger plan and its own period: both again.
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_hobby", "active")).await;
        w.sql("DELETE FROM jobs", []).await;
        assert_eq!(look(&w).await, 0);
        set_sends(&w, &w.alice, 4_000).await;
        assert_eq!((look(&w).await, look(&w).await), (1, 0));
        // More is allowed in the same period: what was told is not told again.
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_pro", "active")).await;
        set_sends(&w, &w.alice, 20_000).await;
        assert_eq!(look(&w).await, 0);
        set_sends(&w, &w.alice, 25_000).await;
        assert_eq!((look(&w).await, look(&w).await), (1, 0));
        assert_eq!(told(&w).await, [(alice.clone(), 80, 5_000), (alice, 100, 25_000)]);
    })
    .await;
}

#[tokio::test]
async fn who_passes_both_marks_between_two_looks_is_told_of_the_second() {
    paying(|w, _stripe| async move {
        set_sends(&w, &w.bob, 100).await;
        assert_eq!((look(&w).await, look(&w).await), (1, 0));
        assert_eq!(told(&w).await, [(w.bob.account_id.clone(), 100, 100)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_that_fails_again_and_again_is_told_once() {
    paying(|w, stripe| async move {
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_hobby", "past_due")).await;
        w.sql("DELETE FROM jobs", []).await;
        let failed = |id: &str, invoice: &str| {
            let object = json!({"id": invoice, "customer": customer(&w.alice), "subscription": "sub_1"});
            event(id, "invoice.payment_failed", &object)
        };
        let ids = ["evt_1", "evt_2", "evt_3"];
        for id in ids {
            send_event(&w, &failed(id, "in_1")).await.assert_status_ok();
        }
        let state = w.state();
        let done = join_all(ids.iter().chain(&ids).map(|id| inbound::apply(&state, id))).await;
        // Of two at once one may have to try again.
        assert!(done.iter().any(Result::is_ok));
        for id in ids {
            inbound::apply(&state, id).await.unwrap();
        }
        send_event(&w, &failed("evt_4", "in_2")).await.assert_status_ok();
        inbound::apply(&state, "evt_4").await.unwrap();
        let told =
            mails(&w).await.into_iter().map(|envelope| (envelope.account_id.to_string(), envelope.mail));
        let alice = w.alice.account_id.clone();
        let mail = |invoice: &str| Mail::PaymentFailed { invoice: invoice.into(), plan: "hobby".into() };
        assert_eq!(told.collect::<Vec<_>>(), [(alice.clone(), mail("in_1")), (alice, mail("in_2"))]);
        // Weeks later, when the first mail and its job are gone.
        w.sql("DELETE FROM jobs", []).await;
        send_event(&w, &failed("evt_5", "in_1")).await.assert_status_ok();
        inbound::apply(&state, "evt_5").await.unwrap();
        assert_eq!(mails(&w).await, []);
    })
    .await;
}
