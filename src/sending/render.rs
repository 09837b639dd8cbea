//! Rendering one step for one contact: the subject and both bodies, with what every mail of ours carries.
//!
//! The preview and the send path call the same function. No I/O; headers are `compose.rs`'s.

use super::plain_text;
use super::template::{MergeValues, RenderError, Template, TemplateError, TemplateKind};

/// The compiled templates of one step: made once, kept as long as the step is sent.
#[derive(Debug)]
pub struct StepTemplates {
    subject: Template,
    html: Template,
    text: TextBody,
}

/// Where the text body comes from.
#[derive(Debug)]
enum TextBody {
    /// The author's, or derived from the HTML once for all.
    Template(Template),
    /// Derived from each rendered mail.
    FromHtml,
}

/// What a mail's links lead to.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    /// The recipient's unsubscribe page; a sample page in a preview.
    pub unsubscribe: &'a str,
    /// The pixel's address; none where opens are not tracked.
    pub pixel: Option<&'a str>,
}

/// A step as its recipient gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// With the footer, and the pixel where there is one.
    pub html: String,
    /// With the footer.
    pub text: String,
}

impl StepTemplates {
    /// Compiles a step. A blank text body is the same as none: it is derived from the HTML.
    ///
    /// # Errors
    /// Every field that failed, by its name in the contract, in the order of the contract.
    pub fn parse(
        subject: &str,
        body_html: &str,
        body_text: Option<&str>,
    ) -> Result<Self, Vec<(&'static str, TemplateError)>> {
        let subject = Template::parse(subject, TemplateKind::Subject);
        let html = Template::parse_html_with_text(body_html);
        let text = body_text
            .filter(|text| !text.trim().is_empty())
            .map(|text| Template::parse(text, TemplateKind::Text))
            .transpose();
        match (subject, html, text) {
            (Ok(subject), Ok((html, derived)), Ok(text)) => {
                let text = text.or(derived).map_or(TextBody::FromHtml, TextBody::Template);
                Ok(Self { subject, html, text })
            }
            (subject, html, text) => {
                let failures =
                    [("subject", subject.err()), ("body_html", html.err()), ("body_text", text.err())];
                Err(failures.into_iter().filter_map(|(field, error)| Some((field, error?))).collect())
            }
        }
    }
}

/// Renders a step for one contact.
///
/// # Errors
/// When a body grows past its bound.
pub fn render_step(
    step: &StepTemplates,
    values: &MergeValues<'_>,
    links: &Links<'_>,
) -> Result<Rendered, RenderError> {
    let subject = step.subject.render(values)?;
    let mut html = step.html.render(values)?;
    let mut text = match &step.text {
        TextBody::Template(template) => template.render(values)?,
        TextBody::FromHtml => plain_text::from_html(&html),
    };
    add_html_footer(&mut html, links);
    text.truncate(text.trim_end().len());
    text.push_str("\n\nUnsubscribe: ");
    text.push_str(links.unsubscribe);
    text.push('\n');
    Ok(Rendered { subject, html, text })
}

/// Before the end of the body where there is one, else at the end, and in no comment.
fn add_html_footer(html: &mut String, links: &Links<'_>) {
    let mut footer = format!(
        "<p style=\"margin-top:24px;font-size:12px;color:#767676\">\
         <a href=\"{}\" style=\"color:#767676\">Unsubscribe</a></p>\n",
        attribute(links.unsubscribe)
    );
    if let Some(pixel) = links.pixel {
        footer.push_str("<img src=\"");
        footer.push_str(&attribute(pixel));
        footer.push_str("\" width=\"1\" height=\"1\" alt=\"\" style=\"display:block\">\n");
    }
    let end = end_of_body(html);
    if end == html.len() && !html.ends_with('\n') {
        footer.insert(0, '\n');
    }
    html.insert_str(end, &footer);
}

/// Where what is shown ends: at the last `</body` that is no comment's, or at a comment that does not end.
fn end_of_body(html: &str) -> usize {
    let (mut end, mut shown_from) = (html.len(), 0);
    for (at, _) in html.match_indices('<') {
        if at < shown_from {
            continue;
        }
        // `<!-->` is a comment that ends.
        if let Some(comment) = html.get(at..).and_then(|rest| rest.strip_prefix("<!"))
            && comment.starts_with("--")
        {
            match comment.find("-->") {
                Some(length) => shown_from = at + 2 + length + 3,
                None => return end.min(at),
            }
        } else if html.as_bytes().get(at..at + 6).is_some_and(|tag| tag.eq_ignore_ascii_case(b"</body")) {
            end = at;
        }
    }
    end
}

