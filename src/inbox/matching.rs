//! Which delivery is a mail about, and what follows from it? A pure decision on the mail and on what the account's rows
//! say of the ids that it names.

use uuid::Uuid;

use super::{
    classify::{Kind, Mail},
    notice::{Action, Notice},
};
use crate::models::deliveries;

/// A delivery that one of the ids names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The delivery.
    pub delivery_id: Uuid,
    /// Its Message-ID as it is stored, in brackets.
    pub message_id: String,
    /// What the server called the message, if it said so.
    pub provider_id: Option<String>,
    /// To whom it went.
    pub email: String,
}

/// What follows from a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it names no delivery, or it is our own.
    None,
    /// The contact of this delivery answered.
    Replied(Uuid),
    /// A machine answered for the contact.
    AutoReplied(Uuid),
    /// The server still tries, or has delivered it.
    Arrived(Uuid),
    /// It came back.
    Bounced(Uuid, String),
    /// The contact called it spam.
    Complained(Uuid, String),
}

/// The ids that a mail names, in the two forms in which rows keep them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Message-IDs in brackets.
    pub message_ids: Vec<String>,
    /// What providers may have called messages.
    pub provider_ids: Vec<String>,
}

/// What to look for in the rows.
pub fn named_by(mail: &Mail) -> Named {
    let of_notices: Vec<&String> = match &mail.kind {
        Kind::Notices(notices) => notices.iter().flat_map(|one| &one.originals).collect(),
        Kind::Complaint(complaint) => complaint.originals.iter().collect(),
        Kind::Reply | Kind::AutoReply => mail.answers.iter().chain(&mail.message_id).collect(),
        Kind::Other => Vec::new(),
    };
    let mut named = Named::default();
    for id in of_notices {
        let bracketed = format!("<{id}>");
        if !named.message_ids.contains(&bracketed) {
            named.message_ids.push(bracketed);
            named.provider_ids.extend(provider_forms(id).map(str::to_owned));
        }
    }
    named
}

/// An id as a server may have named it in its reply: whole, or (SES) without the domain.
fn provider_forms(id: &str) -> impl Iterator<Item = &str> {
    let local = id
        .split_once('@')
        .map(|(local, _)| local)
        .filter(|local| local.len() >= deliveries::LEAST_PROVIDER_ID);
    [Some(id), local].into_iter().flatten()
}

/// What follows. `own`: the addresses that the mailbox's credentials send from, in lower case.
pub fn decide(mail: &Mail, known: &[Known], own: &[String]) -> Effect {
    match &mail.kind {
        Kind::Reply => match answered(mail, known, own) {
            Some(one) => Effect::Replied(one.delivery_id),
            None => Effect::None,
        },
        Kind::AutoReply => match answered(mail, known, own) {
            Some(one) => Effect::AutoReplied(one.delivery_id),
            None => Effect::None,
        },
        Kind::Notices(notices) => {
            notices.iter().find_map(|notice| of_notice(notice, known)).unwrap_or(Effect::None)
        }
        Kind::Complaint(complaint) => {
            // The id is known to us, the recipient and their provider alone; where the provider names the recipient,
            // that must fit.
            let fits = |one: &&Known| {
                complaint.recipients.is_empty() || complaint.recipients.contains(&one.email.to_lowercase())
            };
            match first_named(&complaint.originals, known).filter(fits) {
                Some(one) => Effect::Complained(one.delivery_id, one.email.clone()),
                None => Effect::None,
            }
        }
        Kind::Other => Effect::None,
    }
}

/// The delivery that is answered. Our own mails lie in the mailbox too, where somebody writes to himself or keeps
/// copies: a follow-up names the step before it, and what its owner adds by hand does.
fn answered<'a>(mail: &Mail, known: &'a [Known], own: &[String]) -> Option<&'a Known> {
    let ours = mail.message_id.as_ref().is_some_and(|id| known.iter().any(|one| is_named(one, id)));
    let found = first_named(&mail.answers, known).filter(|_| !ours)?;
    let from = mail.from.as_deref().unwrap_or_default();
    let from_owner = own.iter().any(|address| address == from) && !found.email.eq_ignore_ascii_case(from);
    (!from_owner).then_some(found)
}

fn of_notice(notice: &Notice, known: &[Known]) -> Option<Effect> {
    let one = first_named(&notice.originals, known)?;
    if !notice.recipients.contains(&one.email.to_lowercase()) {
        return None;
    }
    Some(match notice.action {
        Action::Failed => Effect::Bounced(one.delivery_id, notice.reason.clone()),
        Action::Delayed | Action::Arrived => Effect::Arrived(one.delivery_id),
    })
}

