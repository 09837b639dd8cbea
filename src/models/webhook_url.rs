//! The address of a webhook's endpoint: an absolute `http` or `https` URL that can be dialled as it stands.
//!
//! It is kept as the URL standard writes it, with the host in its one spelling, so that `http://0x7f.1/` is seen for
//! what it is. Whether the host may be dialled is not decided here: see `net`.

use std::fmt;

use url::{Host, Url};

use crate::errors::Reason;

/// A checked address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrl(Url);

impl WebhookUrl {
    /// Greatest length in characters, as given and as kept.
    pub const MOST_CHARS: usize = 2_048;

    /// Trims and checks.
    ///
    /// # Errors
    /// Blank, too long, or invalid: another scheme, no host, a user name or password, a fragment, port 0.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Reason::Blank);
        }
        if text.chars().nth(Self::MOST_CHARS).is_some() {
            return Err(Reason::TooLong(Self::MOST_CHARS));
        }
        // The URL standard drops tabs and line breaks within; here they are a mistake.
        if text.chars().any(|char| char.is_control() || char.is_whitespace()) {
            return Err(Reason::Invalid);
        }
        let url = Url::parse(text).map_err(|_| Reason::Invalid)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let named = url.host_str().is_some_and(|host| !host.is_empty()) && url.port() != Some(0);
        let readable = url.as_str().parse::<hyper::Uri>().is_ok();
        if !matches!(url.scheme(), "http" | "https") || !plain || !named || !readable {
            return Err(Reason::Invalid);
        }
        if url.as_str().len() > Self::MOST_CHARS {
            return Err(Reason::TooLong(Self::MOST_CHARS));
        }
        Ok(Self(url))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host, in the form that is resolved: a name, or an address without brackets.
    pub fn host(&self) -> String {
        match self.0.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Domain(name)) => name.to_owned(),
            None => String::new(),
        }
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn every_spelling_of_a_host_becomes_one() {
        for (text, host) in [
            ("https://example.com", "example.com"),
            (" HTTPS://Example.COM:443/hook?a=b ", "example.com"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://0177.0.0.1/", "127.0.0.1"),
            ("http://127.1/", "127.0.0.1"),
            ("http://[::ffff:10.0.0.1]/", "::ffff:10.0.0.1"),
            ("http://\u{2460}\u{2461}\u{2466}.0.0.1/", "127.0.0.1"),
            ("https://b\u{fc}cher.example/", "xn--bcher-kva.example"),
        ] {
            let host = host.parse::<std::net::IpAddr>().map_or_else(|_| host.to_owned(), |it| it.to_string());
            assert_eq!(WebhookUrl::parse(text).unwrap().host(), host, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_dialled_as_it_stands_is_refused() {
        for text in [
            "example.com",
            "ftp://example.com/",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "http://",
            "https://user@example.com/",
            "https://user:secret@example.com/",
            "https://example.com/#part",
            "https://example.com:0/",
            "https://example.com:70000/",
            "https://exa mple.com/",
            "https://example.com/a\nb",
            "https://exa\tmple.com/",
            "http://[::1",
            "http://1.2.3.4.5/",
        ] {
            assert_eq!(WebhookUrl::parse(text), Err(Reason::Invalid), "{text}");
        }
        assert_eq!(WebhookUrl::parse("  "), Err(Reason::Blank));
        let long = format!("https://example.com/{}", "a".repeat(2_029));
        assert_eq!(WebhookUrl::parse(&long), Err(Reason::TooLong(2_048)));
        assert!(WebhookUrl::parse(long.strip_suffix('a').unwrap()).is_ok());
    }
}
