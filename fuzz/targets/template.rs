//! Templates: what parses renders for any contact, in bounds; no value brings markup into HTML or a line break into a
//! subject.
//!
//! The input is the template, a name and a field of the contact's own, with NUL between them.
#![cfg_attr(fuzzing, no_main)]

use std::panic;

use ampout::{
    models::CustomFields,
    sending::template::{MergeValues, RENDERED_BYTES, RenderError, Template, TemplateKind},
};
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// The product catches panics of the language's library; libfuzzer's own hook would end the process at each.
fn panics_may_be_caught() {
    panic::set_hook(Box::new(|info| {
        if info.location().is_some_and(|at| at.file().starts_with("targets/")) {
            eprintln!("{info}");
        }
    }));
}

fn rendered(template: &Template, values: &MergeValues<'_>) -> Option<String> {
    match template.render(values) {
        Ok(text) => {
            assert!(text.len() <= RENDERED_BYTES);
            Some(text)
        }
        Err(RenderError::TooLarge) => None,
        Err(RenderError::Failed) => panic!("a template that parsed does not render"),
    }
}

fuzz_target!(init: panics_may_be_caught(), |data: &str| {
    let mut parts = data.split('\0');
    let [source, name, own] = [(); 3].map(|()| parts.next().unwrap_or_default());
    // A number, a truth or a text, as a client may give it.
    let own = serde_json::from_str::<Value>(own).ok().filter(|value| value.is_number() || value.is_boolean());
    let own = own.unwrap_or_else(|| data.rsplit('\0').next().unwrap_or_default().into());
    let Ok(custom) = CustomFields::parse(json!({ "plan": own, "x": "<script>\r\nBcc: a@b.test" })) else { return };
    let values = MergeValues {
        first_name: Some(name),
        last_name: Some("O'Neil & <b>\u{2028}"),
        company: None,
        email: "jo@example.com",
        custom: &custom,
    };

    if let Ok(template) = Template::parse(source, TemplateKind::Subject) {
        let subject = rendered(&template, &values).unwrap_or_default();
        assert!(!subject.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{subject:?}");
        assert!(subject.chars().count() <= 998);
    }
    if let Ok(template) = Template::parse(source, TemplateKind::Text) {
        rendered(&template, &values);
    }
    if let Ok((html, text)) = Template::parse_html_with_text(source) {
        rendered(&html, &values);
        if let Some(text) = text {
            rendered(&text, &values);
        }
    }
    // Without markup of the author's own there is none, whatever the values and the texts within tags are.
    let bare = source.replace(['<', '>', '"'], "(");
    if let Ok(template) = Template::parse(&bare, TemplateKind::Html) {
        let html = rendered(&template, &values).unwrap_or_default();
        assert!(!html.contains(['<', '>', '"']), "{html:?}");
    }
});
