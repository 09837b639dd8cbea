//! The `OpenAPI` document against the router, the catalogue and itself.

use std::collections::BTreeSet;

use ampout::{app::App, errors::Code, openapi};
use loco_rs::app::Hooks;
use serde_json::{Value, json};

use crate::support::{campaigns::campaign, world};

/// Path, method and description of every operation.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().clone();
        methods
            .into_iter()
            .map(|(method, one)| (path.clone(), method.to_uppercase(), one))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn the_document_has_exactly_the_operations_of_the_router() {
    world(|w| async move {
        let answer = w.server.get("/openapi.json").await;
        answer.assert_status_ok();
        assert_eq!(answer.header("content-type"), "application/json");
        let described: BTreeSet<String> = operations(&answer.json())
            .into_iter()
            .map(|(path, method, _)| format!("{method} {path}"))
            .collect();
        let routes = App::routes(&w.ctx).collect();
        let routed: BTreeSet<String> = routes
            .iter()
            .flat_map(|route| route.actions.iter().map(|method| format!("{method} {}", route.uri)))
            .collect();
        assert_eq!(described, routed, "src/openapi/operations.rs describes other operations");
    })
    .await;
}

#[test]
fn every_operation_has_a_name_of_its_own_an_answer_and_codes_of_the_catalogue() {
    let document = openapi::document();
    let (mut names, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (path, method, one) in operations(&document) {
        let name = one["operationId"].as_str().unwrap().to_owned();
        assert!(name.contains('_') && names.insert(name.clone()), "{method} {path}: {name}");
        assert!(!one["summary"].as_str().unwrap().is_empty() && one["tags"][0] != "", "{name}");
        let responses = one["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name} never succeeds");
        for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
            let shared =
                response["$ref"].as_str().map(|at| document.pointer(at.trim_start_matches('#')).unwrap());
            let schema = &shared.unwrap_or(response)["content"]["application/json"]["schema"];
            for word in schema["allOf"][1]["properties"]["code"]["enum"].as_array().unwrap() {
                let code = Code::parse(word.as_str().unwrap()).unwrap();
                assert_eq!(code.status().to_string(), *status, "{name}");
                seen.insert(code);
            }
        }
    }
    let missing: Vec<_> =
        Code::ALL.iter().filter(|code| !seen.contains(code) && !Code::reserved().contains(code)).collect();
    assert!(missing.is_empty(), "no operation answers {missing:?}");
}

#[test]
fn every_reference_leads_to_a_part_and_every_part_is_used() {
    let document = openapi::document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    let parts =
        document["components"].as_object().unwrap().iter().filter(|(kind, _)| *kind != "securitySchemes");
    let known: BTreeSet<String> = parts
        .flat_map(|(kind, parts)| {
            parts.as_object().unwrap().keys().map(move |name| format!("#/components/{kind}/{name}"))
        })
        .collect();
    assert_eq!(found, known);
}