fn first_named<'a>(ids: &[String], known: &'a [Known]) -> Option<&'a Known> {
    ids.iter().find_map(|id| known.iter().find(|one| is_named(one, id)))
}

fn is_named(one: &Known, id: &str) -> bool {
    let bare = one.message_id.trim_start_matches('<').trim_end_matches('>');
    bare == id
        || one.provider_id.as_deref().is_some_and(|provider| provider_forms(id).any(|form| form == provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "0193a2b4@sender.test";
    const SES: &str = "0100018c7d3e2f10-5a6b7c8d-0000";

    fn known() -> Vec<Known> {
        vec![Known {
            delivery_id: Uuid::from_u128(1),
            message_id: format!("<{OURS}>"),
            provider_id: Some(SES.into()),
            email: "Ada@example.test".into(),
        }]
    }

    fn mail(kind: Kind, answers: &[&str]) -> Mail {
        Mail {
            message_id: Some("theirs@example.test".into()),
            from: Some("ada@example.test".into()),
            answers: answers.iter().map(|id| (*id).to_owned()).collect(),
            kind,
        }
    }

    fn notice(action: Action, recipient: &str, original: &str) -> Mail {
        let notice = Notice {
            action,
            recipients: vec![recipient.into()],
            reason: "550 no".into(),
            originals: vec![original.into()],
        };
        mail(Kind::Notices(vec![notice]), &[])
    }

    #[test]
    fn an_answer_is_known_by_our_id_or_by_the_providers() {
        let ses = format!("{SES}@mail.provider.test");
        for answers in [&[OURS][..], &["unknown@x.test", OURS], &[ses.as_str()]] {
            assert_eq!(
                decide(&mail(Kind::Reply, answers), &known(), &[]),
                Effect::Replied(Uuid::from_u128(1))
            );
        }
        assert_eq!(decide(&mail(Kind::Reply, &["unknown@x.test"]), &known(), &[]), Effect::None);
        let auto = decide(&mail(Kind::AutoReply, &[OURS]), &known(), &[]);
        assert_eq!(auto, Effect::AutoReplied(Uuid::from_u128(1)));
    }

    #[test]
    fn our_own_mails_answer_nothing() {
        let own = ["one@sender.test".to_owned()];
        let by_owner = Mail { from: Some("one@sender.test".into()), ..mail(Kind::Reply, &[OURS]) };
        assert_eq!(decide(&by_owner, &known(), &own), Effect::None);
        let follow_up = Mail { message_id: Some(OURS.into()), ..mail(Kind::Reply, &[OURS]) };
        assert_eq!(decide(&follow_up, &known(), &own), Effect::None);
        // Who tries a campaign on himself answers all the same.
        let to_self = vec![Known { email: "one@sender.test".into(), ..known().remove(0) }];
        assert_eq!(decide(&by_owner, &to_self, &own), Effect::Replied(Uuid::from_u128(1)));
    }

    #[test]
    fn a_notice_must_name_both_the_message_and_its_recipient() {
        let failed = decide(&notice(Action::Failed, "ada@example.test", OURS), &known(), &[]);
        assert_eq!(failed, Effect::Bounced(Uuid::from_u128(1), "550 no".into()));
        for (recipient, original) in [("bob@example.test", OURS), ("ada@example.test", "other@sender.test")] {
            assert_eq!(decide(&notice(Action::Failed, recipient, original), &known(), &[]), Effect::None);
        }
        let delayed = decide(&notice(Action::Delayed, "ada@example.test", OURS), &known(), &[]);
        assert_eq!(delayed, Effect::Arrived(Uuid::from_u128(1)));
    }

    #[test]
    fn a_complaint_may_leave_out_who_complains_but_not_name_another() {
        let complaint = |recipients: &[&str]| {
            let recipients = recipients.iter().map(|one| (*one).to_owned()).collect();
            let complaint = super::super::notice::Complaint { recipients, originals: vec![OURS.into()] };
            decide(&mail(Kind::Complaint(complaint), &[]), &known(), &[])
        };
        let expected = Effect::Complained(Uuid::from_u128(1), "Ada@example.test".into());
        assert_eq!(complaint(&[]), expected);
        assert_eq!(complaint(&["ada@example.test"]), expected);
        assert_eq!(complaint(&["bob@example.test"]), Effect::None);
    }

    #[test]
    fn a_queue_number_is_no_id() {
        let short = vec![Known { provider_id: Some("4F1A2B3C".into()), ..known().remove(0) }];
        assert_eq!(decide(&mail(Kind::Reply, &["4F1A2B3C@other.test"]), &short, &[]), Effect::None);
    }
}
