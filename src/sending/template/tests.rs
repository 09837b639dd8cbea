#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::models::CustomFields;

fn custom() -> CustomFields {
    CustomFields::parse(json!({
        "plan": "pro", "seats": 12, "rate": 1.5, "trial": false, "vip": true, "empty": "", "first order": "a & b",
        "script": "<script>alert('x')</script>", "liquid": "{{ email }}{% if %}", "lines": "a\r\nBcc: x@y.z\nb",
        "renewal": "2026-04-27 10:00:00 +0000", "huge": u64::MAX,
    }))
    .unwrap()
}

fn render_for(first_name: Option<&str>, source: &str, kind: TemplateKind) -> Result<String, RenderError> {
    let custom = custom();
    let values = MergeValues {
        first_name,
        last_name: Some("O'Neil & Söhne <b>"),
        company: None,
        email: "jo@example.com",
        custom: &custom,
    };
    Template::parse(source, kind).unwrap().render(&values)
}

fn text(source: &str) -> String {
    render_for(Some("Jo"), source, TemplateKind::Text).unwrap()
}

fn html(source: &str) -> String {
    render_for(Some("Jo"), source, TemplateKind::Html).unwrap()
}

#[rstest]
#[case("Hi {{first_name}}!", "Hi Jo!")]
#[case("Hi {{ first_name | upcase | append: '!' }}", "Hi JO!")]
#[case("{{ company | default: 'you' }}", "you")]
#[case("[{{ company }}]", "[]")]
#[case("[{{ custom.absent }}][{{ custom.empty }}]", "[][]")]
#[case("{{ custom.plan }} {{ custom['plan'] }} {{ custom[\"first order\"] }}", "pro pro a & b")]
#[case(
    "{{ custom.seats | plus: 1 }} {{ custom.rate }} {{ custom.trial }} {{ custom.huge }}",
    "13 1.5 false 18446744073709551615"
)]
#[case("{% if company %}a{% else %}b{% endif %}", "b")]
#[case("{% if first_name %}a{% else %}b{% endif %}", "a")]
#[case("{% if custom.empty %}a{% elsif custom.vip %}b{% else %}c{% endif %}", "b")]
#[case("{% unless custom.trial %}paid{% endunless %}", "paid")]
#[case("{% case custom.plan %}{% when 'free' %}f{% when 'pro', 'scale' %}p{% else %}e{% endcase %}", "p")]
#[case("{% if custom.seats > 10 and email contains '@' %}big{% endif %}", "big")]
#[case("{% if custom.rate > 1 and custom.rate < 2 %}between{% endif %}", "between")]
#[case("{% if company contains 'x' %}a{% else %}b{% endif %}", "b")]
#[case(
    "{% if company == nil %}a{% endif %}{% if company == blank %}b{% endif %}{% if company == '' %}c{% endif %}",
    "abc"
)]
#[case("{% if custom.absent > 3 %}a{% else %}b{% endif %}", "b")]
#[case("a {%- if first_name -%} b {%- endif -%} c {{- first_name -}} d", "abcJod")]
#[case("a{% comment %} {{ nothing.known }} {% for %} {% endcomment %}b", "ab")]
#[case("{{ first_name | plus: 1 }}|{{ 1 | divided_by: 0 }}", "|")]
#[case("{{ custom.renewal | date: '%d %B %Y' }}", "27 April 2026")]
#[case(
    "{{ '2024-02-29' | date: '%d.%m.%Y' }} {{ '2024-02-29T23:30:00-05:00' | date: '%d %H:%M %z' }} \
     {{ '2024-02-29T10:00:00.123456Z' | date: '%H' }} {{ '2024-02-29T11:00:00' | date: '%H %z' }} \
     {{ '2024-02-30' | date: '%d' }}",
    "29.02.2024 29 23:30 -0500 10 11 +0000 2024-02-30"
)]
#[case("{{ '2024-02-29' | date: '' }} {{ '2024-02-29T10:00:00.25Z' | date: '%L' }}", "2024-02-29 250")]
#[case("{{ '1234' | slice: 0, 2 | plus: 1 }}", "13")]
#[case(
    "{{ 'é😀ß' | size }} {{ 'é😀ß' | slice: -1 }} {{ 'é😀ß' | slice: 1, 5 }} {{ 'a,b,c' | split: ',' | slice: 1, 2 | join: '+' }} \
     {{ 'a,b' | split: ',' | size }} {{ company | size }}",
    "3 ß 😀ß b+c 2 0"
)]
#[case("{{ 'hELLO wORLD' | capitalize }} {{ 'ÉMILE' | capitalize }}", "Hello world Émile")]
#[case("{{ last_name | split: ' ' | first }}", "O'Neil")]
#[case("{{ custom.liquid }}", "{{ email }}{% if %}")]
#[case("{{ last_name }}", "O'Neil & Söhne <b>")]
#[case("{{ 'a\" %} b' }}", "a\" %} b")]
#[case(
    "{{ -9223372036854775807 | minus: 1 | divided_by: -1 }}.{{ first_name | slice: 0, 9223372036854775807 }}",
    ".Jo"
)]
#[case("body { color: red } %} }} [x][y]", "body { color: red } %} }} [x][y]")]
fn liquid_cases(#[case] source: &str, #[case] expected: &str) {
    assert_eq!(text(source), expected);
}

