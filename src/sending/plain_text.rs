//! The text body that follows from an HTML body, for authors who wrote none.

use std::borrow::Cow;
use std::collections::HashMap;
use std::panic::catch_unwind;

/// Columns at which text is wrapped (RFC 3676 section 4.2 advises at most 78).
const COLUMNS: usize = 76;

/// Most elements that may be open at once: the converter takes time by the square of the depth, and what tenants
/// write may be nothing but depth. No mail that people read comes near.
const MOST_OPEN: usize = 100;
/// Most tables within tables: each lays out all that are in it.
const MOST_TABLES: usize = 20;

/// Most HTML that is read, in bytes: mail programs cut longer mails as well, and a send must not wait for more.
const MOST_BYTES: usize = 100 * 1024;

/// Readable text: paragraphs, lists, and links as numbers with their targets below. Deterministic.
///
/// Empty where there is nothing to read, and for HTML that is nested beyond all reason.
pub fn from_html(html: &str) -> String {
    let html = html.get(..html.floor_char_boundary(MOST_BYTES)).unwrap_or(html);
    if is_too_deep(html) {
        return String::new();
    }
    let html = without_spans(html);
    // The converter is given what tenants wrote; a panic in it costs the text, not the process.
    let text = catch_unwind(|| {
        html2text::config::plain()
            .no_link_wrapping()
            .allow_width_overflow()
            .string_from_read(html.as_bytes(), COLUMNS)
    });
    let text = text.ok().and_then(Result::ok).unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.dedup_by(|next, before| next.is_empty() && before.is_empty());
    let mut text = lines.join("\n").trim().to_owned();
    text.truncate(text.floor_char_boundary(MOST_BYTES));
    text
}

/// Hides `rowspan` and `colspan` from the converter, which lays their cells out one by one and fills the memory
/// if told so. Writing the last letter as a reference changes the attribute's name, and no text.
fn without_spans(html: &str) -> Cow<'_, str> {
    let mut safe = String::new();
    let mut copied = 0_usize;
    for (start, window) in html.as_bytes().windows(7).enumerate() {
        if !window.eq_ignore_ascii_case(b"rowspan") && !window.eq_ignore_ascii_case(b"colspan") {
            continue;
        }
        let last = start.saturating_add(6);
        safe.push_str(html.get(copied..last).unwrap_or_default());
        safe.push_str(if window.ends_with(b"n") { "&#110;" } else { "&#78;" });
        copied = last.saturating_add(1);
    }
    if copied == 0 {
        return Cow::Borrowed(html);
    }
    safe.push_str(html.get(copied..).unwrap_or_default());
    Cow::Owned(safe)
}

/// Whether more elements are opened than closed, name by name, than any mail needs. Elements that have no end, or
/// that their next sibling ends, do not nest and do not count.
fn is_too_deep(html: &str) -> bool {
    let mut open: HashMap<String, usize> = HashMap::new();
    let mut total = 0_usize;
    for tag in html.split('<').skip(1) {
        let (is_end, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let length = tag.bytes().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'));
        let name = tag.get(..length.unwrap_or(tag.len())).unwrap_or_default().to_ascii_lowercase();
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || NEVER_NEST.contains(&name.as_str())
        {
            continue;
        }
        let most = if name == "table" { MOST_TABLES } else { MOST_OPEN };
        let count = open.entry(name).or_default();
        if !is_end {
            *count = count.saturating_add(1);
            total = total.saturating_add(1);
        } else if *count > 0 {
            *count = count.saturating_sub(1);
            total = total.saturating_sub(1);
        }
        if total > MOST_OPEN || *count > most {
            return true;
        }
    }
    false
}

/// Void elements, and those with an optional end (HTML standard, sections 13.1.2 and 13.1.2.4).
const NEVER_NEST: [&str; 24] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track",
    "wbr", "p", "li", "td", "th", "tr", "dt", "dd", "option", "tbody", "colgroup",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_lists_and_links_are_kept() {
        let html = "<html><head><style>p{}</style><title>x</title></head><body><h1>Hi</h1><p>One\n two</p>\
                    <ul><li>a<li>b</ul><p>See <a href=\"https://example.com/a?b=1&amp;c=2\">this</a>.</p></body></html>";
        let text = from_html(html);
        assert_eq!(text, "# Hi\n\nOne two\n* a\n* b\n\nSee [this][1].\n\n[1]: https://example.com/a?b=1&c=2");
    }

    #[test]
    fn depth_costs_neither_stack_nor_clock() {
        for tag in [
            "<div>",
            "<DIV class=x></span>",
            "<ul><li>",
            "<table><tr><td></div>",
            "<b>",
            "<b><p>",
            "<pre>",
            "<div/>",
        ] {
            assert_eq!(from_html(&tag.repeat(256 * 1024 / tag.len())), "", "{tag}");
        }
        for flat in ["<p>x", "<li>x", "<div>x</div>", "<img src=a alt=x>", "<br>x", "<!--", "< a <"] {
            let html = flat.repeat(10_000 / flat.len());
            assert!(!is_too_deep(&html), "{flat}");
            assert!(from_html(&html).len() < 100_000, "{flat}");
        }
    }

    #[test]
    fn depth_is_counted_for_all_elements_together_and_for_tables_alone() {
        for (tag, most) in [("<div>", MOST_OPEN), ("<table>", MOST_TABLES)] {
            assert!(!is_too_deep(&tag.repeat(most)), "{tag}");
            assert!(is_too_deep(&tag.repeat(most + 1)), "{tag}");
        }
        let each = MOST_OPEN / 2 + 1;
        assert!(is_too_deep(&"<i><b>".repeat(each)), "together they are too many");
        assert!(is_too_deep(&"<i><b></u></s>".repeat(each)), "what was never opened closes nothing");
    }

    #[test]
    fn cells_that_claim_to_be_large_are_taken_as_small() {
        let html = format!(
            "<table>{}</table>rowspan COLSPAN",
            "<tr><td rowSPAN=10000 colspan=9999>x</td></tr>".repeat(1_000)
        );
        let text = from_html(&html);
        assert!(text.len() < 100_000 && text.ends_with("rowspan COLSPAN"), "{}", text.len());
    }
}
