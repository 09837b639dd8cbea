//! One reading of one mailbox: what came since the last time, mail by mail, and how the mailbox is left.
//!
//! Of most mails only the headers are fetched; bodies of notices alone. A mail that fails three times, while the server shows
//! another, is parked and skipped, so that it holds up no other. What a server fails to show at all is waited for: it may be
//! an answer.

use std::{panic::catch_unwind, time::Duration};

use super::{
    apply::{Applied, Target, apply},
    classify::{Mail, classify, needs_body},
    lease::{self, Leased, Left},
    responses::{MOST_LITERAL, MOST_READ},
    session::{Fetched, Session},
};
use crate::{
    clock::Timestamp,
    db,
    errors::{ApiError, ApiResult, Code},
    metrics,
    models::{
        mailboxes::{self, User},
        smtp_credentials::imap_password_place,
    },
    net::{VerifyError, imap_probe::Mailbox},
    points,
    state::AppState,
    tenancy::{Conn, Scope, SystemScope},
};

/// A whole poll; shorter than a lease.
const POLL: Duration = Duration::from_secs(240);
/// Mails of one FETCH.
const AT_ONCE: usize = 20;
/// Mails of one poll; what is left is read by the next, at once.
const MOST: usize = 500;
/// Bytes of one poll, behind which no FETCH is begun: 500 notices can be more than a connection is let read.
pub(crate) const ENOUGH: u64 = MOST_READ / 2;
/// Headers and beginnings of the last ones, as long as is taken at all, still fit.
const _: () = assert!(ENOUGH + 2 * AT_ONCE as u64 * MOST_LITERAL < MOST_READ);
/// Passwords that are tried: several credentials may name one mailbox, and one of them may be out of date.
const PASSWORDS: usize = 3;
/// SINCE compares days without their time zones (RFC 3501, section 6.4.4).
const DAY: Duration = Duration::from_secs(86_400);

/// Why a poll ended early.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// The server, in the words of `verify`.
    #[error("{}", .0.as_str())]
    Server(#[from] VerifyError),
    /// Our side.
    #[error(transparent)]
    Ours(#[from] ApiError),
    /// One mail was shown and could not be read.
    #[error("a mail could not be read: {}", .0.as_str())]
    Mail(VerifyError),
    /// The mailbox is somebody else's now.
    #[error("the mailbox is no longer held")]
    LostLease,
}

/// Why reading stopped, and at which mail where that is known.
struct Failed {
    uid: Option<u32>,
    ended: Ended,
}

impl From<Ended> for Failed {
    fn from(ended: Ended) -> Self {
        Self { uid: None, ended }
    }
}

/// What was seen in a poll.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    mails: usize,
    matched: usize,
    unmatched: usize,
}

struct Reader<'a> {
    state: &'a AppState,
    mailbox: &'a Leased,
    users: &'a [User],
    own: Vec<String>,
    seen: Seen,
}

/// Reads a mailbox and leaves it.
pub async fn poll(state: AppState, mailbox: Leased) {
    let left = match tokio::time::timeout(POLL, read(&state, &mailbox)).await {
        Ok(Ok(left)) => left,
        Ok(Err(Ended::LostLease)) => {
            tracing::info!(mailbox = %mailbox.id, "a mailbox was taken over");
            return;
        }
        Ok(Err(Ended::Server(error) | Ended::Mail(error))) => Left::Failed(error.as_str()),
        Ok(Err(Ended::Ours(error))) => {
            tracing::error!(mailbox = %mailbox.id, %error, "a mailbox could not be read");
            Left::Failed(VerifyError::ProtocolFailed.as_str())
        }
        Err(_) => Left::Failed(VerifyError::Timeout.as_str()),
    };
    if let Left::Failed(reason) = left {
        tracing::warn!(mailbox = %mailbox.id, account = %mailbox.account_id, reason, failures = mailbox.failures + 1, "a mailbox could not be read");
    }
    match left {
        Left::Read(_) | Left::More => metrics::mailbox_polled("read"),
        Left::Failed(_) => metrics::mailbox_polled("failed"),
        Left::Idle => {}
    }
    let every = state.settings.inbox.poll;
    let done = db::in_time(lease::leave(&state.db, &mailbox, &left, every, Timestamp::now()));
    if let Err(error) = done.await {
        tracing::error!(mailbox = %mailbox.id, %error, "a mailbox could not be left; its lease ends with its time");
    }
}

