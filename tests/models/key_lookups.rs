//! Keys that are looked up together are told apart.

use ampout::{
    clock::Timestamp,
    crypto::ApiKeyPlaintext,
    errors::Code,
    models::api_keys::{self, KeyLookups},
};
use futures_util::{FutureExt, future::join_all};
use sea_orm::TransactionTrait;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::world;

fn digest(plaintext: &str) -> [u8; 32] {
    ApiKeyPlaintext::parse(plaintext).unwrap().digest()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_keys_that_come_at_once_each_is_known_as_its_own_or_refused() {
    world(|w| async move {
        let (mut keys, mut revoked) = (vec![], vec![]);
        for client in [&w.alice, &w.bob] {
            let account: Uuid = client.account_id.parse().unwrap();
            for number in 0..20 {
                let made = client.made("/api_keys", &json!({ "label": "one of many" })).await;
                let (id, plaintext) = (made["id"].as_str().unwrap(), made["plaintext"].as_str().unwrap());
                if number % 4 == 0 {
                    client.delete(&format!("/api_keys/{id}")).await.assert_status_ok();
                    revoked.push(digest(plaintext));
                } else {
                    keys.push((digest(plaintext), id.parse::<Uuid>().unwrap(), account));
                }
            }
        }
        let (lookups, db, now) = (KeyLookups::default(), w.db(), Timestamp::now());
        let find = async |digest: [u8; 32]| api_keys::authenticate(&lookups, &db, &digest, now).await;
        // Three times over, so that looks have keys in common.
        let known = join_all(keys.iter().cycle().take(keys.len() * 3).map(|(digest, ..)| find(*digest)));
        let gone = join_all(revoked.iter().chain([&[7; 32]]).map(|digest| find(*digest)));
        let (known, gone) = tokio::join!(known, gone);
        for (found, (_, id, account)) in known.into_iter().zip(keys.iter().cycle()) {
            let (caller, _) = found.unwrap();
            assert_eq!((caller.api_key_id(), caller.account_id()), (*id, *account));
        }
        assert_eq!(gone.len(), 11);
        for found in gone {
            assert_eq!(found.unwrap_err().code, Code::Unauthorized);
        }
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_look_that_was_given_up_takes_it_over() {
    world(|w| async move {
        let (lookups, db, digest) = (KeyLookups::default(), w.db(), digest(&w.alice.key));
        let find = || api_keys::authenticate(&lookups, &db, &digest, Timestamp::now()).boxed();
        // All connections of a test's pool (`support::world`), so that the look cannot end.
        let mut taken = vec![];
        for _ in 0..6 {
            taken.push(w.ctx.db.begin().await.unwrap());
        }
        let (mut first, mut second) = (find(), find());
        assert!(first.as_mut().now_or_never().is_none(), "it is on its way");
        assert!(second.as_mut().now_or_never().is_none(), "it waits for the same look");
        drop(first);
        drop(taken);
        assert!(second.await.is_ok());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_refused_while_others_of_it_are_being_looked_up() {
    world(|w| async move {
        let made = w.alice.made("/api_keys", &json!({ "label": "short-lived" })).await;
        let (id, key) =
            (made["id"].as_str().unwrap().to_owned(), made["plaintext"].as_str().unwrap().to_owned());
        let ask = async || w.server.get("/account").authorization_bearer(&key).await;
        let before = join_all((0..20).map(|_| ask())).await;
        assert!(before.iter().all(|answer| answer.status_code() == 200));
        let path = format!("/api_keys/{id}");
        let (_, revoked) = tokio::join!(join_all((0..20).map(|_| ask())), w.alice.delete(&path));
        assert_eq!(revoked.json::<Value>()["status"], "revoked");
        for answer in join_all((0..20).map(|_| ask())).await {
            assert_eq!(answer.status_code(), 401, "{}", answer.text());
        }
    })
    .await;
}
