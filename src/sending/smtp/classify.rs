//! Whose trouble is a refusal? A pure decision on the phase, the reply code and the enhanced status (RFC 3463).
//!
//! The rules, in their order:
//!
//! 1. 421 at any time, 432 (Microsoft's for too many connections), 454, 4.4.5 and 4.7.28 (flood), and every 4yz before RCPT are the connection's: the lane backs off.
//! 2. 530, 534, 535, 538, every 5yz to AUTH, and 5.7.8, 5.7.9, 5.7.11, 5.7.13, 5.7.14 are authentication.
//! 3. A 5yz to MAIL comes before any recipient is named: it is about the sender, unless it is about size (the
//!    message) or the command's form (the connection).
//! 4. At RCPT 4yz and 5yz are the recipient's. Exceptions are 5yz that name the sender (5.1.7, 5.1.8, 5.4.5,
//!    5.7.20–5.7.29) and 5.7.x in general: a submission server that refuses there refuses to relay for us
//!    (`554 5.7.1 Relay access denied`). A recipient's own policy sits on the recipient's server and comes back as a
//!    bounce notice; where it is answered here, the text says so (`Recipient address rejected`).
//! 5. From DATA on the message is refused, unless the status names the recipient (x.1.1–x.1.6, x.1.10, x.2.y) or, by status
//!    or by words, the sender. 5.7.1 alone there is what content filters say, and stays with the message.

use super::outcome::Phase;
use super::reply::Reply;
use crate::models::states::DisabledReason;

/// Whose trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody's in the campaign: the lane backs off, no attempt is counted.
    Connection,
    /// The credential's: it is disabled, the recipient is not to blame.
    Sender(SenderFault),
    /// The recipient's: put off or bounced.
    Recipient(Lasting),
    /// The message's: put off, or given up as bounced.
    Message(Lasting),
}

/// Why a credential cannot send, as the server says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderFault {
    /// User name and password are not taken.
    Auth,
    /// The server will not send for this sender.
    Policy,
}

impl SenderFault {
    /// What the credential is disabled for.
    pub const fn reason(self) -> DisabledReason {
        match self {
            Self::Auth => DisabledReason::Auth,
            Self::Policy => DisabledReason::Policy,
        }
    }
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// 4yz: later.
    Temporary,
    /// 5yz: no.
    Permanent,
}

/// Whose trouble this refusal is.
pub fn classify(phase: Phase, reply: &Reply) -> Trouble {
    let status = reply.enhanced();
    if reply.is_permanent() { permanent(phase, reply, status) } else { temporary(phase, reply, status) }
}

const fn temporary(phase: Phase, reply: &Reply, status: Option<(u16, u16)>) -> Trouble {
    let of_the_lane = matches!(reply.code(), 421 | 432 | 454) || matches!(status, Some((4, 5) | (7, 28)));
    match phase {
        _ if of_the_lane || !reply.is_temporary() => Trouble::Connection,
        Phase::Greeting | Phase::Ehlo | Phase::StartTls | Phase::Auth | Phase::Mail => Trouble::Connection,
        Phase::Rcpt => Trouble::Recipient(Lasting::Temporary),
        Phase::Data | Phase::Dot if names_recipient(status) => Trouble::Recipient(Lasting::Temporary),
        Phase::Data | Phase::Dot => Trouble::Message(Lasting::Temporary),
    }
}

fn permanent(phase: Phase, reply: &Reply, status: Option<(u16, u16)>) -> Trouble {
    match phase {
        Phase::Greeting | Phase::Ehlo | Phase::StartTls => Trouble::Connection,
        Phase::Auth => Trouble::Sender(SenderFault::Auth),
        Phase::Mail | Phase::Rcpt | Phase::Data | Phase::Dot if is_auth(reply.code(), status) => {
            Trouble::Sender(SenderFault::Auth)
        }
        Phase::Mail => at_mail(reply, status),
        Phase::Rcpt => at_rcpt(reply, status),
        Phase::Data | Phase::Dot => at_data(reply, status),
    }
}

