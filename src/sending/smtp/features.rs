//! What a server offers, read from its answer to EHLO (RFC 5321, section 4.1.1.1). Pure.

use super::reply::Reply;

/// The extensions that make a difference here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent offers of a server, no state machine")]
pub(super) struct Features {
    /// STARTTLS (RFC 3207).
    pub(super) starttls: bool,
    /// PIPELINING (RFC 2920).
    pub(super) pipelining: bool,
    /// SIZE (RFC 1870).
    pub(super) size: bool,
    /// CHUNKING (RFC 3030).
    pub(super) chunking: bool,
    /// AUTH PLAIN (RFC 4954, RFC 4616).
    pub(super) auth_plain: bool,
    /// AUTH LOGIN, never standardised, the only one at some large providers.
    pub(super) auth_login: bool,
}

impl Features {
    pub(super) fn read(reply: &Reply) -> Self {
        let mut features = Self::default();
        for line in reply.lines().skip(1) {
            features.add(&line.to_ascii_uppercase());
        }
        features
    }

    /// `AUTH=PLAIN LOGIN` is how servers wrote it before the standard; both forms are often sent.
    fn add(&mut self, line: &str) {
        let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
        match words.next() {
            Some("STARTTLS") => self.starttls = true,
            Some("PIPELINING") => self.pipelining = true,
            Some("SIZE") => self.size = true,
            Some("CHUNKING") => self.chunking = true,
            Some("AUTH") => {
                for mechanism in words {
                    self.auth_plain |= mechanism == "PLAIN";
                    self.auth_login |= mechanism == "LOGIN";
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Features {
        Features::read(&Reply::new(250, lines.iter().map(|line| (*line).to_owned()).collect()))
    }

    #[test]
    fn extensions_are_read_in_any_case_and_the_first_line_is_a_name() {
        let all = read(&[
            "STARTTLS",
            "pipelining",
            "Size 1000",
            "STARTTLS",
            "AUTH login PLAIN XOAUTH2",
            "CHUNKING",
        ]);
        let expected = Features {
            starttls: true,
            pipelining: true,
            size: true,
            chunking: true,
            auth_plain: true,
            auth_login: true,
        };
        assert_eq!(all, expected);
        let reply = Reply::new(250, ["x", "STARTTLS", "AUTH LOGIN"].map(str::to_owned).to_vec());
        assert_eq!(crate::sending::smtp::fuzzing::offers(&reply), ["STARTTLS", "LOGIN"]);
        assert_eq!(read(&["STARTTLS"]), Features::default());
        assert!(read(&["x", "AUTH=LOGIN"]).auth_login);
        assert!(!read(&["x", "AUTHPLAIN", "AUTH"]).auth_plain);
    }
}
