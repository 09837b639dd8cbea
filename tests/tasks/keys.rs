//! `rotate_keys`: afterwards the new key opens everything, and the old one is not needed.

use std::{collections::BTreeMap, fmt::Write as _};

use ampout::{
    crypto::{self, MasterKeys, Place, Sealer},
    models::sealed::SEALED,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value as Json, json};
use testkit::child::Builder;
use uuid::Uuid;

use super::{end_of, prepared};
use crate::support::{World, campaigns, world};

/// Something sealed in every column, for both accounts.
async fn seal_everywhere(w: &World) {
    for owner in [&w.alice, &w.bob] {
        let mut campaign = campaigns::campaign("Sealed");
        campaign["campaign"]["smtp_credentials"] = json!([campaigns::credential_with_imap()]);
        owner.made("/campaigns", &campaign).await;
        owner.made("/webhooks", &json!({"webhook": {"url": "http://127.0.0.1:1/"}})).await;
        let request = w.server.post("/outreaches").authorization_bearer(&owner.key);
        request
            .add_header("idempotency-key", "once")
            .json(&json!({"outreach": {"name": "Kept"}}))
            .await
            .assert_status_success();
    }
}

/// What opens with these keys in each column, or why it does not.
async fn opened(w: &World, keys: &str) -> BTreeMap<String, Result<Vec<u8>, crypto::OpenError>> {
    let sealer = Sealer::new(MasterKeys::parse(keys).unwrap());
    let backend = w.ctx.db.get_database_backend();
    let mut found = BTreeMap::new();
    for it in SEALED {
        let account = if it.of_account { "account_id" } else { "id" };
        let sql = format!(
            "SELECT {account} AS account, id, {} AS value FROM {} WHERE {0} IS NOT NULL",
            it.column, it.table
        );
        let rows = w.ctx.db.query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
        assert!(rows.len() >= 2, "{}.{}", it.table, it.column);
        for row in rows {
            let id: Uuid = row.try_get("", "id").unwrap();
            let account = if it.of_account { row.try_get("", "account").unwrap() } else { Uuid::nil() };
            let place = Place { account, table: it.table, row: id, column: it.column };
            let value: Vec<u8> = row.try_get("", "value").unwrap();
            let plain = sealer.open(&place, &value).map(|plain| plain.to_vec());
            found.insert(format!("{}.{} {account} {id}", it.table, it.column), plain);
        }
    }
    found
}

fn new_key() -> String {
    BASE64_STANDARD.encode(crypto::random_bytes::<32>())
}

fn old_key(w: &World) -> String {
    w.environment.iter().find(|(name, _)| *name == "MASTER_KEY").unwrap().1.clone()
}

fn rotation(w: &World, keys: &str) -> Builder {
    prepared(w, &["rotate_keys", "format:json"]).env("MASTER_KEY", keys)
}

fn sum(answer: &Json, field: &str) -> usize {
    let number = |column: &Json| usize::try_from(column[field].as_u64().unwrap()).unwrap();
    answer.as_array().unwrap().iter().map(number).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_half_way_and_run_again_everything_opens_with_the_new_key_alone() {
    world(|w| async move {
        seal_everywhere(&w).await;
        let (old, new) = (old_key(&w), new_key());
        let before = opened(&w, &old).await;
        assert!(before.values().all(Result::is_ok));
        let both = format!("{new},{old}");

        let task = rotation(&w, &both);
        let armed = format!("task_after_batch=1*off->return({})", task.path("held").display());
        let mut held = task.env("FAILPOINTS", armed).start().unwrap();
        held.wait_for_file("held", super::DEADLINE).await.unwrap();
        held.kill_9().await.unwrap();
        let half = opened(&w, &new).await.values().filter(|it| it.is_ok()).count();
        assert!(half > 0 && half < before.len(), "{half} of {}", before.len());

        let done = end_of(&rotation(&w, &both)).await.json();
        assert_eq!(sum(&done, "resealed"), before.len() - half, "{done}");
        assert_eq!(sum(&done, "unreadable"), 0);
        assert_eq!(opened(&w, &new).await, before, "the same secrets, each in its place");
        let again = end_of(&rotation(&w, &both)).await.json();
        assert_eq!(sum(&again, "resealed"), 0, "nothing is sealed twice");

        // Without the old key the application starts and its links and answers are the same.
        let seen =
            end_of(&prepared(&w, &["account_show", "account:alice@example.com"]).env("MASTER_KEY", new))
                .await;
        assert!(seen.well, "{}", seen.err);
        let without = end_of(&prepared(&w, &["account_show", "account:alice@example.com"])).await;
        assert!(
            without.refusal().contains("MASTER_KEY does not open the keys in this database"),
            "{}",
            without.err
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_key_opens_is_counted_and_stays_as_it_is() {
    world(|w| async move {
        seal_everywhere(&w).await;
        let account: Uuid = w.alice.account_id.parse().unwrap();
        let broken = b"no sealed value".to_vec();
        let sql = "UPDATE smtp_credentials SET smtp_password = $1 WHERE account_id = $2";
        w.sql(sql, [broken.into(), account.into()]).await;
        let mut keys = new_key();
        write!(keys, ",{}", old_key(&w)).unwrap();
        let ran = end_of(&rotation(&w, &keys)).await;
        assert!(ran.refusal().contains("1 values open with none of the keys in MASTER_KEY"), "{}", ran.err);
        let said: Json = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(sum(&said, "unreadable"), 1, "{said}");
        let kept = "SELECT count(*) FROM smtp_credentials WHERE smtp_password = $1";
        assert_eq!(w.number(kept, [b"no sealed value".to_vec().into()]).await, 1);
        let rest = opened(&w, &keys).await;
        assert_eq!(rest.values().filter(|it| it.is_err()).count(), 1, "the others are done all the same");
    })
    .await;
}
