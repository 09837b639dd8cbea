//! Replies of an SMTP server: reading a line, and what is kept and made of the text. Pure.
//!
//! lettre's parser knows no bare code, no lone line feed and no bytes that are not UTF-8, all of which servers
//! send; a final reply that cannot be read makes a message uncertain, so this one is lenient in form. It is
//! strict in what counts: three digits, and one code over all lines.

/// Characters of a reply that are kept and shown.
const KEPT_CHARS: usize = 500;
/// The longest identifier believed to be one.
const MAX_ID: usize = 200;

/// A whole reply (RFC 5321, section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    lines: Vec<String>,
}

/// One line of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReplyLine {
    pub(super) code: u16,
    pub(super) more: bool,
    pub(super) text: String,
}

impl ReplyLine {
    /// `None` when these bytes are no line of a reply.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let (code, rest) = line.split_at_checked(3)?;
        let digits = code.first().is_some_and(|first| (b'2'..=b'5').contains(first));
        if !digits || !code.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let code = std::str::from_utf8(code).ok()?.parse().ok()?;
        let (more, text) = match rest.split_first() {
            None => (false, rest),
            Some((b' ', text)) => (false, text),
            Some((b'-', text)) => (true, text),
            Some(_) => return None,
        };
        Some(Self { code, more, text: String::from_utf8_lossy(text).into_owned() })
    }
}

impl Reply {
    /// From a code of three digits and its lines of text.
    pub(crate) const fn new(code: u16, lines: Vec<String>) -> Self {
        Self { code, lines }
    }

    /// The three digits.
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// 2yz.
    pub const fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4yz.
    pub const fn is_temporary(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz.
    pub const fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// 421: the server closes the connection, whatever it was asked (RFC 5321, section 3.8).
    pub const fn is_closing(&self) -> bool {
        self.code == 421
    }

    /// 221: the server leaves, whatever it was asked, and accepts nothing by it.
    pub(super) const fn is_goodbye(&self) -> bool {
        self.code == 221
    }

    /// The text of each line, as sent.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Subject and detail of the enhanced status code (RFC 3463), where the reply opens with one of its class.
    pub fn enhanced(&self) -> Option<(u16, u16)> {
        let word = self.lines.first()?.split_whitespace().next()?;
        let mut parts = word.split('.');
        let class: u16 = parts.next().filter(|class| class.len() == 1)?.parse().ok()?;
        let mut number = || {
            let part = parts.next().filter(|part| (1..=3).contains(&part.len()))?;
            part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
        };
        let pair = (number()?, number()?);
        (class == self.code / 100 && parts.next().is_none()).then_some(pair)
    }

    /// Whether the command itself was refused (RFC 5321, section 4.2.4) and not what it brought: there is no status, or one of
    /// nothing, of the system (3.3: not capable of it) or of the protocol (RFC 3463, section 3).
    pub(super) fn is_of_command(&self) -> bool {
        matches!(self.code, 500..=504) && matches!(self.enhanced(), None | Some((0 | 3 | 5, _)))
    }

    /// What is stored and shown: one line, no control characters, at most 500 characters.
    pub fn kept(&self) -> String {
        let mut text = self.code.to_string();
        for line in self.lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
            text.push(' ');
            text.push_str(line);
            if text.chars().nth(KEPT_CHARS).is_some() {
                break;
            }
        }
        text.chars()
            .map(|c| if c == '\t' { ' ' } else { c })
            .filter(|c| !unprintable(*c))
            .take(KEPT_CHARS)
            .collect()
    }
}

/// Control characters, and the invisible ones that turn text around on a screen.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The identifier under which an accepting server has the message, where its reply names one.
///
/// Known forms: `250 Ok 0102018e…`
/// (SES), `queued as 4XyZ` (Postfix), `OK id=1abc-…` (Exim), `<…@…>` (Exchange), `… Message accepted` (sendmail).
/// Some servers replace our Message-ID by it, and bounce notices then know the message by this name only.
pub fn provider_id(reply: &Reply) -> Option<String> {
    let text = reply.lines.join(" ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let named = after_marker(&words).or_else(|| in_brackets(&words)).or_else(|| before_accepted(&words));
    named.or_else(|| lone_token(&words)).and_then(clean_id)
}

/// `queued as X`, `queued with id X`, `id=X`, `Message-ID: X`.
fn after_marker<'a>(words: &[&'a str]) -> Option<&'a str> {
    let at = |index: usize| words.get(index).copied();
    words.iter().enumerate().find_map(|(index, word)| {
        let lower = word.to_ascii_lowercase();
        if lower.starts_with("id=") {
            return word.get(3..);
        }
        let next = at(index + 1)?;
        match lower.as_str() {
            "queued" if next.eq_ignore_ascii_case("as") => at(index + 2),
            "id" | "id:" | "message-id:" | "message-id" => Some(next),
            _ => None,
        }
    })
}

fn in_brackets<'a>(words: &[&'a str]) -> Option<&'a str> {
    words.iter().copied().find(|word| word.starts_with('<') && word.contains('@') && word.contains('>'))
}

fn before_accepted<'a>(words: &[&'a str]) -> Option<&'a str> {
    let mut pairs = words.windows(3);
    pairs.find_map(|window| match window {
        [id, message, accepted] if *message == "Message" && *accepted == "accepted" => Some(*id),
        _ => None,
    })
}

/// `[2.0.0] Ok X` with nothing else, X long and with a digit.
fn lone_token<'a>(words: &[&'a str]) -> Option<&'a str> {
    let rest = match words.split_first() {
        Some((first, rest)) if first.starts_with("2.") => rest,
        _ => words,
    };
    match rest {
        [ok, id] if ok.trim_end_matches(':').eq_ignore_ascii_case("ok") && looks_made(id) => Some(*id),
        _ => None,
    }
}

