//! What a recipient makes the sink do, from its address (the table in [`crate::sink`]) or from a script.
//! Only decides; the session acts.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// A step of the dialogue that can be answered otherwise than with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The answer to MAIL.
    Mail,
    /// The answer to RCPT.
    Rcpt,
    /// The answer to DATA.
    Data,
    /// The answer to the final dot.
    Dot,
}

/// What the sink does with one attempt to mail a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// All is well.
    Accept,
    /// Answers `reply` (a whole line, `550 5.1.1 no such mailbox`) at `at`; 421 also closes.
    /// At [`Stage::Dot`] the message counts as refused, not as received.
    Reply {
        /// Where.
        at: Stage,
        /// The reply line without its end.
        reply: String,
    },
    /// Closes instead of answering at this stage; at [`Stage::Dot`] the message is stored before.
    Close(Stage),
    /// Closes when the first bytes of the body came in; nothing is stored.
    CloseMidBody,
    /// Stores the message and says nothing until [`crate::sink::Sink::release_silent`] or the client leaves.
    Silent,
    /// Stores the message and answers bytes that are no SMTP reply.
    Garbage,
    /// Stores the message and answers this much later.
    Slow(Duration),
}

impl Behaviour {
    /// Refuses the recipient for good: `code` 5yz at RCPT.
    pub fn reject(code: u16) -> Self {
        Self::Reply { at: Stage::Rcpt, reply: format!("{code} 5.1.1 no such mailbox") }
    }

    /// Puts the recipient off: `code` 4yz at RCPT.
    pub fn defer(code: u16) -> Self {
        Self::Reply { at: Stage::Rcpt, reply: format!("{code} 4.7.1 try again later") }
    }

    /// Answers the final dot with `code`, 4yz or 5yz.
    pub fn after_dot(code: u16) -> Self {
        let text = if code >= 500 { "5.6.0 message refused" } else { "4.3.0 not now" };
        Self::Reply { at: Stage::Dot, reply: format!("{code} {text}") }
    }

    /// Refuses the sender, not the recipient: `code` with 5.7.1 (4.7.1) at `at`.
    pub fn policy(at: Stage, code: u16) -> Self {
        Self::Reply { at, reply: format!("{code} {}.7.1 sender refused by policy", code / 100) }
    }

    /// The reply line that this behaviour gives at `stage`, if it gives one there.
    pub(super) fn reply_at(&self, stage: Stage) -> Option<&str> {
        match self {
            Self::Reply { at, reply } if *at == stage => Some(reply),
            Self::Reply { .. }
            | Self::Accept
            | Self::Close(_)
            | Self::CloseMidBody
            | Self::Silent
            | Self::Garbage
            | Self::Slow(_) => None,
        }
    }
}

/// Who the address is in the envelope: the two have scripts of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Sender,
    Recipient,
}

/// The scripts by address, with the step each is at.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    by_address: Mutex<HashMap<(Role, String), Script>>,
}

#[derive(Debug)]
struct Script {
    steps: Vec<Behaviour>,
    next: usize,
}

impl Script {
    /// This attempt's step; the last one repeats.
    fn advance(&mut self) -> Behaviour {
        let last = self.steps.len().saturating_sub(1);
        let step = self.steps.get(self.next.min(last)).cloned().unwrap_or(Behaviour::Accept);
        self.next = self.next.saturating_add(1);
        step
    }
}

impl Scripts {
    pub(super) fn set(&self, role: Role, address: &str, steps: Vec<Behaviour>) {
        let key = (role, address.to_ascii_lowercase());
        self.by_address.lock().insert(key, Script { steps, next: 0 });
    }

    /// What the next attempt with this address meets; counts the attempt.
    pub(super) fn next(&self, role: Role, address: &str) -> Behaviour {
        let address = address.to_ascii_lowercase();
        let local = address.split(['@', '+']).next().unwrap_or_default();
        let mut steps = match role {
            Role::Recipient => of_local_part(local),
            Role::Sender => of_sender(local),
        };
        let mut scripts = self.by_address.lock();
        if scripts.is_empty() && steps.len() == 1 {
            return steps.pop().unwrap_or(Behaviour::Accept);
        }
        scripts.entry((role, address)).or_insert_with(|| Script { steps, next: 0 }).advance()
    }
}