const fn is_auth(code: u16, status: Option<(u16, u16)>) -> bool {
    matches!(code, 530 | 534 | 535 | 538) || matches!(status, Some((7, 8 | 9 | 11 | 13 | 14)))
}

const fn at_mail(reply: &Reply, status: Option<(u16, u16)>) -> Trouble {
    match (reply.code(), status) {
        (_, Some((3, 4) | (2, 3))) | (552, None | Some((3, _))) => Trouble::Message(Lasting::Permanent),
        (500 | 502..=504 | 555, _) => Trouble::Connection,
        _ => Trouble::Sender(SenderFault::Policy),
    }
}

fn at_rcpt(reply: &Reply, status: Option<(u16, u16)>) -> Trouble {
    let words = Words::of(reply);
    let policy = match status {
        _ if reply.code() == 503 => return Trouble::Connection,
        Some(status) if names_sender(status) => true,
        // 2: list expansion; 17–19: RFC 7293; 100–199: Microsoft's restrictions of a recipient.
        Some((7, 2 | 17..=19 | 100..=199)) => false,
        Some((7, _)) => !words.blame_recipient(),
        None => words.blame_sender() && !words.blame_recipient(),
        Some(_) => false,
    };
    if policy { Trouble::Sender(SenderFault::Policy) } else { Trouble::Recipient(Lasting::Permanent) }
}

fn at_data(reply: &Reply, status: Option<(u16, u16)>) -> Trouble {
    let general = matches!(status, None | Some((0 | 7, _)));
    if reply.code() == 503 {
        Trouble::Connection
    } else if names_recipient(status) {
        Trouble::Recipient(Lasting::Permanent)
    } else if status.is_some_and(names_sender) || general && Words::of(reply).blame_sender() {
        Trouble::Sender(SenderFault::Policy)
    } else {
        Trouble::Message(Lasting::Permanent)
    }
}

/// Statuses about the recipient's address or mailbox. 2.252 is Microsoft's refusal to send as somebody else.
const fn names_recipient(status: Option<(u16, u16)>) -> bool {
    matches!(status, Some((1, 1..=6 | 10) | (2, 0..=99)))
}

/// Statuses about the sender: address (1.7, 1.8), quota (4.5, as Gmail has it), SPF, DKIM, DMARC and reverse
/// DNS (7.20–7.29, RFC 7372), and Microsoft's for a blocked tenant or a foreign sender.
const fn names_sender(status: (u16, u16)) -> bool {
    matches!(status, (1, 7 | 8) | (2, 252) | (4, 5) | (7, 20..=29 | 57 | 60 | 500..=799))
}

/// The words of a reply that tell sender and recipient apart where the status does not. Addresses in brackets are
/// left out: they are anybody's text.
struct Words(String);

impl Words {
    fn of(reply: &Reply) -> Self {
        let mut text = String::new();
        let mut quoted = false;
        for c in reply.lines().flat_map(|line| line.chars().chain(Some(' '))) {
            match c {
                '<' => quoted = true,
                '>' => quoted = false,
                _ if !quoted => text.push(c.to_ascii_lowercase()),
                _ => {}
            }
        }
        Self(text)
    }

    fn blame_sender(&self) -> bool {
        const SENDER: [&str; 7] = [
            "sender",
            "relay",
            "client host",
            "your account",
            "quota exceeded",
            "not verified",
            "authenticat",
        ];
        SENDER.iter().any(|word| self.0.contains(word)) && !self.0.contains("mailbox")
    }

