//! SMTP credentials: secrets stay in, the last one of an active campaign stays, internal hosts stay out.

use ampout::{
    models::{
        smtp_credentials::{self, Entity},
        states::DisabledReason,
    },
    tenancy::{Conn, SystemScope},
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    World,
    campaigns::{campaign, credential, credential_with_imap},
    world,
};

fn id(text: &str) -> sea_orm::Value {
    text.parse::<Uuid>().unwrap().into()
}

async fn activate(w: &World, campaign: &str) {
    w.sql("UPDATE campaigns SET status = 'active' WHERE id = $1", [id(campaign)]).await;
}

#[tokio::test]
async fn a_credential_shows_everything_but_its_passwords() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let path = format!("/campaigns/{mine}/smtp_credentials");
        let made = w.alice.post(&path, &json!({"smtp_credential": credential_with_imap()})).await;
        made.assert_status(StatusCode::CREATED);
        let made: Value = made.json();
        let one = made["id"].as_str().unwrap();
        assert_eq!(
            made,
            json!({"id": one, "label": "Main", "from_email": "ana@sender.example", "from_name": "Ana",
                "smtp_host": "127.0.0.1", "smtp_port": 2525, "daily_limit": 100})
        );
        let shown = w.alice.get(&format!("{path}/{one}")).await;
        assert!(!shown.text().contains("hunter2"));
        let shown: Value = shown.json();
        insta::assert_json_snapshot!("credential", shown, {".id" => "[id]", ".created_at" => "[time]"});
        let list = w.alice.seen(&path).await;
        assert_eq!(list.as_array().unwrap().len(), 2);
        assert_eq!(list[0], shown);
        for method in ["GET", "DELETE"] {
            let path = format!("{path}/{one}");
            let theirs = if method == "GET" { w.bob.get(&path).await } else { w.bob.delete(&path).await };
            assert_eq!(theirs.json::<Value>()["code"], "campaign_not_found");
        }
        let other = w.alice.campaign_named("Other").await;
        let elsewhere = w.alice.get(&format!("/campaigns/{other}/smtp_credentials/{one}")).await;
        assert_eq!(elsewhere.json::<Value>()["code"], "smtp_credential_not_found");
    })
    .await;
}

#[tokio::test]
async fn passwords_are_sealed_to_their_row() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let one = w.alice.credential_of(&mine).await.parse::<Uuid>().unwrap();
        let scope =
            SystemScope::new(Conn::Pool(w.ctx.db.clone())).account(w.alice.account_id.parse().unwrap());
        let row = scope.get::<Entity>(one).await.unwrap();
        assert!(!row.smtp_password.windows(7).any(|bytes| bytes == b"hunter2"));
        let place = smtp_credentials::smtp_password_place(row.account_id, row.id);
        let opened = w.state().sealer.open_text(&place, &row.smtp_password).unwrap();
        assert_eq!(opened.expose(), "hunter2-smtp");
        let elsewhere = smtp_credentials::smtp_password_place(row.account_id, Uuid::now_v7());
        assert!(w.state().sealer.open_text(&elsewhere, &row.smtp_password).is_err());
    })
    .await;
}

#[tokio::test]
async fn the_mailbox_is_whole_or_absent() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let one = w.alice.credential_of(&mine).await;
        let path = format!("/campaigns/{mine}/smtp_credentials/{one}");
        let change = async |fields: Value| w.alice.patch(&path, &json!({"smtp_credential": fields})).await;
        let half = change(json!({"imap_host": "127.0.0.1", "imap_port": 993})).await;
        assert_eq!(
            half.json::<Value>()["message"],
            "Imap username can't be blank, Imap password can't be blank"
        );
        let whole =
            json!({"imap_host": "127.0.0.1", "imap_port": 993, "imap_username": "u", "imap_password": "p"});
        assert_eq!(change(whole).await.json::<Value>()["imap_port"], 993);
        assert_eq!(change(json!({"imap_port": 143})).await.json::<Value>()["imap_port"], 143);
        let torn = change(json!({"imap_host": null})).await;
        assert_eq!(torn.json::<Value>()["message"], "Imap host can't be blank");
        let none =
            json!({"imap_host": null, "imap_port": null, "imap_username": null, "imap_password": null});
        assert_eq!(change(none).await.json::<Value>()["imap_host"], Value::Null);
        let kept =
            w.number("SELECT count(*) FROM smtp_credentials WHERE imap_password IS NOT NULL", []).await;
        assert_eq!(kept, 0);
    })
    .await;
}