#[rstest]
#[case("<b>{{ last_name }}</b>", "<b>O&#39;Neil &amp; Söhne &lt;b&gt;</b>")]
#[case("{{ custom.script }}", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;")]
#[case(
    "{{ custom.script | upcase | append: '<i>' }}",
    "&lt;SCRIPT&gt;ALERT(&#39;X&#39;)&lt;/SCRIPT&gt;&lt;i&gt;"
)]
#[case("{{ last_name | replace: '&', '<' -}}  x", "O&#39;Neil &lt; Söhne &lt;b&gt;x")]
#[case("{% if first_name %}<p>{{ last_name | truncate: 9 }}</p>{% endif %}", "<p>O&#39;Neil...</p>")]
#[case("<a href=\"{{ custom.lines }}\">", "<a href=\"a\r\nBcc: x@y.z\nb\">")]
#[case("{{ company }}{{ custom.absent | default: '<' }}", "&lt;")]
#[case("{{ custom.seats }}{{ custom.vip }}", "12true")]
fn values_are_escaped_last_in_html(#[case] source: &str, #[case] expected: &str) {
    assert_eq!(html(source), expected);
}

#[test]
fn a_subject_stays_one_line() {
    let subject = |source| render_for(Some("Jo\r\nBcc: x"), source, TemplateKind::Subject).unwrap();
    assert_eq!(subject("Hi {{ first_name }}"), "Hi Jo  Bcc: x");
    assert_eq!(subject("Hi\n{{ custom.lines }} <b>"), "Hi a  Bcc: x@y.z b <b>");
    assert_eq!(subject("{{ '%0D%0Ax' | url_decode }}y"), "xy");
}

