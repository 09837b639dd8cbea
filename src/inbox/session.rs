//! One reading of one mailbox over IMAP (RFC 3501, RFC 9051): bounded in time and size, and for reading only (EXAMINE and
//! PEEK), so that nothing is marked, moved or deleted.

use std::time::Duration;

use imap_proto::{AttributeValue, MailboxDatum, Response, ResponseCode, Status};
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    time::timeout,
};

use super::responses::{Responses, Whole};
use crate::{
    clock::Timestamp,
    net::{
        Dialer, MailStream, VerifyError,
        imap_probe::{Mailbox, open_imap},
    },
};

/// How much of a mail's headers is read.
const HEADERS: usize = 64 * 1024;
/// How much of a notice is read: the server's words come first, then the returned headers.
const NOTICE: usize = 256 * 1024;

/// An open mailbox.
pub(super) struct Session {
    server: Responses<BufReader<MailStream>>,
    commands: u32,
    patience: Duration,
}

/// What the server says of the mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Examined {
    /// Changes when UIDs are given anew.
    pub(super) uid_validity: u32,
    /// The UID that the next mail will have, if the server tells.
    pub(super) uid_next: Option<u32>,
}

/// The headers of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) uid: u32,
    pub(super) bytes: Vec<u8>,
}

impl Session {
    /// Connects and logs in. `patience`: how long that may take, and then each command.
    pub(super) async fn open(
        dialer: &Dialer,
        mailbox: &Mailbox<'_>,
        patience: Duration,
    ) -> Result<Self, VerifyError> {
        let stream = open_imap(dialer, mailbox, patience).await?;
        Ok(Self { server: Responses::new(stream), commands: 0, patience })
    }

    /// Opens INBOX for reading only.
    pub(super) async fn examine(&mut self) -> Result<Examined, VerifyError> {
        let (mut validity, mut next) = (None, None);
        self.ask("EXAMINE INBOX", |response, _| {
            if let Response::Data { outcome, .. } = response {
                match outcome.code {
                    Some(ResponseCode::UidValidity(n)) => validity = Some(n),
                    Some(ResponseCode::UidNext(n)) => next = Some(n),
                    _ => {}
                }
            }
        })
        .await?;
        let uid_validity = validity.ok_or(VerifyError::ProtocolFailed)?;
        Ok(Examined { uid_validity, uid_next: next })
    }

    /// How many bytes were read on its connection.
    pub(super) const fn read(&self) -> u64 {
        self.server.read()
    }

    /// The mails behind this UID, lowest first.
    pub(super) async fn search_after(&mut self, uid: u32) -> Result<Vec<u32>, VerifyError> {
        let from = uid.saturating_add(1);
        let mut found = self.search(&format!("UID SEARCH UID {from}:*")).await?;
        // `n:*` is never empty: it names the last mail where there is none behind n (RFC 3501, section 6.4.8).
        found.retain(|one| *one > uid);
        Ok(found)
    }

    /// The mails that arrived on this day or later, lowest first.
    pub(super) async fn search_since(&mut self, day: Timestamp) -> Result<Vec<u32>, VerifyError> {
        let day = day.to_datetime().format("%d-%b-%Y");
        self.search(&format!("UID SEARCH SINCE {day}")).await
    }

    async fn search(&mut self, command: &str) -> Result<Vec<u32>, VerifyError> {
        let mut found = Vec::new();
        self.ask(command, |response, _| {
            if let Response::MailboxData(MailboxDatum::Search(uids)) = response {
                found.extend_from_slice(uids);
            }
        })
        .await?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// The headers of these mails, as far as they are still there, lowest first.
    pub(super) async fn headers(&mut self, uids: &[u32]) -> Result<Vec<Fetched>, VerifyError> {
        let list: Vec<String> = uids.iter().map(u32::to_string).collect();
        let command = format!("UID FETCH {} (UID BODY.PEEK[HEADER]<0.{HEADERS}>)", list.join(","));
        let mut fetched = self.fetch(&command).await?;
        fetched.retain(|one| uids.contains(&one.uid));
        fetched.sort_unstable_by_key(|one| one.uid);
        fetched.dedup_by_key(|one| one.uid);
        Ok(fetched)
    }

    /// The beginning of a mail, headers included; none if it is gone.
    pub(super) async fn beginning(&mut self, uid: u32) -> Result<Option<Vec<u8>>, VerifyError> {
        let command = format!("UID FETCH {uid} (UID BODY.PEEK[]<0.{NOTICE}>)");
        let fetched = self.fetch(&command).await?;
        Ok(fetched.into_iter().find(|one| one.uid == uid).map(|one| one.bytes))
    }

    async fn fetch(&mut self, command: &str) -> Result<Vec<Fetched>, VerifyError> {
        let mut fetched = Vec::new();
        self.ask(command, |response, whole| {
            if let Response::Fetch(_, attributes) = response {
                fetched.extend(read_fetch(attributes, whole));
            }
        })
        .await?;
        Ok(fetched)
    }

    /// Says goodbye; best effort.
    pub(super) async fn close(mut self) {
        if self.ask("LOGOUT", |_, _| {}).await.is_err() {
            tracing::trace!("an IMAP server did not say goodbye");
        }
    }

    /// One command to its end; what comes before is shown to `each`.
    async fn ask(
        &mut self,
        command: &str,
        each: impl FnMut(&Response<'_>, &Whole),
    ) -> Result<(), VerifyError> {
        timeout(self.patience, self.converse(command, each)).await.map_err(|_| VerifyError::Timeout)?
    }

    async fn converse(
        &mut self,
        command: &str,
        mut each: impl FnMut(&Response<'_>, &Whole),
    ) -> Result<(), VerifyError> {
        self.commands += 1;
        let tag = format!("a{}", self.commands);
        let line = format!("{tag} {command}\r\n");
        let stream = self.server.get_mut();
        stream.write_all(line.as_bytes()).await.map_err(|_| VerifyError::ProtocolFailed)?;
        stream.flush().await.map_err(|_| VerifyError::ProtocolFailed)?;
        let says_goodbye = command == "LOGOUT";
        loop {
            let whole = self.server.next().await?;
            let response = whole.parse()?;
            if let Response::Done { tag: ended, status, .. } = &response
                && ended.0 == tag
            {
                return if *status == Status::Ok { Ok(()) } else { Err(VerifyError::ProtocolFailed) };
            }
            if !says_goodbye && matches!(response, Response::Data { status: Status::Bye, .. }) {
                return Err(VerifyError::ProtocolFailed);
            }
            each(&response, &whole);
        }
    }
}

fn read_fetch(attributes: &[AttributeValue<'_>], whole: &Whole) -> Option<Fetched> {
    let (mut uid, mut bytes) = (None, None);
    for attribute in attributes {
        if let AttributeValue::Uid(known) = attribute {
            uid = Some(*known);
        } else if let AttributeValue::BodySection { data, .. } = attribute {
            bytes = Some(whole.bytes(data.as_deref().unwrap_or_default()).to_vec());
        }
    }
    Some(Fetched { uid: uid?, bytes: bytes? })
}
