//! Campaigns: made whole or not at all, shown, changed, held, deleted.

use ampout::{
    models::campaigns,
    tenancy::{Conn, SystemScope},
};
use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    World,
    campaigns::{campaign, credential, enroll, step},
    world,
};

fn id(text: &str) -> sea_orm::Value {
    text.parse::<Uuid>().unwrap().into()
}

async fn set_status(w: &World, campaign: &str, status: &str) {
    let changed =
        w.sql("UPDATE campaigns SET status = $1 WHERE id = $2", [status.into(), id(campaign)]).await;
    assert_eq!(changed, 1);
}

#[tokio::test]
async fn a_campaign_is_made_and_shown_with_its_defaults() {
    world(|w| async move {
        let made = w.alice.made("/campaigns", &campaign("Spring")).await;
        assert_eq!(made, json!({"id": made["id"], "status": "pending"}));
        w.bob.campaign_named("Spring").await;
        let shown = w.alice.seen(&format!("/campaigns/{}", made["id"].as_str().unwrap())).await;
        insta::with_settings!({filters => vec![
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[id]"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[time]"),
        ]}, { insta::assert_json_snapshot!("campaign", shown) });
        let list = w.alice.seen("/campaigns").await;
        assert_eq!(list.as_array().unwrap().len(), 1);
        assert_eq!(list[0]["name"], "Spring");
        assert_eq!(list[0].as_object().unwrap().len(), 4);
    })
    .await;
}

