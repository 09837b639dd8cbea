//! A change of plan acts at once: more is let go within a poll, less stops what is above it and says so.

use ampout::{clock::Timestamp, models::plans, tenancy::SystemScope};
use axum::http::StatusCode;
use serde_json::json;
use testkit::{sink::Sink, wait::eventually};
use uuid::Uuid;

use super::{assert_disjoint, paid, standing, tell, test_send};
use crate::{
    faults::{engine_process, heir_process},
    support::{World, billing::paying, campaign::*},
};

async fn waiting(w: &World, id: &str, reason: &str) {
    let path = format!("/campaigns/{id}/enrollments?status=pending&limit=1");
    eventually(DEADLINE, || async {
        let rows = w.alice.seen(&path).await;
        (rows[0]["waiting_reason"] == reason).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_lets_waiting_sends_go_within_a_poll() {
    paying(|w, stripe| async move {
        let sink = Sink::start().await.unwrap();
        // Two more than the free plan allows: they wait for weeks, or for this.
        let people = addresses("ok", 102);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let engine = engine_process(&w).start().unwrap();
        sink.wait_for(100, DEADLINE).await.unwrap();
        waiting(&w, &id, "plan_limit").await;
        let asleep = "SELECT count(*) FROM smtp_credentials WHERE holder IS NULL AND wake_at >= $1";
        let now = Timestamp::now();
        let soon = now.plus(std::time::Duration::from_secs(3600)).min(now.next_month_start()).micros();
        eventually(DEADLINE, || async { (w.number(asleep, [soon.into()]).await == 1).then_some(()) })
            .await
            .unwrap();
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_hobby", "active")).await;
        until_status(&w.alice, &id, "completed").await;
        assert_eq!(sink.count(), 102);
        let usage = w.alice.seen("/billing/usage").await;
        assert_eq!(
            (&usage["current"]["sends_count"], &usage["history"][0]["sends_count"]),
            (&json!(2), &json!(100))
        );
        assert_disjoint(&w).await;
        drop(engine);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_downgrade_below_what_was_sent_stops_and_says_so() {
    paying(|w, stripe| async move {
        let sink = Sink::start().await.unwrap();
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_pro", "active")).await;
        let one = campaign(&[credential(&sink, "one@sender.test")], 1);
        let first = dispatched(&w.alice, &one, &addresses("ok", 3)).await;
        let engine = Engine::start(&w.ctx);
        until_status(&w.alice, &first, "completed").await;
        engine.stop().await;
        // As if it were five thousand more.
        w.sql("UPDATE account_periods SET sends = sends + 5000", []).await;
        let people = addresses("later", 2);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "two@sender.test")], 1), &people).await;
        let three = campaign(&[credential(&sink, "three@sender.test")], 1);
        let more = enrolled(&w.alice, &three, &addresses("more", 1)).await;
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_hobby", "active")).await;
        let engine = Engine::start(&w.ctx);
        waiting(&w, &id, "plan_limit").await;
        for refused in [
            w.alice.post(&format!("/campaigns/{more}/dispatch"), &json!({})).await,
            w.alice.post(&format!("/campaigns/{more}/test_send"), &test_send()).await,
        ] {
            assert_eq!(refused.status_code(), StatusCode::PAYMENT_REQUIRED);
            let body: serde_json::Value = refused.json();
            assert_eq!(body["code"], "plan_limit_reached");
            let details = json!({"current_period_sends": 5003, "monthly_limit": 5000, "plan_slug": "hobby"});
            assert_eq!(body["details"], details);
        }
        // The lane has looked and gone to sleep.
        let asleep = "SELECT count(*) FROM smtp_credentials WHERE holder IS NULL AND wake_at >= $1";
        let now = Timestamp::now();
        let soon = now.plus(std::time::Duration::from_secs(3600)).min(now.next_month_start()).micros();
        eventually(DEADLINE, || async { (w.number(asleep, [soon.into()]).await == 1).then_some(()) })
            .await
            .unwrap();
        assert_eq!(sink.count(), 3);
        engine.stop().await;
    })
    .await;
}

/// Two engines send while the subscription begins: whatever is counted where, it is counted once, and nobody is written
/// to twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_begins_while_two_engines_send_loses_and_doubles_nothing() {
    paying(|w, stripe| async move {
        let sink = Sink::start().await.unwrap();
        let lanes: Vec<_> = (0..4).map(|n| credential(&sink, &format!("lane{n}@sender.test"))).collect();
        let people = addresses("ok", 160);
        let id = dispatched(&w.alice, &campaign(&lanes, 1), &people).await;
        let _one = engine_process(&w).start().unwrap();
        let _two = engine_process(&w).start().unwrap();
        sink.wait_for(30, DEADLINE).await.unwrap();
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_hobby", "active")).await;
        until_status(&w.alice, &id, "completed").await;
        for person in &people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        let sum = "SELECT CAST(sum(sends) * 1000 + sum(reserved) AS bigint) FROM account_periods";
        assert_eq!(w.number(sum, []).await, 160_000);
        let usage = w.alice.seen("/billing/usage").await;
        let before = usage["history"][0]["sends_count"].as_i64().unwrap();
        assert!((1..=100).contains(&before), "{usage}");
        assert_eq!(usage["current"]["sends_count"], 160 - before);
        assert_disjoint(&w).await;
    })
    .await;
}

/// An engine is killed with a marked message while the period changes: it keeps its place where it was reserved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncertain_message_keeps_its_place_in_the_period_that_ended() {
    paying(|w, stripe| async move {
        let sink = Sink::start().await.unwrap();
        let people = addresses("ok", 5);
        let id = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let engine = engine_process(&w);
        let marker = engine.path("held");
        let armed = format!("smtp-after-dot=2*off->return({})", marker.display());
        let mut held = engine.env("FAILPOINTS", armed).start().unwrap();
        held.wait_for_file("held", DEADLINE).await.unwrap();
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_hobby", "active")).await;
        held.kill_9().await.unwrap();
        let _again = heir_process(&w).start().unwrap();
        let path = format!("/campaigns/{id}/deliveries?limit=100");
        eventually(DEADLINE, || async {
            let rows = w.alice.seen(&path).await;
            let rows = rows.as_array().unwrap().clone();
            let count = |state: &str| rows.iter().filter(|row| row["state"] == state).count();
            (count("sent") == 4 && count("uncertain") == 1).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(sink.count(), 5);
        let usage = w.alice.seen("/billing/usage").await;
        let before = usage["history"][0]["sends_count"].as_i64().unwrap();
        assert_eq!(before + usage["current"]["sends_count"].as_i64().unwrap(), 4, "{usage}");
        let kept = "SELECT reserved FROM account_periods WHERE period_end <= $1";
        assert_eq!(w.number(kept, [Timestamp::now().micros().into()]).await, 1);
        let taken = "SELECT CAST(sum(reserved) AS bigint) FROM account_periods";
        assert_eq!(w.number(taken, []).await, 1);
        let uncertain = w.alice.seen(&format!("/campaigns/{id}/deliveries?state=uncertain")).await;
        let resolve = format!("/campaigns/{id}/deliveries/{}/resolve", uncertain[0]["id"].as_str().unwrap());
        w.alice.made(&resolve, &json!({"as": "sent"})).await;
        let after = w.alice.seen("/billing/usage").await;
        assert_eq!(after["history"][0]["sends_count"], before + 1);
        assert_eq!(w.number(taken, []).await, 0);
        assert_disjoint(&w).await;
    })
    .await;
}

#[tokio::test]
async fn an_operator_assigns_plans_that_no_subscription_gives() {
    paying(|w, stripe| async move {
        let assign = async |client: &crate::support::Client, slug: &str| {
            let account: Uuid = client.account_id.parse().unwrap();
            SystemScope::in_transaction(&w.db(), async |system| {
                plans::assign(system, account, slug, Timestamp::now()).await
            })
            .await
        };
        let private = "INSERT INTO plans (id, slug, name, tier, monthly_limit, public, created_at) \
                       VALUES ($1, 'house', 'House', 9, 9, false, 0)";
        w.sql(private, [ampout::clock::new_id().into()]).await;
        assert!(assign(&w.alice, "house").await.unwrap());
        assert!(!assign(&w.alice, "house").await.unwrap());
        assert_eq!(standing(&w.alice).await, ("house".into(), json!(null)));
        assert_eq!(standing(&w.bob).await.0, "free");
        assert_eq!(assign(&w.alice, "none").await.unwrap_err().code, ampout::errors::Code::PlanNotFound);
        // Events about what never gave a plan leave it.
        tell(&w, &stripe, &paid(&w.alice, "sub_1", "price_pro", "incomplete_expired")).await;
        assert_eq!(standing(&w.alice).await.0, "house");
        tell(&w, &stripe, &paid(&w.alice, "sub_2", "price_pro", "active")).await;
        assert_eq!(standing(&w.alice).await.0, "pro");
        assert_eq!(assign(&w.alice, "house").await.unwrap_err().code, ampout::errors::Code::Unprocessable);
    })
    .await;
}