#[tokio::test]
async fn fields_are_bounded_and_hold_no_control_characters() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let path = format!("/campaigns/{mine}/smtp_credentials");
        let body = json!({"smtp_credential": {
            "label": "a\nb", "smtp_host": "no host", "smtp_port": 0, "smtp_username": "a\u{7}", "smtp_password": "",
            "from_name": "x".repeat(256), "from_email": "ana", "daily_limit": 100_001
        }});
        let refused = w.alice.post(&path, &body).await;
        insta::assert_json_snapshot!("credential_failures", refused.json::<Value>());
        let one = w.alice.credential_of(&mine).await;
        let changes = json!({"smtp_credential": {"daily_limit": 0, "from_name": null, "smtp_password": ""}});
        let refused = w.alice.patch(&format!("{path}/{one}"), &changes).await.json::<Value>();
        assert_eq!(
            refused["message"],
            "Smtp password can't be blank, From name can't be blank, \
             Daily limit must be greater than or equal to 1"
        );
    })
    .await;
}

#[tokio::test]
async fn an_active_campaign_keeps_its_last_enabled_credential() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let first = w.alice.credential_of(&mine).await;
        let path = format!("/campaigns/{mine}/smtp_credentials");
        activate(&w, &mine).await;
        let refused = w.alice.delete(&format!("{path}/{first}")).await;
        refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.json::<Value>()["code"], "unprocessable");
        let second = w.alice.made(&path, &json!({"smtp_credential": credential()})).await;
        let awake = "SELECT count(*) FROM smtp_credentials WHERE wake_at IS NOT NULL AND deleted_at IS NULL";
        assert_eq!(w.number(awake, []).await, 1);
        w.alice.delete(&format!("{path}/{first}")).await.assert_status_ok();
        w.alice.get(&format!("{path}/{first}")).await.assert_status(StatusCode::NOT_FOUND);
        let last = format!("{path}/{}", second["id"].as_str().unwrap());
        w.alice.delete(&last).await.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
    })
    .await;
}

#[tokio::test]
async fn disabling_the_last_credential_pauses_its_campaign_and_enabling_does_not_resume_it() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let one = w.alice.credential_of(&mine).await;
        activate(&w, &mine).await;
        let lane: Uuid = one.parse().unwrap();
        w.sql(
            "INSERT INTO credential_days (smtp_credential_id, day, account_id, first_sends, sends, bounced) \
             VALUES ($1, $2, $3, 7, 30, 3)",
            [id(&one), ampout::clock::Timestamp::now().day().into(), id(&w.alice.account_id)],
        )
        .await;
        let tx = std::sync::Arc::new(w.db().begin().await.unwrap());
        let conn = Conn::Tx(std::sync::Arc::clone(&tx));
        let scope = SystemScope::new(conn).account(w.alice.account_id.parse().unwrap());
        let now = ampout::clock::Timestamp::now();
        let done =
            smtp_credentials::disable(&scope, lane, DisabledReason::BounceRate, now).await.unwrap().unwrap();
        assert!(done.paused.is_some());
        let again = smtp_credentials::disable(&scope, lane, DisabledReason::Auth, now).await.unwrap();
        assert!(again.is_none());
        drop(scope);
        std::sync::Arc::into_inner(tx).unwrap().commit().await.unwrap();

        let path = format!("/campaigns/{mine}/smtp_credentials/{one}");
        let shown = w.alice.seen(&path).await;
        assert_eq!((&shown["disabled_reason"], &shown["sent_today"]), (&json!("bounce_rate"), &json!(7)));
        assert_eq!(shown["bounce_rate"], 10.0);
        assert_eq!(w.alice.seen(&format!("/campaigns/{mine}")).await["status"], "paused");
        let enabled = w.alice.made(&format!("{path}/reenable"), &json!({})).await;
        assert_eq!(enabled, json!({"id": one, "from_email": "ana@sender.example", "status": "enabled"}));
        let shown = w.alice.seen(&path).await;
        assert_eq!((&shown["disabled_at"], &shown["sent_today"]), (&Value::Null, &json!(7)));
        assert_eq!(shown["bounce_rate"], 0.0);
        assert_eq!(w.alice.seen(&format!("/campaigns/{mine}")).await["status"], "paused");
    })
    .await;
}

#[tokio::test]
async fn a_campaign_holds_at_most_a_hundred_credentials() {
    world(|w| async move {
        let mut full = campaign("Full");
        full["campaign"]["smtp_credentials"] = (0..100).map(|_| credential()).collect();
        let mine = w.alice.made("/campaigns", &full).await["id"].as_str().unwrap().to_owned();
        let path = format!("/campaigns/{mine}/smtp_credentials");
        let refused = w.alice.post(&path, &json!({"smtp_credential": credential()})).await;
        refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.json::<Value>()["code"], "validation_failed");
    })
    .await;
}