    fn blame_recipient(&self) -> bool {
        const RECIPIENT: [&str; 6] = [
            "recipient address rejected",
            "recipient rejected",
            "mailbox",
            "user unknown",
            "unknown user",
            "no such user",
        ];
        RECIPIENT.iter().any(|word| self.0.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LATER: Lasting = Lasting::Temporary;
    const NEVER: Lasting = Lasting::Permanent;
    const AUTH: Trouble = Trouble::Sender(SenderFault::Auth);
    const POLICY: Trouble = Trouble::Sender(SenderFault::Policy);

    #[rstest]
    #[case(Phase::Greeting, 421, "4.3.2 busy", Trouble::Connection)]
    #[case(Phase::Greeting, 554, "5.3.2 go away", Trouble::Connection)]
    #[case(Phase::Ehlo, 502, "what", Trouble::Connection)]
    #[case(Phase::StartTls, 454, "4.7.0 no TLS now", Trouble::Connection)]
    #[case(Phase::Auth, 535, "5.7.8 wrong", AUTH)]
    #[case(Phase::Auth, 535, "wrong", AUTH)]
    #[case(Phase::Auth, 534, "5.7.9 use an app password", AUTH)]
    #[case(Phase::Auth, 550, "account suspended", AUTH)]
    #[case(Phase::Auth, 454, "4.7.0 too many logins", Trouble::Connection)]
    #[case(Phase::Auth, 421, "4.7.0 later", Trouble::Connection)]
    #[case(Phase::Mail, 530, "5.7.0 authentication required", AUTH)]
    #[case(Phase::Mail, 550, "5.7.1 sender refused", POLICY)]
    #[case(Phase::Mail, 553, "5.1.8 sender address rejected", POLICY)]
    #[case(Phase::Mail, 501, "5.1.7 bad sender", POLICY)]
    #[case(Phase::Mail, 554, "no", POLICY)]
    #[case(Phase::Mail, 552, "5.3.4 too big", Trouble::Message(NEVER))]
    #[case(Phase::Mail, 552, "too big", Trouble::Message(NEVER))]
    #[case(Phase::Mail, 503, "5.5.1 nested MAIL", Trouble::Connection)]
    #[case(Phase::Mail, 555, "5.5.4 unknown parameter", Trouble::Connection)]
    #[case(Phase::Mail, 451, "4.7.1 slow down", Trouble::Connection)]
    #[case(Phase::Mail, 452, "4.3.1 disk full", Trouble::Connection)]
    #[case(Phase::Mail, 421, "4.4.2 idle", Trouble::Connection)]
    #[case(Phase::Rcpt, 550, "5.1.1 no such user", Trouble::Recipient(NEVER))]
    #[case(Phase::Rcpt, 550, "no such user", Trouble::Recipient(NEVER))]
    #[case(Phase::Rcpt, 550, "5.1.1 <sender-relay@x.test>: user unknown", Trouble::Recipient(NEVER))]
    #[case(Phase::Rcpt, 550, "<relay@x.test> is not here", Trouble::Recipient(NEVER))]
    #[case(Phase::Rcpt, 552, "5.2.2 mailbox full", Trouble::Recipient(NEVER))]
    #[case(Phase::Rcpt, 553, "5.1.3 bad address", Trouble::Recipient(NEVER))]
    #[case(Phase::Rcpt, 550, "5.7.0 refused", POLICY)]
    #[case(Phase::Rcpt, 554, "5.7.1 <a@b.test>: Relay access denied", POLICY)]
    #[case(
        Phase::Rcpt,
        554,
        "5.7.1 <a@b.test>: Recipient address rejected: Access denied",
        Trouble::Recipient(NEVER)
    )]
    #[case(Phase::Rcpt, 550, "5.7.1 Unable to relay", POLICY)]
    #[case(Phase::Rcpt, 550, "relaying denied", POLICY)]
    #[case(Phase::Rcpt, 553, "5.7.1 <f@g.test>: Sender address rejected: not owned by user", POLICY)]
    #[case(Phase::Rcpt, 550, "5.1.8 <f@g.test>: Sender address rejected: Domain not found", POLICY)]
    #[case(Phase::Rcpt, 550, "5.7.26 DMARC", POLICY)]
    #[case(Phase::Rcpt, 550, "5.4.5 Daily user sending quota exceeded", POLICY)]
    #[case(Phase::Rcpt, 550, "5.7.133 sender not allowed for this group", Trouble::Recipient(NEVER))]
    #[case(Phase::Rcpt, 530, "5.7.1 log in first", AUTH)]
    #[case(Phase::Rcpt, 503, "5.5.1 MAIL first", Trouble::Connection)]
    #[case(Phase::Rcpt, 450, "4.2.0 greylisted", Trouble::Recipient(LATER))]
    #[case(Phase::Rcpt, 451, "4.7.1 greylisted", Trouble::Recipient(LATER))]
    #[case(Phase::Rcpt, 452, "4.2.2 mailbox full", Trouble::Recipient(LATER))]
    #[case(Phase::Rcpt, 454, "4.7.1 relay access denied", Trouble::Connection)]
    #[case(Phase::Rcpt, 450, "4.7.28 flood", Trouble::Connection)]
    #[case(Phase::Rcpt, 421, "4.7.0 closing", Trouble::Connection)]
    #[case(Phase::Data, 451, "4.3.0 not now", Trouble::Message(LATER))]
    #[case(Phase::Data, 554, "5.5.1 no valid recipients", Trouble::Message(NEVER))]
    #[case(Phase::Data, 503, "5.5.1 RCPT first", Trouble::Connection)]
    #[case(Phase::Dot, 451, "4.3.0 not now", Trouble::Message(LATER))]
    #[case(Phase::Dot, 452, "4.2.2 mailbox full", Trouble::Recipient(LATER))]
    #[case(Phase::Dot, 421, "4.3.2 closing", Trouble::Connection)]
    #[case(Phase::Dot, 432, "4.3.2 sender thread limit exceeded", Trouble::Connection)]
    #[case(Phase::Dot, 554, "5.6.0 malformed", Trouble::Message(NEVER))]
    #[case(Phase::Dot, 552, "5.3.4 too big", Trouble::Message(NEVER))]
    #[case(Phase::Dot, 550, "5.7.1 looks like spam", Trouble::Message(NEVER))]
    #[case(Phase::Dot, 554, "refused", Trouble::Message(NEVER))]
    #[case(Phase::Dot, 550, "5.1.1 no such user", Trouble::Recipient(NEVER))]
    #[case(Phase::Dot, 550, "5.7.1 sender refused by policy", POLICY)]
    #[case(Phase::Dot, 550, "5.7.26 unauthenticated mail", POLICY)]
    #[case(Phase::Dot, 554, "5.2.252 SendAsDenied", POLICY)]
    #[case(Phase::Dot, 554, "Message rejected: Email address is not verified.", POLICY)]
    #[case(Phase::Dot, 535, "5.7.8 session expired", AUTH)]
    fn a_refusal_is_blamed_on_whom_it_names(
        #[case] phase: Phase,
        #[case] code: u16,
        #[case] text: &str,
        #[case] expected: Trouble,
    ) {
        assert_eq!(classify(phase, &Reply::new(code, vec![text.to_owned()])), expected);
    }

    #[test]
    fn a_temporary_reply_never_bounces_and_never_disables() {
        let phases = [Phase::Greeting, Phase::Ehlo, Phase::StartTls, Phase::Auth, Phase::Mail, Phase::Rcpt];
        for phase in phases.into_iter().chain([Phase::Data, Phase::Dot]) {
            for code in 400..500 {
                let trouble = classify(phase, &Reply::new(code, vec!["4.7.1 sender relay".to_owned()]));
                let gentle = matches!(
                    trouble,
                    Trouble::Connection
                        | Trouble::Recipient(Lasting::Temporary)
                        | Trouble::Message(Lasting::Temporary)
                );
                assert!(gentle, "{phase:?} {code} gave {trouble:?}");
            }
        }
    }
}