/// The steps that a recipient's local part asks for; anything unknown is accepted.
fn of_local_part(local: &str) -> Vec<Behaviour> {
    let (name, once) = local.strip_suffix("-once").map_or((local, false), |name| (name, true));
    let behaviour = match name {
        "close-at-rcpt" => Behaviour::Close(Stage::Rcpt),
        "close-at-data" => Behaviour::Close(Stage::Data),
        "close-mid-body" => Behaviour::CloseMidBody,
        "close-after-dot" => Behaviour::Close(Stage::Dot),
        "silent-after-dot" => Behaviour::Silent,
        "garbage-after-dot" => Behaviour::Garbage,
        other => with_number(other).unwrap_or(Behaviour::Accept),
    };
    if once { vec![behaviour, Behaviour::Accept] } else { vec![behaviour] }
}

/// `<name>-<number>`: a reply code, or milliseconds for `slow`.
fn with_number(name: &str) -> Option<Behaviour> {
    let (name, number) = name.rsplit_once('-')?;
    if name == "slow" {
        return Some(Behaviour::Slow(Duration::from_millis(number.parse().ok()?)));
    }
    let code: u16 = number.parse().ok().filter(|code| (400..=599).contains(code))?;
    match name {
        "reject" => Some(Behaviour::reject(code)),
        "defer" => Some(Behaviour::defer(code)),
        "busy" => {
            Some(Behaviour::Reply { at: Stage::Rcpt, reply: format!("{code} 4.3.2 too busy, closing") })
        }
        "reject-data" | "defer-data" => Some(Behaviour::after_dot(code)),
        "reject-sender" | "policy" => Some(Behaviour::policy(Stage::Rcpt, code)),
        _ => None,
    }
}

/// The steps that a sender's local part asks for.
fn of_sender(local: &str) -> Vec<Behaviour> {
    let code = local.strip_prefix("reject-sender-").and_then(|code| code.parse().ok());
    vec![code.map_or(Behaviour::Accept, |code| Behaviour::policy(Stage::Mail, code))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_part_names_its_behaviour_and_a_tag_changes_nothing() {
        let scripts = Scripts::default();
        let next = |address| scripts.next(Role::Recipient, address);
        assert_eq!(next("ok@a.test"), Behaviour::Accept);
        assert_eq!(next("Reject-550+7@a.test"), Behaviour::reject(550));
        assert_eq!(next("slow-250@a.test"), Behaviour::Slow(Duration::from_millis(250)));
        assert_eq!(next("reject-data-554@a.test"), Behaviour::after_dot(554));
        assert_eq!(next("reject-9999@a.test"), Behaviour::Accept);
    }

    #[test]
    fn once_is_once_for_each_address() {
        let scripts = Scripts::default();
        for address in ["defer-451-once@a.test", "defer-451-once@b.test"] {
            assert_eq!(scripts.next(Role::Recipient, address), Behaviour::defer(451));
            assert_eq!(scripts.next(Role::Recipient, address), Behaviour::Accept);
        }
    }

    #[test]
    fn a_script_wins_over_the_table_and_its_last_step_repeats() {
        let scripts = Scripts::default();
        scripts.set(Role::Recipient, "ok@a.test", vec![Behaviour::reject(550), Behaviour::Silent]);
        assert_eq!(scripts.next(Role::Recipient, "OK@a.test"), Behaviour::reject(550));
        assert_eq!(scripts.next(Role::Recipient, "ok@a.test"), Behaviour::Silent);
        assert_eq!(scripts.next(Role::Recipient, "ok@a.test"), Behaviour::Silent);
        assert_eq!(scripts.next(Role::Sender, "ok@a.test"), Behaviour::Accept);
    }
}