#[tokio::test]
async fn all_failures_come_at_once_those_of_nested_records_too() {
    world(|w| async move {
        let mut bad = credential();
        bad["smtp_host"] = json!("");
        bad["smtp_port"] = json!(70_000);
        bad["from_name"] = json!("Ana\r\nBcc: x@example.com");
        bad["imap_host"] = json!("127.0.0.1");
        let body = json!({"campaign": {
            "name": " ", "min_wait_seconds": -1, "max_wait_seconds": 100_000, "bounce_rate_threshold": 0,
            "smtp_credentials": [credential(), bad],
            "sequence_steps": [
                {"position": 1, "subject": "{{ nope }}", "body_html": ""},
                {"position": 1, "subject": "x", "body_html": "{% for x in y %}", "delay_minutes": 525_601}
            ]
        }});
        let answer = w.alice.post("/campaigns", &body).await;
        answer.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        let body: Value = answer.json();
        assert_eq!(body["code"], "validation_failed");
        insta::assert_json_snapshot!("campaign_failures", body);
        assert!(!answer.text().contains("hunter2"));
        assert_eq!(w.number("SELECT count(*) FROM campaigns", []).await, 0);
        assert_eq!(w.number("SELECT count(*) FROM smtp_credentials", []).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_campaign_needs_credentials_and_steps_and_no_more_than_may_be() {
    world(|w| async move {
        let none = w.alice.post("/campaigns", &json!({"campaign": {"name": "x"}})).await;
        let message = none.json::<Value>()["message"].clone();
        assert_eq!(message, "Smtp credentials can't be blank, Sequence steps can't be blank");
        let mut many = campaign("x");
        many["campaign"]["smtp_credentials"] = (0..101).map(|_| credential()).collect();
        many["campaign"]["sequence_steps"] = (1..=21).map(step).collect();
        let refused = w.alice.post("/campaigns", &many).await;
        refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        let fields: Vec<Value> = refused.json::<Value>()["details"]["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["field"].clone())
            .collect();
        assert_eq!(fields, [json!("smtp_credentials"), json!("sequence_steps")]);
        let gap = json!({"campaign": {"name": "x", "smtp_credentials": [credential()],
            "sequence_steps": [step(1), step(3)]}});
        let refused = w.alice.post("/campaigns", &gap).await.json::<Value>();
        assert_eq!(refused["message"], "Sequence steps position must be less than or equal to 2");
    })
    .await;
}

#[tokio::test]
async fn each_bound_is_kept_to_the_last_character() {
    world(|w| async move {
        let of = |more: usize| {
            let mut body = campaign(&"n".repeat(255 + more));
            let mut lane = credential();
            lane["label"] = json!("l".repeat(255 + more));
            lane["from_name"] = json!("f".repeat(255 + more));
            body["campaign"]["smtp_credentials"] = json!([lane]);
            body["campaign"]["max_wait_seconds"] = json!(86_400 + more);
            body["campaign"]["sequence_steps"] = json!([{
                "position": 1, "subject": "s".repeat(998 + more), "body_html": "h".repeat(262_144 + more),
                "body_text": "t".repeat(262_144 + more), "delay_minutes": 525_600 + more
            }]);
            body
        };
        w.alice.post("/campaigns", &of(0)).await.assert_status(StatusCode::CREATED);
        let refused = w.alice.post("/campaigns", &of(1)).await.json::<Value>();
        let found = refused["details"]["errors"].as_array().unwrap();
        let fields: Vec<&str> = found.iter().map(|error| error["field"].as_str().unwrap()).collect();
        assert_eq!(
            fields,
            [
                "name",
                "max_wait_seconds",
                "smtp_credentials[0].label",
                "smtp_credentials[0].from_name",
                "sequence_steps[0].subject",
                "sequence_steps[0].body_html",
                "sequence_steps[0].body_text",
                "sequence_steps[0].delay_minutes"
            ],
            "{}",
            refused["message"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_typo_and_a_wrong_type_are_named() {
    world(|w| async move {
        let mut typo = campaign("x");
        typo["campaign"]["smtp_credentials"][0]["smtp_pasword"] = json!("secret-word");
        let answer = w.alice.post("/campaigns", &typo).await;
        answer.assert_status(StatusCode::BAD_REQUEST);
        assert!(answer.text().contains("smtp_pasword") && !answer.text().contains("secret-word"));
        let mut wrong = campaign("x");
        wrong["campaign"]["sequence_steps"][0] = json!([1, "subject", "body"]);
        w.alice.post("/campaigns", &wrong).await.assert_status(StatusCode::BAD_REQUEST);
    })
    .await;
}

#[tokio::test]
async fn another_accounts_outreach_is_as_unknown_as_any() {
    world(|w| async move {
        let theirs = Uuid::now_v7();
        let sql = "INSERT INTO outreaches (id, account_id, name, unique_contacts, created_at) VALUES ($1, $2, 'o', $3, 0)";
        w.sql(sql, [theirs.into(), id(&w.bob.account_id), false.into()]).await;
        let mut answers = Vec::new();
        for outreach in [theirs.to_string(), Uuid::now_v7().to_string(), "no id".to_owned()] {
            let mut body = campaign("");
            body["campaign"]["outreach_id"] = json!(outreach);
            let answer = w.alice.post("/campaigns", &body).await;
            answer.assert_status(StatusCode::NOT_FOUND);
            answers.push(answer.text());
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
        assert!(answers[0].contains("outreach_not_found"));
        let mine = w.alice.campaign_named("Mine").await;
        let moved = w.alice.patch(&format!("/campaigns/{mine}"), &json!({"campaign": {"outreach_id": theirs}})).await;
        moved.assert_status(StatusCode::NOT_FOUND);
        let mut ours = campaign("Theirs");
        ours["campaign"]["outreach_id"] = json!(theirs);
        w.bob.made("/campaigns", &ours).await;
        assert_eq!(w.bob.seen(&format!("/campaigns?outreach_id={theirs}")).await.as_array().unwrap().len(), 1);
        assert_eq!(w.alice.seen(&format!("/campaigns?outreach_id={theirs}")).await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn the_list_is_filtered_and_paged() {
    world(|w| async move {
        let mut ids = Vec::new();
        for name in ["a", "b", "c"] {
            ids.push(w.alice.campaign_named(name).await);
            w.bob.campaign_named(name).await;
        }
        set_status(&w, &ids[1], "paused").await;
        let paused = w.alice.seen("/campaigns?status=paused").await;
        assert_eq!(paused[0]["id"], ids[1].as_str());
        assert_eq!(paused.as_array().unwrap().len(), 1);
        w.alice.get("/campaigns?status=odd").await.assert_status(StatusCode::BAD_REQUEST);
        w.alice.get("/campaigns?outreach_id=odd").await.assert_status(StatusCode::BAD_REQUEST);
        w.alice.get("/campaigns?stauts=paused").await.assert_status(StatusCode::BAD_REQUEST);
        let page = w.alice.get("/campaigns?limit=1&status=pending").await;
        let link = page.headers()["link"].to_str().unwrap().to_owned();
        assert!(link.contains("status=pending") && link.contains(&ids[2]), "{link}");
        let next = w.alice.seen(&format!("/campaigns?limit=1&status=pending&after={}", ids[2])).await;
        assert_eq!(next[0]["id"], ids[0].as_str());
    })
    .await;
}

#[tokio::test]
async fn steps_and_outreach_change_while_pending_and_the_rest_at_any_time() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let path = format!("/campaigns/{mine}");
        let changed = w
            .alice
            .patch(
                &path,
                &json!({"campaign": {"name": "New", "min_wait_seconds": 0, "sequence_steps": [step(1)]}}),
            )
            .await;
        changed.assert_status_ok();
        let changed: Value = changed.json();
        assert_eq!((&changed["name"], &changed["min_wait_seconds"]), (&json!("New"), &json!(0)));
        assert_eq!(changed["max_wait_seconds"], 420);
        assert_eq!(changed["sequence_steps"].as_array().unwrap().len(), 1);
        let refused =
            w.alice.patch(&path, &json!({"campaign": {"max_wait_seconds": -5, "name": null}})).await;
        assert_eq!(
            refused.json::<Value>()["message"],
            "Name can't be blank, Max wait seconds must be greater than or equal to 0"
        );
        set_status(&w, &mine, "active").await;
        for change in [json!({"sequence_steps": [step(1)]}), json!({"outreach_id": null})] {
            let refused = w.alice.patch(&path, &json!({"campaign": change})).await;
            refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
            assert_eq!(refused.json::<Value>()["code"], "unprocessable");
        }
        w.alice.patch(&path, &json!({"campaign": {"max_wait_seconds": 10}})).await.assert_status_ok();
        w.bob.patch(&path, &json!({"campaign": {"name": "x"}})).await.assert_status(StatusCode::NOT_FOUND);
    })
    .await;
}

#[tokio::test]
async fn pause_and_resume_go_to_and_fro() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let (pause, resume) = (format!("/campaigns/{mine}/pause"), format!("/campaigns/{mine}/resume"));
        let code = async |path: &str| w.alice.post(path, &json!({})).await.json::<Value>()["code"].clone();
        assert_eq!(code(&pause).await, "campaign_not_active");
        assert_eq!(code(&resume).await, "campaign_not_paused");
        set_status(&w, &mine, "active").await;
        w.bob.post(&pause, &json!({})).await.assert_status(StatusCode::NOT_FOUND);
        assert_eq!(w.alice.made(&pause, &json!({})).await, json!({"id": mine, "status": "paused"}));
        assert_eq!(code(&pause).await, "campaign_not_active");
        // Nothing was ever dispatched, so nothing is left to send.
        assert_eq!(w.alice.made(&resume, &json!({})).await, json!({"id": mine, "status": "completed"}));
    })
    .await;
}

#[tokio::test]
async fn a_campaign_is_deleted_unless_it_is_active() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let path = format!("/campaigns/{mine}");
        set_status(&w, &mine, "active").await;
        let refused = w.alice.delete(&path).await;
        refused.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.json::<Value>()["code"], "unprocessable");
        set_status(&w, &mine, "paused").await;
        w.bob.delete(&path).await.assert_status(StatusCode::NOT_FOUND);
        assert_eq!(w.alice.delete(&path).await.json::<Value>(), json!({"id": mine, "status": "deleted"}));
        for path in [path.clone(), format!("{path}/smtp_credentials")] {
            let gone = w.alice.get(&path).await;
            gone.assert_status(StatusCode::NOT_FOUND);
            assert_eq!(gone.json::<Value>()["code"], "campaign_not_found");
        }
        assert_eq!(w.alice.seen("/campaigns").await, json!([]));
    })
    .await;
}

/// Stores a batch behind the API.
async fn batch(w: &World, campaign: &str, dispatched: bool) -> Uuid {
    let (batch, at) = (Uuid::now_v7(), dispatched.then_some(1_i64));
    w.sql(
        "INSERT INTO batches (id, account_id, campaign_id, batch_number, dispatched_at, due_at, created_at) \
         VALUES ($1, $2, $3, $4, $5, $5, 0)",
        [batch.into(), id(&w.alice.account_id), id(campaign), i32::from(dispatched).into(), at.into()],
    )
    .await;
    batch
}

/// Whether the campaign is completed by [`campaigns::complete_if_done`].
async fn completes(w: &World, campaign: &str) -> bool {
    let tx = std::sync::Arc::new(w.db().begin().await.unwrap());
    let conn = Conn::Tx(std::sync::Arc::clone(&tx));
    let scope = SystemScope::new(conn).account(w.alice.account_id.parse().unwrap());
    let done = campaigns::complete_if_done(&scope, campaign.parse().unwrap()).await.unwrap();
    drop(scope);
    std::sync::Arc::into_inner(tx).unwrap().commit().await.unwrap();
    done
}

#[tokio::test]
async fn a_campaign_is_completed_when_nothing_dispatched_can_send_any_more() {
    world(|w| async move {
        let mine = w.alice.campaign_named("Mine").await;
        let (open, dispatched) = (batch(&w, &mine, false).await, batch(&w, &mine, true).await);
        enroll(&w, &mine, open, "open@example.com", "queued", 1, None).await;
        enroll(&w, &mine, dispatched, "one@example.com", "finished", 1, None).await;
        assert!(!completes(&w, &mine).await, "never dispatched");
        set_status(&w, &mine, "active").await;
        for holding in ["queued", "claimed", "waiting", "uncertain"] {
            w.sql(
                "UPDATE enrollments SET progress = $1 WHERE batch_id = $2",
                [holding.into(), dispatched.into()],
            )
            .await;
            assert!(!completes(&w, &mine).await, "{holding}");
        }
        w.sql("UPDATE enrollments SET progress = 'finished' WHERE batch_id = $1", [dispatched.into()]).await;
        assert!(completes(&w, &mine).await);
        assert_eq!(w.alice.seen(&format!("/campaigns/{mine}")).await["status"], "completed");
        assert!(!completes(&w, &mine).await, "only once");
    })
    .await;
}

#[tokio::test]
async fn the_longest_wait_that_is_left_out_is_420_or_as_long_as_the_shortest() {
    world(|w| async move {
        for (least, longest) in [(0, 420), (420, 420), (421, 421), (86_400, 86_400)] {
            let mut body = campaign("Slow");
            body["campaign"]["min_wait_seconds"] = json!(least);
            for client in [&w.alice, &w.bob] {
                let id = client.made("/campaigns", &body).await["id"].as_str().unwrap().to_owned();
                let seen = client.seen(&format!("/campaigns/{id}")).await;
                assert_eq!(
                    (&seen["min_wait_seconds"], &seen["max_wait_seconds"]),
                    (&json!(least), &json!(longest))
                );
            }
        }
        let mut body = campaign("Too slow");
        body["campaign"]["min_wait_seconds"] = json!(86_401);
        let refused: Value = w.alice.post("/campaigns", &body).await.json();
        assert_eq!(refused["message"], "Min wait seconds must be less than or equal to 86400");
    })
    .await;
}
