//! The bytes of each answer: which fields there are, in which order, and what is null. Ids and times are hidden.

use std::fmt::Write;

use serde_json::Value;

use crate::{
    support::world,
    tenancy::operations::{self, id_of, prepare, rows_of},
};

/// Resources whose answers are not shown by tests of their own. Those that dial somewhere are.
const SHOWN: [&str; 8] = [
    "/status",
    "/signup",
    "/account",
    "/api_keys",
    "/contacts",
    "/outreaches",
    "/campaigns",
    "/contact_imports",
];
const DIALLING: [&str; 2] = ["/test_send", "/verify"];

fn is_shown(route: &str) -> bool {
    SHOWN.iter().any(|start| route.starts_with(start)) && !DIALLING.iter().any(|end| route.ends_with(end))
}

/// Newest first, so that the rows of this request are what is seen.
fn first_of_list(text: &str) -> String {
    let many = serde_json::from_str::<Value>(text).unwrap().as_array().is_some_and(|rows| rows.len() > 1);
    if !many {
        return text.to_owned();
    }
    // The first element as it came: parsed and written again, it would lose its order.
    let mut ends = text.match_indices("},{").map(|(at, _)| &text[1..=at]);
    let row = ends.find(|row| serde_json::from_str::<Value>(row).is_ok()).unwrap();
    format!("[{row}, …]")
}

#[tokio::test]
async fn answers_have_exactly_these_fields_in_this_order() {
    world(|w| async move {
        let key = format!("Bearer {}", w.alice.key);
        let mut answers = String::new();
        for operation in operations::all().iter().filter(|it| is_shown(it.route)) {
            rows_of(&w, &w.bob).await;
            let rows = rows_of(&w, &w.alice).await;
            prepare(&w, operation, &rows).await;
            let answer = operation.send(&w, &[key.as_str()], |name| id_of(&rows, name)).await;
            let (status, text) = (answer.status_code().as_u16(), first_of_list(&answer.text()));
            writeln!(answers, "{} {}\n{status} {text}\n", operation.method, operation.route).unwrap();
        }
        insta::with_settings!({filters => vec![
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[id]"),
            (r"[0-9a-f]{32}", "[hex]"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[time]"),
            (r"\d{4}-\d\d-\d\d", "[date]"),
            (r#"ak_live_[^"]*"#, "[key]"),
            (r#"/inbound/smtp2go/[^"]*"#, "/inbound/smtp2go/[token]"),
        ]}, { insta::assert_snapshot!("answers", answers) });
    })
    .await;
}
