//! What is counted of messages that went out, and of those that bounced.

use testkit::sink::Sink;

use crate::support::{campaign::*, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_server_took_or_refused_for_good_is_counted_once_in_each_place() {
    world(|w| async move {
        let sink = Sink::start().await.unwrap();
        let engine = Engine::start(&w.ctx);
        let body = campaign(&[credential(&sink, "one@sender.test")], 2);
        let people = ["ok@example.test", "fine@example.test", "reject-550@example.test"].map(str::to_owned);
        let mine = dispatched(&w.alice, &body, &people).await;
        let theirs = dispatched(&w.bob, &body, &people[..1]).await;
        until_status(&w.alice, &mine, "completed").await;
        until_status(&w.bob, &theirs, "completed").await;
        engine.stop().await;
        let of_alice = [w.alice.account_id.parse::<uuid::Uuid>().unwrap().into()];
        for (table, column, expected) in [
            // Four messages and a refusal: the bounce rate is over all five, the daily limit over two.
            ("credential_days", "sends", 5),
            ("credential_days", "bounced", 1),
            ("credential_days", "first_sends", 2),
            ("credential_days", "reserved", 0),
            ("account_periods", "sends", 4),
            ("account_periods", "reserved", 0),
            ("batches", "pending", 0),
            ("batches", "sent", 2),
            ("batches", "bounced", 1),
            ("campaign_totals", "pending", 0),
            ("campaign_totals", "sent", 2),
            ("campaign_totals", "bounced", 1),
            ("campaign_totals", "sent_or_bounced", 3),
            ("campaign_totals", "uncertain", 0),
        ] {
            let sql = format!("SELECT CAST(sum({column}) AS bigint) FROM {table} WHERE account_id = $1");
            assert_eq!(w.number(&sql, of_alice.clone()).await, expected, "{table}.{column}");
        }
    })
    .await;
}
