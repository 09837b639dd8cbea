//! A claimed delivery made ready for the wire: rendered, composed, and with what its mark is asked for. No I/O.

use super::{
    compose::{Composed, Letter, compose},
    lanes::Lane,
    ledger::{Claimed, Ticket},
    program::{Program, Sender},
    render::{Links, render_step},
    smtp::Envelope,
    template::MergeValues,
};
use crate::{
    clock::Timestamp,
    crypto::links,
    models::{custom_fields::CustomFields, email_address::EmailAddress, suppressions::AddressHash},
    state::AppState,
};

/// What is offered to a mail server next.
#[derive(Debug)]
pub struct Ready {
    /// What the ledger knows it by.
    pub ticket: Ticket,
    /// Its bytes.
    pub letter: Composed,
    /// The hash of the address that it goes to: its mark looks whether that is suppressed.
    pub address: AddressHash,
    to: String,
}

impl Ready {
    /// Who writes to whom, and how much.
    pub fn envelope<'a>(&'a self, sender: &'a Sender) -> Envelope<'a> {
        Envelope { from: sender.from.as_str(), to: &self.to, size: self.letter.bytes.len() }
    }

    /// Renders and composes.
    ///
    /// # Errors
    /// The reason that the delivery shows when that cannot be done.
    pub fn make(
        state: &AppState,
        lane: &Lane,
        (program, sender): (&Program, &Sender),
        claimed: &Claimed,
    ) -> Result<Self, String> {
        let step = program.step(claimed.position).ok_or("the step is missing")?;
        let contact = &claimed.contact;
        let to = EmailAddress::parse(&contact.email).map_err(|_| "the address cannot be sent to")?;
        let address = state.suppression_key.hash(lane.account_id, &to.key());
        let (url, keys) = (&state.settings.public_url, &state.link_keys);
        let unsubscribe = links::unsubscribe_url(url, keys, lane.account_id, &address, claimed.enrollment_id);
        let pixel = links::open_url(url, keys, lane.account_id, claimed.enrollment_id);
        let custom = contact.custom.clone().map(CustomFields::from_stored).unwrap_or_default();
        let values = MergeValues {
            first_name: contact.first_name.as_deref(),
            last_name: contact.last_name.as_deref(),
            company: contact.company.as_deref(),
            email: to.as_str(),
            custom: &custom,
        };
        let links = Links { unsubscribe: &unsubscribe, pixel: Some(&pixel) };
        let rendered = render_step(step, &values, &links).map_err(|error| error.to_string())?;
        let letter = Letter {
            message_id: &claimed.message_id,
            from: &sender.from,
            from_name: &sender.from_name,
            to: &to,
            rendered: &rendered,
            earlier: &claimed.references,
            date: Timestamp::now(),
            unsubscribe: &unsubscribe,
        };
        let letter = compose(&letter).map_err(|error| error.to_string())?;
        Ok(Self { ticket: claimed.ticket(), letter, address, to: contact.email.clone() })
    }
}
