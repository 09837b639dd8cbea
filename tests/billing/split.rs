//! Billing begins a period while a ledger waits for the one before it. On PostgreSQL a lock that is waited for shows only
//! rows that were there before, so that the new one has to be looked for, and locked, once more.

use std::time::Duration;

use ampout::{
    clock::{Timestamp, new_id},
    engine::Doorbell,
    models::{
        periods::{self, Span},
        plans::change::{self, Standing},
        states::TestState,
        test_messages,
    },
    sending::ledger::{Ledger, Want},
    tenancy::SystemScope,
};
use testkit::sink::Sink;
use uuid::Uuid;

use crate::support::{Client, World, billing::paying, campaign::*, held::Held, rows::Rows};

const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// A lane of the account that has two people to write to, held by `process_id`.
async fn lane(w: &World, client: &Client, sink: &Sink, process_id: Uuid) -> Want {
    let one = campaign(&[credential(sink, "one@sender.test")], 1);
    let id = dispatched(client, &one, &addresses("ok", 2)).await;
    let lanes = client.seen(&format!("/campaigns/{id}/smtp_credentials")).await;
    let credential_id: Uuid = lanes[0]["id"].as_str().unwrap().parse().unwrap();
    let hold = "UPDATE smtp_credentials SET holder = $2 WHERE id = $1";
    w.sql(hold, [credential_id.into(), process_id.into()]).await;
    let account_id = client.account_id.parse().unwrap();
    Want { credential_id, campaign_id: id.parse().unwrap(), account_id, process_id, most: 2 }
}

/// Ends the account's period and begins another, as a subscription does.
async fn split(system: &SystemScope, account_id: Uuid) {
    let (scope, now) = (system.account(account_id), Timestamp::now());
    let held = change::hold(&scope).await.unwrap().unwrap();
    let span = Some(Span { start: now, end: now.plus(MONTH) });
    let to = Standing { span, ..held.clone() };
    assert!(change::apply(&scope, &held, &to, now).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_send_of_a_period_that_began_while_a_ledger_waited_is_taken_once() {
    paying(|w, _stripe| async move {
        let (sink, process_id) = (Sink::start().await.unwrap(), new_id());
        let mine = lane(&w, &w.alice, &sink, process_id).await;
        let theirs = lane(&w, &w.bob, &sink, process_id).await;
        assert!(mine.account_id < theirs.account_id, "a ledger locks periods by account");
        let rows = Rows::of(mine.account_id);
        rows.store(&w.ctx.db).await;
        w.sql("DELETE FROM test_messages", []).await;
        w.sql("UPDATE plans SET monthly_limit = 1", []).await;
        let both = [mine.account_id, theirs.account_id];
        let open = async |system: &SystemScope| periods::open_all(system, &both, Timestamp::now()).await;
        SystemScope::in_transaction(&w.db(), open).await.unwrap();

        let Some(billing) = Held::begin(&w).await else { return };
        split(&billing.system, mine.account_id).await;
        let bobs = Held::begin(&w).await.unwrap();
        periods::lock(&bobs.system.account(theirs.account_id), Timestamp::now()).await.unwrap();

        // Both claims are of one commit. It waits for the period that is being split, and then for the other account's.
        let (ledger, writer) = Ledger::new(&w.db(), Doorbell::default(), MONTH, DEADLINE);
        let claims = async move { tokio::join!(ledger.claim(mine), ledger.claim(theirs)) };
        let claimed = tokio::spawn(async move { tokio::join!(claims, writer.run()).0 });
        billing.is_waited_for(&w).await;
        billing.commit().await;
        bobs.is_waited_for(&w).await;

        // Meanwhile a test message takes the one send of the new period.
        let test = Held::begin(&w).await.unwrap();
        let message = test_messages::Model {
            id: new_id(),
            reserved_period: None,
            state: TestState::Claimed,
            ..rows.test_message.clone()
        };
        let scope = test.system.account(mine.account_id);
        test_messages::claim(&scope, vec![message], Timestamp::now()).await.unwrap();
        drop(scope);
        bobs.commit().await;
        test.is_waited_for(&w).await;
        test.commit().await;

        let (mine, theirs) = tokio::time::timeout(DEADLINE, claimed).await.unwrap().unwrap();
        let over = "SELECT count(*) FROM account_periods WHERE sends + reserved > 1";
        assert_eq!(w.number(over, []).await, 0, "an account has more sends than its plan allows");
        assert_eq!((mine.unwrap().len(), theirs.unwrap().len()), (0, 1));
    })
    .await;
}
