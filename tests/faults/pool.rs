//! All connections of the pool are taken: a clear answer in time, and nothing half done.

use axum_test::TestResponse;
use rstest::rstest;
use sea_orm::{DatabaseTransaction, DbBackend, TransactionTrait};
use serde_json::{Value, json};
use testkit::{
    sink::{Matcher, Point, Sink},
    wait::eventually,
};

use crate::support::{
    Client, World,
    campaign::*,
    campaigns::{credential as lane, step},
    world,
};

/// As many as the pool of a test has (`support::world`).
const CONNECTIONS: usize = 6;

/// All connections, as soon as those who have one are done with it.
async fn all_taken(w: &World) -> Vec<DatabaseTransaction> {
    let mut taken = vec![];
    for _ in 0..CONNECTIONS {
        taken.push(w.ctx.db.begin().await.unwrap());
    }
    taken
}

/// Asks Alice's account for something, always with the same key.
async fn post(w: &World, path: &str, body: &Value) -> TestResponse {
    let request = w.server.post(path).authorization_bearer(&w.alice.key);
    request.add_header("Idempotency-Key", "once").json(body).await
}

/// Refused for a moment.
fn is_refused(answer: &TestResponse) {
    assert_eq!(answer.status_code(), 503, "{}", answer.text());
    assert_eq!(answer.json::<Value>()["code"], "service_unavailable");
    assert!(answer.header("retry-after").to_str().unwrap().parse::<u32>().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_exhausted_pool_requests_are_refused_for_a_moment_and_change_nothing() {
    world(|w| async move {
        let taken = all_taken(&w).await;
        let body = json!({ "outreach": { "name": "One" } });
        let (made, read, status) =
            tokio::join!(post(&w, "/outreaches", &body), w.bob.get("/outreaches"), async {
                w.server.get("/status").await
            },);
        for answer in [&made, &read, &status] {
            is_refused(answer);
        }
        drop(taken);
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 0);
        assert_eq!(w.number("SELECT count(*) FROM idempotency_keys", []).await, 0, "no 5xx is stored");
        let again = post(&w, "/outreaches", &body).await;
        assert_eq!(again.status_code(), 201, "{}", again.text());
        assert_eq!(w.number("SELECT count(*) FROM outreaches", []).await, 1);
    })
    .await;
}

/// On PostgreSQL what a test send stores goes through the pool. On SQLite it does not: what writes has a connection of its
/// own.
#[rstest]
#[case::before_the_mark(Point::AfterRcpt, "claimed", "sent", (1, 0))]
#[case::behind_the_final_dot(Point::AfterDot, "sending", "failed", (0, 1))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exhausted_in_the_middle_of_a_test_send_the_pool_costs_no_mail_and_doubles_none(
    #[case] point: Point,
    #[case] left: &'static str,
    #[case] told: &'static str,
    #[case] counted: (i64, i64),
) {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let mut lane = lane();
        lane["smtp_port"] = json!(sink.port());
        let body =
            json!({"campaign": {"name": "T", "smtp_credentials": [lane], "sequence_steps": [step(1)]}});
        let id = w.alice.made("/campaigns", &body).await["id"].as_str().unwrap().to_owned();
        let (path, body) = (format!("/campaigns/{id}/test_send"), json!({"emails": ["me@example.com"]}));
        let hold = sink.hold(point, Matcher::Any);
        let (answer, taken) = tokio::join!(post(&w, &path, &body), async {
            hold.reached(DEADLINE).await.unwrap();
            let taken = all_taken(&w).await;
            hold.release();
            taken
        });
        drop(taken);

        let of_state = "SELECT count(*) FROM test_messages WHERE state = $1";
        let postgres = w.db().backend() == DbBackend::Postgres;
        if postgres {
            is_refused(&answer);
            assert_eq!(w.number(of_state, [left.into()]).await, 1);
            assert_eq!(w.number("SELECT reserved FROM account_periods", []).await, 1, "it keeps its place");
            // Nobody could say that the run is over. As if its lease had run out.
            let running = "UPDATE idempotency_keys SET locked_until = 0 WHERE status IS NULL";
            assert_eq!(w.sql(running, []).await, 1);
        } else {
            assert_eq!(answer.status_code(), 200, "{}", answer.text());
        }

        let again = post(&w, &path, &body).await;
        assert_eq!(again.status_code(), 200, "{}", again.text());
        assert_eq!(again.maybe_header("idempotent-replayed").is_some(), !postgres);
        let (told, counted) = if postgres { (told, counted) } else { ("sent", (1, 0)) };
        assert_eq!(again.json::<Value>()["results"][0]["status"], told, "{}", again.text());
        assert_eq!(sink.messages_to("me@example.com").len(), 1, "written to once");
        let column = async |name| w.number(&format!("SELECT {name} FROM account_periods"), []).await;
        assert_eq!((column("sends").await, column("reserved").await), counted);
        let third = post(&w, &path, &body).await;
        assert!(third.maybe_header("idempotent-replayed").is_some());
        assert_eq!((third.text(), sink.count()), (again.text(), 1));
    })
    .await;
}