async fn read(state: &AppState, mailbox: &Leased) -> Result<Left, Ended> {
    let scope = SystemScope::new(Conn::Pool(state.db.pool().clone())).account(mailbox.account_id);
    // Before the first send there is nothing to look for, and people's mail is not ours to read.
    if mailbox.uid_validity.is_none() && !mailboxes::has_sent(&scope, mailbox.id).await? {
        return Ok(Left::Idle);
    }
    let users = mailboxes::users_of(&scope, mailbox.id).await?;
    let own = users.iter().map(|user| user.from_email.to_lowercase()).collect();
    let mut session = log_in(state, mailbox, &users).await?;
    let mut reader = Reader { state, mailbox, users: &users, own, seen: Seen::default() };
    let left = reader.read(&scope, &mut session).await;
    let Seen { mails, matched, unmatched } = reader.seen;
    if mails > 0 {
        tracing::info!(mailbox = %mailbox.id, mails, matched, unmatched, "mailbox read");
    }
    if left.is_ok() {
        session.close().await;
    }
    left
}

/// Logs in with the password of the newest credential that is taken.
async fn log_in(state: &AppState, mailbox: &Leased, users: &[User]) -> Result<Session, Ended> {
    let port = u16::try_from(mailbox.name.port).map_err(ApiError::internal)?;
    let mut tried: Vec<String> = Vec::new();
    for user in users {
        let place = imap_password_place(mailbox.account_id, user.credential_id);
        let password = state.sealer.open_text(&place, &user.sealed).map_err(ApiError::internal)?;
        let password = password.expose();
        if tried.iter().any(|known| known == password) {
            continue;
        }
        let to = Mailbox { host: &mailbox.name.host, port, username: &mailbox.name.username, password };
        match Session::open(&state.dialer, &to, state.settings.inbox.patience).await {
            Err(VerifyError::AuthFailed) if tried.len() + 1 < PASSWORDS => tried.push(password.to_owned()),
            other => return Ok(other?),
        }
    }
    Err(VerifyError::AuthFailed.into())
}

