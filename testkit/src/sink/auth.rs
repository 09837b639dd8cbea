//! AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): decoding what the client sent, and whether it is right.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Whom the sink lets in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// AUTH is not offered and not needed.
    #[default]
    Open,
    /// AUTH is offered and MAIL needs it (530 without); a wrong user or password gets 535.
    Required {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// AUTH is offered and always answered with this line, `535 5.7.8 bad credentials` for one.
    Refuse(String),
}

impl Auth {
    /// The reply line to a pair of credentials, and whether they are good.
    pub(super) fn check(&self, credentials: Option<&(String, String)>) -> (bool, &str) {
        const WRONG: &str = "535 5.7.8 authentication credentials invalid";
        match (self, credentials) {
            (_, None) => (false, "501 5.5.2 cannot decode"),
            (Self::Refuse(reply), _) => (false, reply),
            (Self::Open, _) => (false, "503 5.5.1 AUTH not offered"),
            (Self::Required { user, password }, Some(given)) => {
                let right = (user, password) == (&given.0, &given.1);
                if right { (true, "235 2.7.0 welcome") } else { (false, WRONG) }
            }
        }
    }
}

/// User and password of a PLAIN response: `authzid NUL authcid NUL password` in base64.
pub(super) fn plain(response: &str) -> Option<(String, String)> {
    let decoded = text(response)?;
    let mut parts = decoded.split('\0').skip(1);
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}

/// One base64 response as text.
pub(super) fn text(response: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(response.trim()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_takes_the_second_and_third_part() {
        assert_eq!(plain("AHVzZXIAcGFzcw=="), Some(("user".to_owned(), "pass".to_owned())));
        assert_eq!(plain("!"), None);
    }
}