#[rstest]
#[case("{{ first_nam }}", "unknown merge tag first_nam")]
#[case("{{ first_nam | default: 'x' }}", "unknown merge tag first_nam")]
#[case("{{ first_name.size }}", "unknown merge tag first_name.size")]
#[case("{{ custom }}", "unknown merge tag custom")]
#[case("{{ custom.a.b }}", "unknown merge tag custom.a.b")]
#[case("{{ custom[first_name] }}", "unknown merge tag custom[first_name]")]
#[case("{{ custom[0] }}", "unknown merge tag custom[0]")]
#[case("{{ company | default: nickname }}", "unknown merge tag nickname")]
#[case("{{ company | default: custom[first_name] }}", "unknown merge tag custom[first_name]")]
#[case("{% if custom[first_name] %}x{% endif %}", "unknown merge tag custom[first_name]")]
#[case("{% if nickname %}x{% endif %}", "unknown merge tag nickname")]
#[case("{% if false %}{% elsif email == nickname %}x{% endif %}", "unknown merge tag nickname")]
#[case("{% unless false %}{{ nickname }}{% endunless %}", "unknown merge tag nickname")]
#[case("{% case plan %}{% when 1 %}{% endcase %}", "unknown merge tag plan")]
#[case("{% case email %}{% when plan %}{% endcase %}", "unknown merge tag plan")]
#[case("{% for i in (1..9) %}x{% endfor %}", "{% for %} is not supported")]
#[case("{% include 'x' %}", "{% include %} is not supported")]
#[case("{% assign x = email %}", "{% assign %} is not supported")]
#[case("{% capture x %}{% endcapture %}", "{% capture %} is not supported")]
#[case("{% raw %}{{ x }}{% endraw %}", "{% raw %} is not supported")]
#[case("x{% endtemplate %}{{ nickname }}", "")]
#[case("{% template %}", "{% template %} is not supported")]
#[case("{{ email | escape_last__ }}", "Unknown filter")]
#[case("{{ email | shout }}", "Unknown filter")]
#[case("{{ email | append }}", "")]
#[case("{{ email | upcase: 1 }}", "")]
#[case("{{ email", "a tag is not closed")]
#[case("{{ }}", "line 1")]
#[case("{% if email %}x", "")]
#[case("{% endif %}", "")]
#[case("{% if email | upcase %}x{% endif %}", "")]
#[case("{% if nil contains 'x' %}x{% endif %}", "nil, empty and blank contain nothing")]
#[case("{{ 99999999999999999999 }}", "not a valid Liquid template")]
#[case("{% comment %}x", "")]
fn what_is_not_ours_is_refused_at_creation(#[case] source: &str, #[case] said: &str) {
    for kind in [TemplateKind::Subject, TemplateKind::Html, TemplateKind::Text] {
        let error = Template::parse(source, kind).unwrap_err().to_string();
        assert!(error.starts_with("is invalid: ") && error.contains(said), "{source}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn an_error_names_its_line() {
    let error = Template::parse("a\nb {{ email | }}\nc", TemplateKind::Text).unwrap_err();
    assert_eq!(error.to_string(), "is invalid: line 2: expected Identifier");
}

#[test]
fn length_is_bounded_and_only_a_text_body_may_be_blank() {
    use TemplateKind::{Html, Subject, Text};
    assert_eq!(Template::parse("  ", Subject).unwrap_err(), TemplateError::Blank);
    assert_eq!(Template::parse("\n", Html).unwrap_err(), TemplateError::Blank);
    assert!(Template::parse("", Text).is_ok());
    assert_eq!(Template::parse(&"ö".repeat(999), Subject).unwrap_err(), TemplateError::TooLong(998));
    assert!(Template::parse(&"ö".repeat(998), Subject).is_ok());
    assert_eq!(
        Template::parse(&"a".repeat(BODY_BYTES + 1), Html).unwrap_err(),
        TemplateError::TooLong(BODY_BYTES)
    );
    assert!(Template::parse(&"a".repeat(BODY_BYTES), Html).is_ok());
}

#[test]
fn hostile_sources_are_refused_without_exhausting_the_stack_or_the_clock() {
    let hostile = [
        "{% if email %}".repeat(1_000),
        format!("{{% if email %}}{}", "{% elsif email %}".repeat(1_000)),
        format!("{{{{ {}", "custom[".repeat(30_000)),
        format!("{{{{ '}}}}' | append: {} }}}}", "custom[".repeat(100)),
        format!("{{{{ x '{{{{ \"' }}}} \" | append: {} }}}}", "custom[".repeat(200)),
        " ".repeat(BODY_BYTES),
        "{{".repeat(BODY_BYTES / 2),
        "{{ \"".repeat(BODY_BYTES / 4),
        "{% comment %}".repeat(15_000),
        format!("{{% if email {} %}}x{{% endif %}}", "or email ".repeat(5_000)),
    ];
    for source in hostile {
        assert!(Template::parse(&source, TemplateKind::Html).is_err(), "{}", &source[..20]);
    }
}

#[test]
fn what_reaches_a_limit_is_taken_and_what_passes_it_refused() {
    let parse = |source: &str| {
        Template::parse(source, TemplateKind::Text).map(|_| ()).map_err(|error| error.to_string())
    };
    let cases = [
        ("{{email}}".repeat(2_000), "{{email}}".repeat(2_001), "more than 2000 tags"),
        (
            format!("a{}b", " ".repeat(128)),
            format!("a{}b", " ".repeat(129)),
            "more than 128 white-space characters in a row",
        ),
        ("{{ '[[[[[[[' }}".to_owned(), "{{ '[[[[[[[[' }}".to_owned(), "too many brackets in one tag"),
    ];
    for (taken, refused, said) in cases {
        assert_eq!(parse(&taken), Ok(()), "{said}");
        assert!(parse(&refused).is_err_and(|error| error.contains(said)), "{said}");
    }
}

#[rstest]
#[case("{{ 'a}}' | append: '[[[[[[[[' }}")]
#[case("{{ \"a%}\" | append: '[[[[[[[[' }}")]
#[case("{{ email } '[[[[[[[[' }}")]
#[case("{{ email % '[[[[[[[[' }}")]
fn brackets_are_counted_to_the_end_of_a_tag_which_is_not_in_quotes(#[case] source: &str) {
    let error = Template::parse(source, TemplateKind::Text).unwrap_err().to_string();
    assert!(error.contains("too many brackets in one tag"), "{source}: {error}");
}

#[rstest]
#[case("{% if email %}", "{% endif %}")]
#[case("{% unless email %}", "{% endunless %}")]
#[case("{% case email %}{% when 'x' %}", "{% endcase %}")]
fn conditions_nest_to_a_depth_and_follow_one_another_to_any_length(#[case] begin: &str, #[case] end: &str) {
    let parse = |source: String| Template::parse(&source, TemplateKind::Html).map(|_| ());
    let nested = |depth: usize| parse(format!("{}x{}", begin.repeat(depth), end.repeat(depth)));
    assert_eq!(nested(50), Ok(()));
    let error = nested(51).unwrap_err().to_string();
    assert!(error.contains("conditions are nested too deeply"), "{error}");
    assert_eq!(parse(format!("{begin}x{end}").repeat(120)), Ok(()), "side by side");
}

#[test]
fn a_template_shows_its_size_and_not_its_words() {
    let template = Template::parse("Dear {{ first_name }}", TemplateKind::Text).unwrap();
    assert_eq!(format!("{template:?}"), "Template(Text, 2 elements)");
}

#[test]
fn rendering_is_bounded_in_size_and_time() {
    let cases = [
        format!("{{{{ 'aaaaaaaaaa' {} }}}}", "| replace: 'a', 'aaaaaaaaaaaaaaaaaaaa'".repeat(20)),
        "{{ email | replace: '', email | replace: '', email | replace: '', email | replace: '', email }}"
            .to_owned(),
        format!(
            "{{{{ email | split: '' | join: '{}' {} }}}}",
            "x".repeat(900),
            "| split: '' | join: 'xxxxxxxxxx'".repeat(8)
        ),
        format!("{}{}", "x".repeat(150_000), "{{ email | append: custom.script }}".repeat(1_900)),
    ];
    for source in &cases[..3] {
        assert_eq!(
            render_for(None, source, TemplateKind::Html),
            Err(RenderError::TooLarge),
            "{}",
            &source[..40]
        );
    }
    assert!(render_for(None, &cases[3], TemplateKind::Html).unwrap().len() > 200_000);
    assert_eq!(text("[{{ 'now' | date: '%999999999d' }}]"), "[]");
    let custom = CustomFields::parse(json!({"long": "x".repeat(10_000)})).unwrap();
    let values =
        MergeValues { first_name: None, last_name: None, company: None, email: "a@b.c", custom: &custom };
    let output =
        Template::parse(&"{{ custom.long }}".repeat(200), TemplateKind::Text).unwrap().render(&values);
    assert_eq!(output, Err(RenderError::TooLarge));
    let hidden =
        Template::parse(&"{{ custom.long | upcase | size }}".repeat(1_900), TemplateKind::Text).unwrap();
    assert_eq!(hidden.render(&values), Err(RenderError::TooLarge));
}

/// A filter that can multiply is not begun where it could give more than a value may hold; any other is bounded by what it
/// gave.
#[test]
fn a_value_holds_256_kib_and_not_a_byte_more() {
    let custom = CustomFields::parse(json!({"long": "x".repeat(8_192), "items": "x".repeat(1_000)})).unwrap();
    let length = |source: String| {
        let values =
            MergeValues { first_name: None, last_name: None, company: None, email: "a@b.c", custom: &custom };
        Template::parse(&source, TemplateKind::Text).unwrap().render(&values).map(|text| text.len())
    };
    let with = "y".repeat(31);
    let full = format!("{{{{ custom.long | replace: 'x', '{with}' | append: custom.long");
    assert_eq!(length(format!("{full} }}}}")), Ok(262_144));
    assert_eq!(length(format!("{full} | append: 'z' }}}}")), Err(RenderError::TooLarge));
    assert_eq!(length(format!("{{{{ custom.long | replace: 'z', '{with}' }}}}")), Ok(8_192));
    assert_eq!(
        length(format!("{{{{ custom.long | replace: 'z', '{with}y' }}}}")),
        Err(RenderError::TooLarge)
    );
    let joined =
        |by: usize| format!("{{{{ custom.items | split: '' | join: '{}' | size }}}}", "y".repeat(by));
    assert_eq!(length(joined(228)), Ok(6));
    assert_eq!(length(joined(229)), Err(RenderError::TooLarge));
    let linear =
        "{{ custom.long | append: custom.long | append: custom.long | append: custom.long | upcase }}";
    assert_eq!(length(linear.to_owned()), Ok(32_768));
    assert_eq!(length("{{ custom.long | upcase | size }}".repeat(200)), Ok(800), "some megabytes of work");
    assert_eq!(length("{{ custom.long | slice: 0, 8192 }}".to_owned()), Ok(8_192), "a slice is a text");
}

#[test]
fn a_mail_holds_a_mib_and_not_a_byte_more() {
    let custom = CustomFields::parse(json!({"long": "x".repeat(8_192)})).unwrap();
    let values =
        MergeValues { first_name: None, last_name: None, company: None, email: "a@b.c", custom: &custom };
    let full = "{{ custom.long }}".repeat(128);
    let length = |source: &str| {
        Template::parse(source, TemplateKind::Text).unwrap().render(&values).map(|text| text.len())
    };
    assert_eq!(length(&full), Ok(1_048_576));
    assert_eq!(length(&format!("{full}x")), Err(RenderError::TooLarge));
}

proptest! {
    #[test]
    fn no_source_makes_it_panic(source in "([ a-z]|\\{\\{|\\}\\}|\\{%|%\\}|if|endif|else|email|custom|\\.|\\[|\\]|'|\"|\\||-|append|:|99){0,40}") {
        if let Ok(template) = Template::parse(&source, TemplateKind::Html) {
            let custom = custom();
            let values = MergeValues { first_name: None, last_name: None, company: None, email: "a@b.c", custom: &custom };
            prop_assert!(template.render(&values).is_ok());
        }
    }

    #[test]
    fn a_value_is_data_in_every_kind(value in "\\PC{0,40}|[<>&'\"{}%a-z\\r\\n ]{0,40}") {
        let source = "a{{ first_name }}b";
        let plain = render_for(Some(&value), source, TemplateKind::Text).unwrap();
        prop_assert_eq!(plain, format!("a{value}b"));
        let escaped = render_for(Some(&value), source, TemplateKind::Html).unwrap();
        prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
        let subject = render_for(Some(&value), source, TemplateKind::Subject).unwrap();
        prop_assert!(!subject.chars().any(char::is_control));
    }
}
