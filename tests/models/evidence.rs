//! What a notice counts in the days of a credential.

use ampout::{
    clock::Timestamp,
    models::{
        deliveries::evidence::{Evidence, note},
        states::DeliveryState,
    },
    tenancy::SystemScope,
};

use crate::support::{
    World,
    rows::{Rows, THEN},
    world,
};

/// A delivery that was claimed on one day and accepted on another, of which there is no row.
async fn sent_after_midnight(account: &str, w: &World, enabled_at: Timestamp) -> Rows {
    let mut rows = Rows::of(account.parse().unwrap());
    rows.delivery.state = DeliveryState::Sent;
    rows.delivery.sent_at = Some(THEN);
    rows.credential.enabled_at = enabled_at;
    rows.store(&w.ctx.db).await;
    rows
}

async fn bounces(w: &World, rows: &Rows) {
    let evidence = Evidence::Failed { reason: "550 5.1.1 unknown".into() };
    SystemScope::in_transaction(&w.db(), async |system| {
        note(&system.account(rows.account_id), &rows.delivery, evidence, Timestamp::now()).await
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_counts_on_the_day_of_the_send_also_where_nothing_was_claimed_that_day() {
    world(|w| async move {
        let mine = sent_after_midnight(&w.alice.account_id, &w, THEN).await;
        let theirs = sent_after_midnight(&w.bob.account_id, &w, Timestamp(THEN.0 + 1)).await;
        bounces(&w, &mine).await;
        bounces(&w, &mine).await;
        bounces(&w, &theirs).await;
        let on = "SELECT CAST(coalesce(sum(bounced), 0) AS bigint) FROM credential_days \
                  WHERE smtp_credential_id = $1 AND day = $2";
        let counted =
            async |rows: &Rows, day: i64| w.number(on, [rows.credential.id.into(), day.into()]).await;
        assert_eq!(counted(&mine, THEN.day()).await, 1);
        assert_eq!(counted(&mine, mine.day.day).await, i64::from(mine.day.bounced));
        assert_eq!(counted(&theirs, THEN.day()).await, 0, "it was enabled anew since");
        let rows =
            "SELECT count(*) FROM credential_days WHERE sends = 0 AND first_sends = 0 AND reserved = 0";
        assert_eq!(w.number(rows, []).await, 1);
    })
    .await;
}
