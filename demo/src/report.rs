//! What arrived, held against what was to arrive.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::Value;
use testkit::{
    api::{Error, number, text},
    sink::{Message, Sink},
};

use crate::{
    campaign::{CONTACTS, STEPS},
    say,
};

/// Shows the mails and totals.
///
/// # Errors
/// Something is missing, came twice, or does not thread.
pub fn show(sink: &Sink, campaign: &Value, mails: &Path, took: Duration) -> Result<(), Error> {
    let messages = sink.messages();
    if let (Some(first), Some(last)) = (messages.first(), messages.last()) {
        say("\nThe first mail:\n")?;
        show_mail(first)?;
        say("\nThe last mail:\n")?;
        show_mail(last)?;
    }
    let totals = campaign.get("totals").ok_or("the campaign shows no totals")?;
    let (sent, pending) = (number(totals, "/sent")?, number(totals, "/pending")?);
    say(&format!(
        "\nThe campaign is {}: {sent} people were written to, {pending} are left.",
        text(campaign, "/status")?
    ))?;
    say(&format!("Totals: {totals}"))?;
    say(&format!("{} mails lie in {}.", messages.len(), mails.display()))?;
    check(&messages, sent)?;
    say(&format!("Everybody got each of the {STEPS} steps once, in {:.1} seconds.", took.as_secs_f64()))?;
    Ok(())
}

fn show_mail(message: &Message) -> Result<(), Error> {
    for name in ["From", "To", "Subject", "Message-ID", "In-Reply-To", "List-Unsubscribe"] {
        if let Some(value) = message.header(name) {
            say(&format!("    {name}: {value}"))?;
        }
    }
    say("")?;
    for line in message.text().unwrap_or_default().lines() {
        say(&format!("    {line}"))?;
    }
    Ok(())
}

fn check(messages: &[Message], sent: u64) -> Result<(), Error> {
    let mut by_person: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in messages {
        let person = message.recipients.first().map_or("", String::as_str);
        by_person.entry(person).or_default().push(message);
    }
    if by_person.len() != CONTACTS || sent != CONTACTS as u64 {
        return Err(format!("{} of {CONTACTS} people got mail, {sent} are counted", by_person.len()).into());
    }
    for (person, theirs) in by_person {
        let [first, second] = theirs.as_slice() else {
            return Err(format!("{person} got {} mails instead of {STEPS}", theirs.len()).into());
        };
        let answered = second.header("In-Reply-To").unwrap_or_default();
        if first.message_id().is_none_or(|id| !answered.contains(&id)) {
            return Err(format!("the second mail to {person} does not thread").into());
        }
    }
    Ok(())
}