/// Waits until these campaigns of one step are completed, and looks that everybody was written to and counted once.
pub async fn all_is_sent_once(w: &World, people: &[String], campaigns: [(&Client, &str, &Sink); 2]) {
    for (client, id, sink) in campaigns {
        let path = format!("/campaigns/{id}");
        let seen = eventually(2 * DEADLINE, || async {
            rests_are_over(w).await;
            w.state().doorbells.sender.ring();
            let seen = client.seen(&path).await;
            (seen["status"] == "completed" || seen["uncertain"] != 0).then_some(seen)
        });
        let seen = seen.await.unwrap();
        assert_eq!(
            (&seen["uncertain"], &seen["totals"]["sent"]),
            (&0.into(), &people.len().into()),
            "{seen}"
        );
        for person in people {
            assert_eq!(sink.messages_to(person).len(), 1, "{person}");
        }
        let account: uuid::Uuid = client.account_id.parse().unwrap();
        let counted =
            "SELECT count(*) FROM account_periods WHERE account_id = $1 AND sends = $2 AND reserved = 0";
        let all = i64::try_from(people.len()).unwrap();
        assert_eq!(w.number(counted, [account.into(), all.into()]).await, 1);
    }
    assert_eq!(w.number("SELECT max(attempts) FROM deliveries", []).await, 1);
}

/// More than a connection claims at a time: what is claimed may go out, and then the pool is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exhausted_while_a_campaign_goes_out_the_pool_costs_and_doubles_nothing() {
    const CLAIMED: usize = 50;
    world(|w| async move {
        let (sink, theirs) = (Sink::start().await.unwrap(), Sink::start().await.unwrap());
        let people = addresses("ok", CLAIMED + 10);
        let hold = sink.hold(Point::AfterDot, Matcher::Any);
        let mine = dispatched(&w.alice, &campaign(&[credential(&sink, "one@sender.test")], 1), &people).await;
        let engine = Engine::start(&w.ctx);
        hold.reached(DEADLINE).await.unwrap();
        let body = campaign(&[credential(&theirs, "two@sender.test")], 1);
        let of_bob = dispatched(&w.bob, &body, &people).await;
        theirs.wait_for(people.len() as u64, DEADLINE).await.unwrap();

        let taken = all_taken(&w).await;
        hold.release();
        is_refused(&w.server.get("/status").await);
        assert!(sink.count() <= CLAIMED as u64, "more went out than was claimed");
        drop(taken);

        all_is_sent_once(&w, &people, [(&w.alice, &mine, &sink), (&w.bob, &of_bob, &theirs)]).await;
        engine.stop().await;
    })
    .await;
}
