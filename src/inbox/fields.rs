//! Header fields as text: unfolded values, Message-IDs, addresses, and the groups of fields of a delivery status. Pure,
//! and lenient: what cannot be read is left out, since notices are written by programs of thirty years.

/// Ids taken from one field; the last of a long thread are what matters.
const MOST_IDS: usize = 30;
/// Longest id that is looked at.
const LONGEST_ID: usize = 300;

/// One field of a group: its name in lower case, and its value on one line.
pub(super) type Field = (String, String);

/// Splits text into groups of fields, which are separated by blank lines (RFC 3464, section 2.1).
pub(super) fn groups(text: &str) -> Vec<Vec<Field>> {
    let mut groups: Vec<Vec<Field>> = vec![Vec::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            if groups.last().is_some_and(|group| !group.is_empty()) {
                groups.push(Vec::new());
            }
            continue;
        }
        let Some(group) = groups.last_mut() else { continue };
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = group.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            group.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// The first value of a field.
pub(super) fn value<'a>(group: &'a [Field], name: &str) -> Option<&'a str> {
    group.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// The Message-IDs of a field in their order, without brackets. White space inside, which folding leaves, is removed.
pub(super) fn message_ids(text: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((inside, next)) = after.split_once('>') else { break };
        // A second `<` before the `>`: the first was not the beginning of an id.
        let inside = inside.rsplit('<').next().unwrap_or(inside);
        keep_id(&mut ids, inside);
        rest = next;
    }
    if ids.is_empty() {
        // No whole pair of brackets: half of one is no part of an id either.
        let words = text.split(|c: char| c.is_whitespace() || matches!(c, '<' | '>'));
        words.filter(|word| word.contains('@')).for_each(|word| keep_id(&mut ids, word));
    }
    let surplus = ids.len().saturating_sub(MOST_IDS);
    ids.drain(..surplus);
    ids
}

fn keep_id(ids: &mut Vec<String>, text: &str) {
    let id: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    // None of ours has a control character, and PostgreSQL takes no NUL in a text.
    if id.contains('@')
        && !id.contains(char::is_control)
        && (3..=LONGEST_ID).contains(&id.len())
        && !ids.contains(&id)
    {
        ids.push(id);
    }
}

/// The address of `rfc822; <ada@example.test>` and its like, in lower case.
pub(super) fn typed_address(text: &str) -> Option<String> {
    let text = text.rsplit_once(';').map_or(text, |(_, address)| address);
    address(text)
}

/// An address in lower case, without brackets and what else mail programs put around it.
pub(super) fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let inside = match (text.rfind('<'), text.rfind('>')) {
        (Some(from), Some(to)) if from < to => text.get(from + 1..to).unwrap_or(text),
        _ => text,
    };
    let around = |c: char| {
        c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '"' | '\'' | ',' | ';' | ':' | '.')
    };
    let found = inside.trim_matches(around);
    let (local, domain) = found.rsplit_once('@')?;
    let good = !local.is_empty() && domain.contains('.') && found.len() <= 254;
    let plain =
        !found.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | ','));
    (good && plain).then(|| found.to_lowercase())
}

/// On one line, without control characters, at most `most` bytes.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let mut line = words.join(" ");
    let mut end = most.min(line.len());
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("<a@x.test>", &["a@x.test"])]
    #[case("<a@x.test>\r\n <b@x.test>", &["a@x.test", "b@x.test"])]
    #[case("Your message of <yesterday <a@x.test>", &["a@x.test"])]
    #[case("<a@\r\n x.test>", &["a@x.test"])]
    #[case("a@x.test", &["a@x.test"])]
    #[case("a@x.test> b@x.test", &["a@x.test", "b@x.test"])]
    #[case("re <a@x.test", &["a@x.test"])]
    #[case("<no-at> <>", &[])]
    #[case("<a\u{0}@x.test> <b@x.test>", &["b@x.test"])]
    #[case("a\u{1}@x.test", &[])]
    fn message_ids_are_found_in_what_programs_write(#[case] text: &str, #[case] expected: &[&str]) {
        assert_eq!(message_ids(text), expected);
    }

    #[rstest]
    #[case("rfc822; Ada@Example.test", Some("ada@example.test"))]
    #[case("RFC822;<ada@example.test>", Some("ada@example.test"))]
    #[case("\"Ada\" <ada@example.test>:", Some("ada@example.test"))]
    #[case("ada", None)]
    #[case("a b@example.test", None)]
    fn an_address_is_taken_out_of_its_wrapping(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(typed_address(text).as_deref(), expected);
    }

    #[test]
    fn fields_are_unfolded_and_grouped() {
        let found = groups(
            "Reporting-MTA: dns; mx\r\n\r\n\r\nAction: failed\r\nDiagnostic-Code: smtp; 550\r\n no such user\r\n",
        );
        assert_eq!(found.len(), 2);
        assert_eq!(
            found.get(1).and_then(|group| value(group, "diagnostic-code")),
            Some("smtp; 550 no such user")
        );
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(one_line("a\r\n\u{7}b\u{e9}", 4), "a b");
    }
}