impl Reader<'_> {
    async fn read(&mut self, scope: &Scope, session: &mut Session) -> Result<Left, Ended> {
        let began = Timestamp::now();
        let examined = session.examine().await?;
        let validity = examined.uid_validity;
        let known = self.mailbox.uid_validity == Some(i64::from(validity));
        let last = u32::try_from(self.mailbox.last_uid).unwrap_or(0);
        // New, or its UIDs were given anew: from the first send on. What was applied before is not counted again.
        let (after, mut uids) = if known {
            (last, session.search_after(last).await?)
        } else {
            let first_send = mailboxes::first_send(scope, self.mailbox.id).await?.unwrap_or(began);
            (0, session.search_since(first_send.minus(DAY)).await?)
        };
        if !known && uids.is_empty() {
            if let Some(next) = examined.uid_next {
                self.advance(validity, next.saturating_sub(1)).await?;
            }
            return Ok(Left::Read(began));
        }
        let parked = mailboxes::parked(scope, self.mailbox.id, validity, after).await?;
        let end = uids.last().copied();
        uids.retain(|uid| !parked.contains(uid));
        let more = uids.len() > MOST;
        uids.truncate(MOST);
        // After a failure one by one, so that it is known which mail it is.
        let careful = self.mailbox.failures > 0;
        for some in uids.chunks(if careful { 1 } else { AT_ONCE }) {
            if session.read() >= self.state.settings.inbox.enough {
                return Ok(Left::More);
            }
            if let Err(Failed { uid, ended }) = self.read_some(session, validity, some).await {
                if let Some(uid) = uid {
                    self.note_failure((validity, uid), &ended, &uids).await?;
                }
                return Err(ended);
            }
        }
        if more {
            return Ok(Left::More);
        }
        // The last may be a parked one.
        if let Some(end) = end {
            self.advance(validity, end).await?;
        }
        Ok(Left::Read(began))
    }

    async fn read_some(&mut self, session: &mut Session, validity: u32, uids: &[u32]) -> Result<(), Failed> {
        // Of several at once nobody knows which it was.
        let alone = if let [uid] = uids { Some(*uid) } else { None };
        let fetched =
            session.headers(uids).await.map_err(|error| Failed { uid: alone, ended: error.into() })?;
        for one in fetched {
            let uid = one.uid;
            if let Err(ended) = self.read_one(session, validity, one).await {
                // What comes before it is read.
                self.advance(validity, uid.saturating_sub(1)).await?;
                return Err(Failed { uid: Some(uid), ended });
            }
        }
        match uids.last() {
            Some(last) => Ok(self.advance(validity, *last).await?),
            None => Ok(()),
        }
    }

    /// Counts a failure where it is the mail's: it was shown, or the server shows another.
    async fn note_failure(&self, place: (u32, u32), ended: &Ended, uids: &[u32]) -> Result<(), Ended> {
        match ended {
            Ended::Mail(error) => self.count_failure(place, error.as_str()).await,
            Ended::Server(error) if self.shows_another(place.1, uids).await => {
                self.count_failure(place, error.as_str()).await
            }
            Ended::Server(_) | Ended::Ours(_) | Ended::LostLease => Ok(()),
        }
    }

    /// Whether the server shows, in another session, another mail than this one: one of those that are new, or the last one
    /// that was read.
    async fn shows_another(&self, uid: u32, uids: &[u32]) -> bool {
        let read = u32::try_from(self.mailbox.last_uid).ok().filter(|last| *last > 0);
        let Some(other) = uids.iter().copied().find(|other| *other != uid).or(read) else { return false };
        let Ok(mut session) = log_in(self.state, self.mailbox, self.users).await else { return false };
        let shown = session.examine().await.is_ok() && session.headers(&[other]).await.is_ok();
        if shown {
            session.close().await;
        }
        shown
    }

    async fn read_one(
        &mut self,
        session: &mut Session,
        validity: u32,
        fetched: Fetched,
    ) -> Result<(), Ended> {
        let uid = fetched.uid;
        self.seen.mails += 1;
        let mail = understand(session, fetched).await?;
        points::reach("inbox_fetched");
        let target = Target {
            db: &self.state.db,
            key: &self.state.suppression_key,
            mailbox: self.mailbox,
            uid_validity: validity,
            own: &self.own,
        };
        match apply(&target, uid, &mail).await {
            Ok(Applied::Stored) => {
                self.seen.matched += 1;
                metrics::mail_found("matched");
                self.state.doorbells.webhooks.ring();
            }
            Ok(Applied::Unmatched) => {
                self.seen.unmatched += 1;
                metrics::mail_found("unmatched");
            }
            Ok(Applied::LostLease) => return Err(Ended::LostLease),
            Err(error) if error.code == Code::ServiceUnavailable => return Err(Ended::Ours(error)),
            Err(error) => {
                tracing::error!(mailbox = %self.mailbox.id, uid, %error, "a mail could not be applied");
                return Err(Ended::Mail(VerifyError::ProtocolFailed));
            }
        }
        Ok(())
    }

    async fn advance(&self, validity: u32, uid: u32) -> Result<(), Ended> {
        let held: ApiResult<bool> = SystemScope::in_transaction(&self.state.db, async |system| {
            let scope = system.account(self.mailbox.account_id);
            mailboxes::advance(&scope, self.mailbox.id, self.mailbox.token, validity, uid).await
        })
        .await;
        let held = held?;
        if held { Ok(()) } else { Err(Ended::LostLease) }
    }

    async fn count_failure(&self, place: (u32, u32), error: &str) -> Result<(), Ended> {
        let parked: ApiResult<bool> = SystemScope::in_transaction(&self.state.db, async |system| {
            let scope = system.account(self.mailbox.account_id);
            mailboxes::count_failure(&scope, self.mailbox.id, place, error, Timestamp::now()).await
        })
        .await;
        let parked = parked?;
        let (_, uid) = place;
        if parked {
            metrics::mail_found("parked");
        }
        tracing::warn!(mailbox = %self.mailbox.id, uid, error, parked, "a mail could not be read");
        Ok(())
    }
}

/// What the mail is. The parser promises not to panic; a promise of a reader of hostile bytes is not relied on.
async fn understand(session: &mut Session, fetched: Fetched) -> Result<Mail, Ended> {
    let Fetched { uid, bytes } = fetched;
    let read = |bytes: &[u8]| {
        let read = catch_unwind(|| (needs_body(bytes), classify(bytes)));
        read.map_err(|_| Ended::Mail(VerifyError::ProtocolFailed))
    };
    let (wants_body, mail) = read(&bytes)?;
    if !wants_body {
        return Ok(mail);
    }
    match session.beginning(uid).await? {
        Some(whole) => read(&whole).map(|(_, mail)| mail),
        None => Ok(mail),
    }
}