fn attribute(url: &str) -> String {
    url.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::models::CustomFields;

    const LINKS: Links<'_> =
        Links { unsubscribe: "https://x.test/u/abc", pixel: Some("https://x.test/o/abc.gif") };

    fn render(subject: &str, html: &str, text: Option<&str>, links: &Links<'_>) -> Rendered {
        let custom = CustomFields::parse(json!({"n": 3, "url": "https://example.com/?a=1&b=2"})).unwrap();
        let values = MergeValues {
            first_name: Some("Jo & <Co>"),
            last_name: None,
            company: None,
            email: "jo@example.com",
            custom: &custom,
        };
        render_step(&StepTemplates::parse(subject, html, text).unwrap(), &values, links).unwrap()
    }

    #[test]
    fn footer_and_pixel_stand_before_the_end_of_the_body() {
        let rendered =
            render("Hi {{ first_name }}", "<body><p>Hi {{first_name}}</p></BODY></html>", None, &LINKS);
        insta::assert_snapshot!(rendered.html, @r#"
        <body><p>Hi Jo &amp; &lt;Co&gt;</p><p style="margin-top:24px;font-size:12px;color:#767676"><a href="https://x.test/u/abc" style="color:#767676">Unsubscribe</a></p>
        <img src="https://x.test/o/abc.gif" width="1" height="1" alt="" style="display:block">
        </BODY></html>
        "#);
        assert_eq!(rendered.subject, "Hi Jo & <Co>");
        assert_eq!(rendered.text, "Hi Jo & <Co>\n\nUnsubscribe: https://x.test/u/abc\n");
    }

    #[test]
    fn without_a_body_tag_the_footer_is_last_and_the_pixel_may_be_left_out() {
        let rendered =
            render("x", "<p>Hi</p>", Some("Hi {{ first_name }}\n"), &Links { pixel: None, ..LINKS });
        assert!(rendered.html.starts_with("<p>Hi</p>\n<p style="));
        assert!(rendered.html.ends_with("Unsubscribe</a></p>\n"));
        assert!(!rendered.html.contains("<img"));
        assert_eq!(rendered.text, "Hi Jo & <Co>\n\nUnsubscribe: https://x.test/u/abc\n");
    }

    #[test]
    fn the_footer_stands_in_no_comment() {
        for (html, at) in [
            ("<p>a</p><!-- </body> -->", "<p>a</p><!-- </body> -->|"),
            ("a</body><!-- </body> -->", "a|</body><!-- </body> -->"),
            ("<!--[if mso]></body><![endif]-->a</Body >", "<!--[if mso]></body><![endif]-->a|</Body >"),
            ("a<!--></body>", "a<!-->|</body>"),
            ("<!--></body>", "<!-->|</body>"),
            ("<p>a</p><!-- b --></body>", "<p>a</p><!-- b -->|</body>"),
            ("a<!-- b </body>", "a|<!-- b </body>"),
            ("a</body><!-- b", "a|</body><!-- b"),
            ("é</bodyé</bod", "é|</bodyé</bod"),
        ] {
            let mut marked = html.to_owned();
            marked.insert(end_of_body(html), '|');
            assert_eq!(marked, at);
        }
    }

    #[test]
    fn text_derived_once_says_the_same_as_text_derived_each_time() {
        let html = "<h1>Hi {{ first_name }}</h1><p>Your {{ custom.n }}  {{ company | default: 'team' }}<br>\
                    <a href=\"{{ custom.url }}&amp;c=3\">see {{ custom.absent }}</a> {{- email -}} !</p>";
        let once = render("x", html, None, &LINKS).text;
        let each_time = render("x", &format!("{{% if email %}}{html}{{% endif %}}"), None, &LINKS).text;
        assert_eq!(once, each_time);
        assert!(once.contains("https://example.com/?a=1&b=2&c=3"), "{once}");
        assert!(matches!(StepTemplates::parse("x", html, None).unwrap().text, TextBody::Template(_)));
    }

    #[test]
    fn text_that_reads_like_liquid_or_holds_our_marks_is_derived_each_time() {
        for html in [
            "&#123;&#123; nothing }} {{ email }}",
            "&#123;&#123; company }} {{ email }}",
            "&#123;% comment %}x&#123;% endcomment %} {{ email }}",
            "\u{F0000} {{ email }}",
            "{% if email %}x{% endif %}",
        ] {
            assert!(
                matches!(StepTemplates::parse("x", html, None).unwrap().text, TextBody::FromHtml),
                "{html}"
            );
        }
        let rendered = render("x", "&#123;&#123; nothing }} {{ email }}", None, &LINKS);
        assert!(rendered.text.starts_with("{{ nothing }} jo@example.com"));
    }

    #[test]
    fn every_field_that_fails_is_named() {
        let failures = StepTemplates::parse("", "{{ x }}", Some("{% for %}")).unwrap_err();
        let fields: Vec<&str> = failures.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, ["subject", "body_html", "body_text"]);
    }
}
