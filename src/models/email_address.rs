//! An address that mail can be sent to.
//!
//! It keeps the spelling it was given; comparison is by [`EmailAddress::key`], in lower case. Whether a mailbox
//! exists is not known here.

use std::fmt;

use validator::ValidateEmail;

use crate::errors::Reason;

/// Greatest length in characters: a path is 256 with its brackets (RFC 5321 section 4.5.3.1.3).
const MOST_CHARS: usize = 254;

/// A valid address in ASCII: no display name, no quoted local part, no address literal, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Trims and checks.
    ///
    /// # Errors
    /// The reason as a validation shows it: blank, too long, or invalid.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Reason::Blank);
        }
        if text.chars().nth(MOST_CHARS).is_some() {
            return Err(Reason::TooLong(MOST_CHARS));
        }
        // The validator reads domains as browsers do, which overlook some control characters.
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
        if graphic && text.validate_email() && has_plain_parts(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Reason::Invalid)
        }
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address in lower case: what makes it unique in its account.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// What follows the `@`, as it was given.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Closes what HTML's rule for addresses, which the validator follows, leaves open: stray dots in the local
/// part (RFC 5321 section 4.1.2, Dot-string) and address literals. Of these the validator looks at the end only.
fn has_plain_parts(text: &str) -> bool {
    text.rsplit_once('@')
        .is_some_and(|(local, domain)| local.split('.').all(|atom| !atom.is_empty()) && !domain.contains('['))
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for EmailAddress {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_spelling_is_kept_and_the_key_is_lower_case() {
        let address = EmailAddress::parse("  Jo.Doe+x@Example.COM ").unwrap();
        assert_eq!(address.as_str(), "Jo.Doe+x@Example.COM");
        assert_eq!(address.key(), "jo.doe+x@example.com");
        assert_eq!(address.domain(), "Example.COM");
    }

    #[test]
    fn what_is_no_address_says_why() {
        assert_eq!(EmailAddress::parse("  "), Err(Reason::Blank));
        let longest = format!("{}@{}.example.com", "a".repeat(64), vec!["b".repeat(59); 3].join("."));
        assert!(EmailAddress::parse(&longest[..longest.len().min(MOST_CHARS)]).is_ok());
        assert_eq!(EmailAddress::parse(&format!("{}@b.co", "a".repeat(250))), Err(Reason::TooLong(254)));
        for bad in [
            "jo",
            "jo@",
            "@example.com",
            "jo@exa mple.com",
            "jo doe@example.com",
            "jo@example..com",
            "jo@-example.com",
            "jo..doe@example.com",
            ".jo@example.com",
            "jo.@example.com",
            "\"jo doe\"@example.com",
            "jo@[127.0.0.1]",
            "jo@12[7.0.0.1]",
            "jo@\u{c}[127.0.0.1]",
            "jo@\t[127.0.0.1]",
            "Jo <jo@example.com>",
            "jo@example.com, b@example.com",
            "jö@example.com",
            "jo@exämple.com",
            "jo@example.com\r\nBcc: x@example.com",
            "jo\0@example.com",
            "jo@example.com\n.x",
            "a@b@example.com",
        ] {
            assert_eq!(EmailAddress::parse(bad), Err(Reason::Invalid), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn lettre_takes_every_address_and_none_breaks_a_header(text in "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~\" <>,-]{1,20}@[a-z0-9.\\[\\]:-]{1,30}") {
            if let Ok(address) = EmailAddress::parse(&text) {
                prop_assert!(address.as_str().parse::<lettre::Address>().is_ok());
                prop_assert!(!address.as_str().contains(['\r', '\n', ' ', '<', '>', '"', ',']));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,300}") {
            prop_assert!(EmailAddress::parse(&text).map_or(true, |address| text.trim() == address.as_str()));
        }
    }
}