/// Objects below that say nothing of their fields, by where they are.
fn free_form(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let says =
                ["properties", "additionalProperties", "allOf"].iter().any(|key| fields.contains_key(*key));
            if fields.get("type").is_some_and(|kind| kind == "object") && !says {
                found.push(at.to_owned());
            }
            fields.iter().for_each(|(name, inner)| free_form(&format!("{at}/{name}"), inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| free_form(at, inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn no_object_is_free_but_the_document_itself() {
    let document = openapi::document();
    let mut found = vec![];
    free_form("", &document["components"]["schemas"], &mut found);
    free_form("", &document["webhooks"], &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_field_of_a_state_says_its_words() {
    let document = openapi::document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        for (field, inner) in schema["properties"].as_object().into_iter().flatten() {
            let of_words =
                ["status", "state", "disabled_reason", "waiting_reason", "client_kind", "event_type"];
            if of_words.contains(&field.as_str()) {
                let text = inner.to_string();
                assert!(text.contains("enum") || text.contains("$ref"), "{name}.{field} is any text: {text}");
            }
        }
    }
}

/// A body and an answer of one name would be one schema: that of the answer, which is open to new fields.
#[test]
fn every_body_of_a_request_names_all_its_fields() {
    let document = openapi::document();
    // What Stripe and SMTP2GO send has fields of their own choice.
    let theirs = ["/webhooks/stripe", "/inbound/smtp2go/{token}"];
    let ours = operations(&document).into_iter().filter(|(path, ..)| !theirs.contains(&path.as_str()));
    for (path, method, one) in ours {
        let Some(name) = one["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str() else {
            continue;
        };
        let schema = &document["components"]["schemas"][name.rsplit('/').next().unwrap()];
        assert_eq!(schema["additionalProperties"], false, "{method} {path}: {name}");
    }
}

#[test]
fn a_body_is_required_only_where_a_field_is() {
    let document = openapi::document();
    for (path, method, one) in operations(&document) {
        let body = &one["requestBody"];
        let Some(name) = body["content"]["application/json"]["schema"]["$ref"].as_str() else { continue };
        let schema = &document["components"]["schemas"][name.rsplit('/').next().unwrap()];
        assert_eq!(body["required"], schema["required"].is_array(), "{method} {path}");
    }
}

#[test]
fn bodies_that_others_send_say_which_forms_they_may_have() {
    const FORM: &str = "application/x-www-form-urlencoded";
    let document = openapi::document();
    let kinds = |path: &str| -> Vec<&String> {
        let body = &document["paths"][path]["post"]["requestBody"];
        assert_eq!(body["required"], false, "{path}");
        body["content"].as_object().unwrap().keys().collect()
    };
    assert_eq!(kinds("/u/{token}"), [FORM, "multipart/form-data"]);
    assert_eq!(kinds("/inbound/smtp2go/{token}"), ["application/json", FORM]);
}

/// What a field of a request's body is that is left out, as its description says.
fn default(document: &Value, body: &str, field: &str) -> Value {
    let place = format!("/components/schemas/{body}/properties/{}", field.replace('.', "/properties/"));
    let found = document.pointer(&place).unwrap_or_else(|| panic!("{place} is missing"));
    said(found).unwrap_or_else(|| panic!("{place} does not say what it is when it is left out"))
}

fn said(schema: &Value) -> Option<Value> {
    let (_, said) = schema.get("description")?.as_str()?.split_once("Left out, it is `")?;
    let (said, _) = said.split_once('`')?;
    Some(serde_json::from_str(said).unwrap_or_else(|_| said.into()))
}

#[tokio::test]
async fn a_field_that_is_left_out_becomes_what_the_document_says() {
    world(|w| async move {
        let document = openapi::document();
        let default = |body: &str, field: &str| default(&document, body, field);
        let mut body = campaign("Plain");
        body["campaign"]["sequence_steps"].as_array_mut().unwrap().truncate(1);
        for owner in [&w.alice, &w.bob] {
            let made = owner.made("/campaigns", &body).await["id"].as_str().unwrap().to_owned();
            let seen = owner.seen(&format!("/campaigns/{made}")).await;
            for field in ["min_wait_seconds", "max_wait_seconds", "verify_email_mx", "bounce_rate_threshold"] {
                assert_eq!(seen[field], default("NewCampaign", &format!("campaign.{field}")), "{field}");
            }
            let step = "/components/schemas/NewCampaign/properties/campaign/properties/sequence_steps/items/properties";
            let delay = said(document.pointer(&format!("{step}/delay_minutes")).unwrap());
            assert_eq!(seen["sequence_steps"][0]["delay_minutes"], delay.unwrap());

            let key = owner.made("/api_keys", &json!({"label": "Plain"})).await;
            assert_eq!(key["client_kind"], default("NewApiKey", "client_kind"));
            let outreach = owner.made("/outreaches", &json!({"outreach": {"name": "Plain"}})).await;
            assert_eq!(outreach["unique_contacts"], default("NewOutreach", "outreach.unique_contacts"));
            let hook = json!({"webhook": {"url": "https://127.0.0.1/plain"}});
            let hook = owner.made("/webhooks", &hook).await;
            assert_eq!(hook["event_filters"], default("NewWebhook", "webhook.event_filters"));

            let import = w.import(owner, 2, "x.example").await;
            let contact = w.contacts_of(import).await[0];
            let path = format!("/campaigns/{made}/enroll_contact");
            let one = owner.made(&path, &json!({"contact_id": contact})).await;
            assert_eq!(one["batch_number"], default("EnrollContact", "batch_number"));
            let all = json!({"contact_import_id": import});
            let all = owner.made(&format!("/campaigns/{made}/enroll"), &all).await;
            assert_eq!(all["batch_size"], default("Enroll", "batch_size"));
        }
        assert_eq!(default("EnrollContact", "priority"), false);
        // A change that leaves a field out leaves it as it is.
        for change in ["CampaignChange", "OutreachChange", "WebhookChange"] {
            let mut fields = vec![&document["components"]["schemas"][change]];
            while let Some(schema) = fields.pop() {
                fields.extend(schema["properties"].as_object().into_iter().flat_map(|inner| inner.values()));
                assert_eq!(said(schema), None, "{change}");
            }
        }
    })
    .await;
}

/// Every word that a text below can have.
fn words(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let listed = fields.get("enum").and_then(Value::as_array);
            found.extend(listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
            fields.values().for_each(|inner| words(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| words(inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_words_of_the_document_are_those_of_the_answers() {
    let mut found = vec![];
    words(&openapi::document(), &mut found);
    assert!(found.iter().any(|word| word == "completed"));
    let shouted: Vec<_> = found.iter().filter(|word| word.chars().any(char::is_uppercase)).collect();
    assert!(shouted.is_empty(), "names of variants, not the words that are sent: {shouted:?}");
}

/// What an `operationId` begins with.
const VERBS: [&str; 18] = [
    "create",
    "delete",
    "dispatch",
    "enroll",
    "get",
    "list",
    "pause",
    "preview",
    "receive",
    "redeliver",
    "reenable",
    "resolve",
    "resume",
    "rotate",
    "test",
    "unsubscribe",
    "update",
    "verify",
];

#[test]
fn every_operation_id_is_a_verb_and_what_it_is_done_to() {
    for (path, method, one) in operations(&openapi::document()) {
        let (verb, resource) = one["operationId"].as_str().unwrap().split_once('_').unwrap();
        assert!(VERBS.contains(&verb) && !resource.is_empty(), "{method} {path}: {verb}_{resource}");
    }
}

#[test]
fn the_document_changes_only_on_purpose() {
    let mut document = openapi::document();
    document["info"]["version"] = "[version]".into();
    insta::assert_json_snapshot!("document", document);
}
