//! Outreaches and what they show of their campaigns.

use insta::assert_json_snapshot;
use serde_json::{Value, json};

use super::recipients::{campaign, count, id, scope};
use crate::support::world;

#[tokio::test]
async fn an_outreach_sums_its_own_campaigns() {
    world(|w| async move {
        let made = w.alice.made("/outreaches", &json!({"outreach": {"name": "spring", "unique_contacts": true}})).await;
        let theirs = w.bob.made("/outreaches", &json!({"outreach": {"name": "spring"}})).await;
        for (client, outreach) in [(&w.alice, &made), (&w.alice, &made), (&w.bob, &theirs)] {
            campaign(&w, client, Some(id(&outreach["id"]))).await;
            let sql = "UPDATE campaign_totals SET pending = 5, sent = 4, opened = 3, replied = 2, bounced = 1 WHERE account_id = $1";
            scope(&w, client).execute(sql, []).await.unwrap();
        }
        campaign(&w, &w.alice, None).await;
        let seen = w.alice.seen(&format!("/outreaches/{}", made["id"].as_str().unwrap())).await;
        let redactions = || {
            let mut settings = insta::Settings::clone_current();
            settings.add_redaction(".id", "[id]");
            settings.add_redaction(".created_at", "[time]");
            settings.add_redaction(".campaigns[].id", "[id]");
            settings
        };
        redactions().bind(|| {
            assert_json_snapshot!("outreach_made", made);
            assert_json_snapshot!("outreach_seen", seen);
        });
        let list = w.alice.seen("/outreaches").await;
        assert_eq!(list.as_array().unwrap().len(), 1);
        assert!(list[0].get("totals").is_none());
    })
    .await;
}

#[tokio::test]
async fn an_outreach_is_changed_and_checked() {
    world(|w| async move {
        let blank: Value = w.alice.post("/outreaches", &json!({"outreach": {}})).await.json();
        assert_eq!(blank["message"], "Name can't be blank");
        let made = w.alice.made("/outreaches", &json!({"outreach": {"name": "spring"}})).await;
        assert_eq!(made["unique_contacts"], false);
        let path = format!("/outreaches/{}", made["id"].as_str().unwrap());
        let changed: Value =
            w.alice.patch(&path, &json!({"outreach": {"unique_contacts": true}})).await.json();
        assert_eq!((&changed["name"], &changed["unique_contacts"]), (&json!("spring"), &json!(true)));
        assert_eq!(changed, w.alice.seen(&path).await);
        let refused = json!({"outreach": {"name": null, "unique_contacts": null}});
        let refused: Value = w.alice.patch(&path, &refused).await.json();
        assert_eq!(refused["message"], "Name can't be blank, Unique contacts can't be blank");
        let theirs = w.bob.patch(&path, &json!({"outreach": {"name": null}})).await;
        theirs.assert_status_not_found();
        assert_eq!(theirs.json::<Value>()["code"], "outreach_not_found");
    })
    .await;
}

#[tokio::test]
async fn campaigns_stay_when_their_outreach_is_deleted() {
    world(|w| async move {
        for client in [&w.alice, &w.bob] {
            let made = client.made("/outreaches", &json!({"outreach": {"name": "spring"}})).await;
            campaign(&w, client, Some(id(&made["id"]))).await;
        }
        let outreach = w.alice.seen("/outreaches").await[0]["id"].clone();
        let path = format!("/outreaches/{}", outreach.as_str().unwrap());
        w.bob.delete(&path).await.assert_status_not_found();
        let gone: Value = w.alice.delete(&path).await.json();
        assert_eq!(gone, json!({"id": outreach, "status": "deleted"}));
        w.alice.get(&path).await.assert_status_not_found();
        w.alice.delete(&path).await.assert_status_not_found();
        let loose = "campaigns WHERE account_id = $1 AND outreach_id IS NULL AND deleted_at IS NULL";
        assert_eq!(count(&w, &w.alice, loose).await, 1);
        assert_eq!(count(&w, &w.bob, loose).await, 0);
    })
    .await;
}
