//! Previews: rendered as a send would, shown to the account's own only.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    campaigns::{contact, credential},
    world,
};

fn body() -> Value {
    json!({"campaign": {"name": "Spring", "smtp_credentials": [credential()], "sequence_steps": [
        {"position": 1, "subject": "Hi {{ first_name | default: 'there' }}",
         "body_html": "<p>{{ first_name }} of {{ company }}: {{ custom.city }}</p>"},
        {"position": 2, "subject": "Again", "body_html": "<p>x</p>", "body_text": "plain {{ email }}",
         "delay_minutes": 60}
    ]}})
}

#[tokio::test]
async fn a_preview_is_rendered_as_a_send_would_be() {
    world(|w| async move {
        let campaign = w.alice.made("/campaigns", &body()).await["id"].as_str().unwrap().to_owned();
        let person = contact(&w, &w.alice, "jo@example.com").await;
        let path = format!("/campaigns/{campaign}/preview");
        let sample = w.alice.seen(&path).await;
        insta::assert_json_snapshot!("preview_sample", sample);
        let shown = w.alice.seen(&format!("{path}?contact_id={person}")).await;
        assert_eq!(shown["contact"]["email"], "jo@example.com");
        assert_eq!(shown["steps"][0]["subject"], "Hi <b>Jo</b>");
        let html = shown["steps"][0]["body_html"].as_str().unwrap();
        assert!(html.starts_with("<p>&lt;b&gt;Jo&lt;/b&gt; of : Bern</p>"), "{html}");
        assert!(html.contains("/u/sample") && !html.contains("<img"), "{html}");
        assert!(shown["steps"][1]["body_text"].as_str().unwrap().starts_with("plain jo@example.com"));
        assert_eq!(shown["steps"][1]["delay_minutes"], 60);
    })
    .await;
}

#[tokio::test]
async fn contacts_and_campaigns_of_others_do_not_exist() {
    world(|w| async move {
        let campaign = w.alice.made("/campaigns", &body()).await["id"].as_str().unwrap().to_owned();
        let theirs = contact(&w, &w.bob, "jo@example.com").await;
        let mut answers = Vec::new();
        for id in [theirs.to_string(), Uuid::now_v7().to_string(), "no-id".to_owned()] {
            let answer = w.alice.get(&format!("/campaigns/{campaign}/preview?contact_id={id}")).await;
            answer.assert_status(StatusCode::NOT_FOUND);
            answers.push(answer.text());
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
        assert!(answers[0].contains("contact_not_found"));
        let strange = w.bob.get(&format!("/campaigns/{campaign}/preview")).await;
        assert_eq!(strange.json::<Value>()["code"], "campaign_not_found");
        let typo = w.alice.get(&format!("/campaigns/{campaign}/preview?contact={theirs}")).await;
        typo.assert_status(StatusCode::BAD_REQUEST);
    })
    .await;
}