fn looks_made(word: &str) -> bool {
    word.len() >= 8 && word.bytes().any(|byte| byte.is_ascii_digit())
}

fn clean_id(word: &str) -> Option<String> {
    let word = word.trim_matches(|c: char| {
        matches!(c, '<' | '>' | '[' | ']' | '(' | ')' | ',' | ';' | '.' | '"' | '\'')
    });
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+=@/$:~!#%&*|".contains(&byte);
    let good = (4..=MAX_ID).contains(&word.len()) && word.bytes().all(allowed);
    good.then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn reply(code: u16, text: &str) -> Reply {
        Reply::new(code, text.lines().map(str::to_owned).collect())
    }

    #[rstest]
    #[case("250 ok", Some((250, false, "ok")))]
    #[case("250-ok", Some((250, true, "ok")))]
    #[case("250", Some((250, false, "")))]
    #[case("250 ", Some((250, false, "")))]
    #[case("199 x", None)]
    #[case("650 x", None)]
    #[case("2x0 x", None)]
    #[case("25", None)]
    #[case("2500 x", None)]
    #[case("hello", None)]
    #[case("", None)]
    fn lines_are_read_strictly_in_what_counts(
        #[case] line: &str,
        #[case] expected: Option<(u16, bool, &str)>,
    ) {
        let read = ReplyLine::parse(line.as_bytes());
        assert_eq!(read.as_ref().map(|line| (line.code, line.more, line.text.as_str())), expected);
    }

    #[rstest]
    #[case(550, "5.1.1 no such user", Some((1, 1)))]
    #[case(250, "2.0.0 Ok", Some((0, 0)))]
    #[case(550, "4.1.1 wrong class", None)]
    #[case(550, "5.1 short", None)]
    #[case(550, "5.1.1.1 long", None)]
    #[case(550, "5.1.1234 x", None)]
    #[case(550, "5.+1.1 x", None)]
    #[case(550, "+5.1.1 x", None)]
    #[case(550, "no such user", None)]
    #[case(550, "", None)]
    fn the_enhanced_code_is_found(
        #[case] code: u16,
        #[case] text: &str,
        #[case] expected: Option<(u16, u16)>,
    ) {
        assert_eq!(reply(code, text).enhanced(), expected);
    }

    #[test]
    fn the_kept_text_is_one_short_clean_line() {
        assert_eq!(
            reply(550, "5.1.1 no\tsuch\u{7} user\n5.1.1 \u{202e}sorry").kept(),
            "550 5.1.1 no such user 5.1.1 sorry"
        );
        assert_eq!(reply(250, "").kept(), "250");
        assert_eq!(reply(550, &"\u{e9}".repeat(2000)).kept().chars().count(), 500);
    }

    #[rstest]
    #[case(
        "Ok 0102018f3a5b7c1d-1a2b3c4d-5e6f-7081-92a3-b4c5d6e7f809-000000",
        Some("0102018f3a5b7c1d-1a2b3c4d-5e6f-7081-92a3-b4c5d6e7f809-000000")
    )]
    #[case("2.0.0 Ok: queued as 4XyZ1k0abcz9", Some("4XyZ1k0abcz9"))]
    #[case("Ok: queued as abcDEF_12-34", Some("abcDEF_12-34"))]
    #[case("OK id=1rXyZ2-0000000ABCD-1k2L", Some("1rXyZ2-0000000ABCD-1k2L"))]
    #[case(
        "2.6.0 <AM0PR01MB1234.eurprd01.prod.exchangelabs.com@x.example> [InternalId=1234, Hostname=AM0] Queued mail for delivery",
        Some("AM0PR01MB1234.eurprd01.prod.exchangelabs.com@x.example")
    )]
    #[case("2.0.0 3aBcDeFg012345 Message accepted for delivery", Some("3aBcDeFg012345"))]
    #[case("2.0.0 OK  1700000000 a1-20020a05600c000100b00123456789abcsm123456wmq.12 - gsmtp", None)]
    #[case("2.0.0 Ok 0102018f3a5b7c1d", Some("0102018f3a5b7c1d"))]
    #[case("Ok: queued with id 4XyZ1k0abcz9", Some("4XyZ1k0abcz9"))]
    #[case("accepted, Message-ID: 4XyZ1k0abcz9", Some("4XyZ1k0abcz9"))]
    #[case("Ok delivered", None)]
    #[case("Ok ab12", None)]
    #[case("thank 0102018f3a5b7c1d", None)]
    #[case("see <help> first", None)]
    #[case("user@mail.example> was told", None)]
    #[case("your Message arrived here", None)]
    #[case("queued as ab", None)]
    #[case("queued as ab{c}d", None)]
    #[case("Ok", None)]
    #[case("2.0.0 thank you", None)]
    #[case("", None)]
    #[case("queued as", None)]
    fn the_id_that_a_server_names_is_found(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(provider_id(&reply(250, text)).as_deref(), expected);
    }

    proptest! {
        #[test]
        fn no_reply_makes_reading_fail(bytes in prop::collection::vec(any::<u8>(), 0..300), code in 200u16..600) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let any = reply(code, &text);
            prop_assert!(any.kept().chars().count() <= 500);
            prop_assert!(!any.kept().chars().any(char::is_control));
            let _: (Option<String>, Option<(u16, u16)>) = (provider_id(&any), any.enhanced());
            let _: Option<ReplyLine> = ReplyLine::parse(&bytes);
        }
    }
}
