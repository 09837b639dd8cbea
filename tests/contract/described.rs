//! What the `OpenAPI` document says against what is answered, and against itself. The answers of every other test are
//! held against it too (`tests/support/conformance.rs`).

use std::collections::BTreeSet;

use ampout::openapi;
use serde_json::Value;

use crate::{
    support::{
        billing::paying_world as world,
        conformance::{Judge, escaped},
    },
    tenancy::operations::{self, id_of, prepare, rows_of},
};

/// Schemas and the samples beside them, as pointers.
fn samples(at: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            if let Some(schema) = fields.get("schema").map(|_| format!("{at}/schema")) {
                found.extend(fields.get("example").map(|sample| (schema.clone(), sample.clone())));
                let named = fields.get("examples").and_then(Value::as_object);
                let named = named.into_iter().flat_map(|all| all.values());
                found.extend(named.map(|sample| (schema.clone(), sample["value"].clone())));
            }
            fields.iter().for_each(|(name, inner)| samples(&format!("{at}/{}", escaped(name)), inner, found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, inner)| samples(&format!("{at}/{n}"), inner, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_sample_fits_its_schema() {
    let document = openapi::document();
    let (judge, mut found) = (Judge::new(document.clone()), vec![]);
    samples("", &document, &mut found);
    assert!(found.len() > 200, "only {} samples", found.len());
    let wrong: Vec<String> = found
        .iter()
        .filter_map(|(schema, sample)| Some(format!("{schema}: {}", judge.misfit(schema, sample)?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_json_body_has_a_sample() {
    let document = openapi::document();
    let mut found = vec![];
    samples("", &document, &mut found);
    let with: BTreeSet<&str> = found.iter().map(|(schema, _)| schema.as_str()).collect();
    for name in document["components"]["responses"].as_object().unwrap().keys() {
        let place = format!("/components/responses/{name}/content/application~1json/schema");
        assert!(with.contains(place.as_str()), "{name}");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let at = format!("/paths/{}/{method}", escaped(path));
            let body = format!("{at}/requestBody");
            let responses = operation["responses"].as_object().unwrap().keys();
            let all = responses.map(|status| format!("{at}/responses/{status}")).chain([body]);
            for place in all.map(|place| format!("{place}/content/application~1json/schema")) {
                let is_there = document.pointer(&place).is_some();
                assert!(!is_there || with.contains(place.as_str()), "{place}");
            }
        }
    }
}

#[tokio::test]
async fn every_operation_succeeds_as_the_document_says() {
    world(|w| async move {
        let key = format!("Bearer {}", w.alice.key);
        let mut expected = BTreeSet::new();
        for operation in operations::all() {
            let rows = rows_of(&w, &w.alice).await;
            prepare(&w, &operation, &rows).await;
            let answer = operation.send(&w, &[key.as_str()], |name| id_of(&rows, name)).await;
            assert!(answer.status_code().is_success(), "{}: {}", operation.route, answer.text());
            expected.insert(format!("{} {}", operation.method, operation.route));
        }
        // Each was held against the document on its way.
        let seen = w.conformance.succeeded();
        assert_eq!(expected.difference(&seen).collect::<Vec<_>>(), Vec::<&String>::new());
    })
    .await;
}
