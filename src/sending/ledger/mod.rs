//! The ledger: the one writer of a process's send path. Lanes ask for claims, marks and records; what is asked at the
//! same time is committed together (group commit), so a lane waits for a commit and not for a commit of its own.
//!
//! Decisions are in `decide` (pure), what they rest on in `facts` (read under locks), what they write in `apply`.
//! Nothing here talks to a mail server.

mod answer;
mod apply;
mod claim;
mod count;
mod decide;
#[cfg(test)]
mod decide_tests;
mod events;
mod facts;
#[cfg(test)]
mod facts_tests;
mod order;
#[cfg(test)]
mod record_tests;
mod room;
mod void;
mod wake;
mod writes;

use std::{collections::HashSet, sync::Arc, time::Duration};

use sea_orm::{ConnAcquireErr, DbErr};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub use claim::{Claimed, Recipient, Want};
pub use decide::{Outcome, Verdict};
pub use facts::{Holder, bereaved};
pub use order::lock_soon;
pub use void::{are_holders_unnamed, name_dead_holders, void};

use self::{
    answer::{Answers, Entry, answer},
    decide::{Ask, Change, decide},
    events::Events,
    facts::Facts,
};
use super::points;
use crate::{
    clock::Timestamp,
    db::{Db, WriteTx},
    engine::Doorbell,
    errors::is_passing,
    models::suppressions::AddressHash,
    tenancy::{Conn, SystemScope},
};

/// The most entries of one commit; one may ask something of all that a lane holds.
const MOST_PER_COMMIT: usize = 256;
/// The most deliveries written together: SQLite takes 32,766 parameters, and one has up to 55 in all tables.
const MOST_ROWS: usize = 512;
/// How long a commit waits for lanes that are on their way back from the last one.
const MOMENT: Duration = Duration::from_millis(1);
/// How long a failed commit is waited out before the next try, and that much longer each time …
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// … up to this.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(2);
/// Records and give-backs that the database refuses are tried this often before the asker is told; marks and claims once.
const RECORD_TRIES: u32 = 150;

/// What a delivery is known by to the lane that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Its row.
    pub delivery_id: Uuid,
    /// What proves that it is held.
    pub token: Uuid,
    /// Whose it is: what is locked before it.
    pub owner: Owner,
}

/// The campaign of a delivery, and the account of both; they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The account.
    pub account_id: Uuid,
    /// The campaign.
    pub campaign_id: Uuid,
}

impl Claimed {
    /// Its ticket.
    pub const fn ticket(&self) -> Ticket {
        Ticket { delivery_id: self.delivery_id, token: self.token, owner: self.owner }
    }
}

/// The leave to hand over one message's content. Only the ledger makes one, and sending consumes it.
#[derive(Debug)]
pub struct Mark(Ticket);

impl Mark {
    /// Which delivery it is for.
    pub const fn ticket(&self) -> Ticket {
        self.0
    }
}

/// The answer to a mark.
#[derive(Debug)]
pub enum Marking {
    /// Stored: send.
    Go(Mark),
    /// Stopped before it; the delivery is no longer held.
    Stopped(Verdict),
}

/// The ledger cannot be reached or could not commit; nothing was marked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the ledger did not commit: {why}")]
pub struct LedgerError {
    why: String,
    /// The database was away or busy: waiting may cure it.
    passing: bool,
}

impl LedgerError {
    fn lasting(why: &str) -> Self {
        Self { why: why.to_owned(), passing: false }
    }

    /// How long a record waits that was refused so often before it is asked for again. `None`: its asker is told.
    fn again_after(&self, refused: u32) -> Option<Duration> {
        let again = self.passing || refused <= RECORD_TRIES;
        again.then(|| RETRY_AFTER.saturating_mul(refused).min(RETRY_AFTER_MOST))
    }
}

impl From<&DbErr> for LedgerError {
    fn from(error: &DbErr) -> Self {
        Self { why: error.to_string(), passing: is_passing(error) }
    }
}

/// Where lanes put what they ask; cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    entries: mpsc::Sender<Entry>,
}

impl Ledger {
    /// A ledger and its writer, which must be run. The bell is rung when there is something to tell webhooks. `fresh`: how
    /// long ago a mailbox may have been read for a follow-up. `patience`: how long the database may say nothing.
    pub fn new(db: &Db, webhooks: Doorbell, fresh: Duration, patience: Duration) -> (Self, Writer) {
        let (entries, inbox) = mpsc::channel(4 * MOST_PER_COMMIT);
        let db = db.apart(order::SETTLING);
        (Self { entries }, Writer { db, fresh, patience, inbox, webhooks })
    }

    /// Takes due work for a lane; empty when there is none that may go now.
    ///
    /// # Errors
    /// When the database did not commit; nothing was taken.
    pub async fn claim(&self, want: Want) -> Result<Vec<Claimed>, LedgerError> {
        self.ask(|answer| Entry::Claim(want, answer)).await
    }

    /// Records how earlier attempts ended and, in the same commit, asks to mark the next delivery, which goes to the
    /// address of this hash.
    ///
    /// # Errors
    /// When the database did not confirm the commit. The mark may be stored: give it back.
    pub async fn mark(
        &self,
        ended: Option<(Ticket, Outcome)>,
        next: Ticket,
        address: AddressHash,
    ) -> Result<Marking, LedgerError> {
        points::reach("before_mark");
        let asks = ended.into_iter().map(|(ticket, outcome)| (ticket, recorded(outcome)));
        let asks = asks.chain([(next, Ask::Mark(address))]).collect();
        let verdicts = self.change(asks).await?;
        match verdicts.last() {
            Some(Verdict::Marked) => {
                points::reach("after_mark");
                Ok(Marking::Go(Mark(next)))
            }
            Some(other) => Ok(Marking::Stopped(*other)),
            None => Err(LedgerError::lasting("no verdict")),
        }
    }

    /// Records how attempts ended. Tried again until it lands, for as long as the database is away: nobody else knows
    /// it. What landed although its answer was lost is no longer held with its ticket, and changes nothing again.
    ///
    /// # Errors
    /// When the database keeps refusing it, or this process stops: the rows are settled when it is declared dead.
    pub async fn record(&self, ended: Vec<(Ticket, Outcome)>) -> Result<Vec<Verdict>, LedgerError> {
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let asks: Vec<_> = ended.into_iter().map(|(ticket, outcome)| (ticket, recorded(outcome))).collect();
        let mut refused = 0_u32;
        loop {
            let answer = self.change(asks.clone()).await;
            let Err(error) = &answer else { return answer };
            refused = refused.saturating_add(1);
            let Some(wait) = error.again_after(refused) else { return answer };
            tracing::warn!(%error, refused, "outcome not recorded yet");
            tokio::time::sleep(wait).await;
        }
    }

    async fn change(&self, asks: Vec<(Ticket, Ask)>) -> Result<Vec<Verdict>, LedgerError> {
        self.ask(|answer| Entry::Change(asks, answer)).await
    }

    async fn ask<T>(
        &self,
        entry: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> Entry,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let gone = || LedgerError::lasting("its writer has stopped");
        self.entries.send(entry(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn recorded(outcome: Outcome) -> Ask {
    Ask::Record(outcome, rand::random())
}

/// Commits what is asked. Ends when every [`Ledger`] is dropped.
#[derive(Debug)]
pub struct Writer {
    db: Db,
    fresh: Duration,
    patience: Duration,
    inbox: mpsc::Receiver<Entry>,
    webhooks: Doorbell,
}

impl Writer {
    /// Works until nobody can ask any more.
    pub async fn run(mut self) {
        let mut gathered = Vec::with_capacity(MOST_PER_COMMIT);
        let mut expected = 0;
        while self.inbox.recv_many(&mut gathered, MOST_PER_COMMIT).await > 0 {
            self.gather(&mut gathered, expected).await;
            expected = gathered.len();
            let entries = std::mem::take(&mut gathered);
            match self.in_time(self.prepare(&entries)).await {
                Ok(prepared) => self.conclude(entries, prepared).await,
                Err(error) if entries.len() == 1 || is_silence(&error) => answer(entries, Err(error)),
                // One bad entry must not hold up the others. Nothing was committed, so each may be done again; a
                // commit that failed may have happened, and is never repeated.
                Err(_) => self.one_by_one(entries).await,
            }
        }
    }

    /// Lanes that were answered together come back together, but for the first of them: whose commit would have begun
    /// without the others, and made them wait for two. They are waited for a moment, if they are not on their way at all.
    async fn gather(&mut self, gathered: &mut Vec<Entry>, expected: usize) {
        let expected = expected.min(MOST_PER_COMMIT);
        let moment = tokio::time::sleep(MOMENT);
        tokio::pin!(moment);
        while gathered.len() < expected {
            let room = MOST_PER_COMMIT - gathered.len();
            tokio::select! {
                biased;
                more = self.inbox.recv_many(gathered, room) => if more == 0 { return },
                () = &mut moment => return,
            }
        }
    }

    /// Where the database says nothing, it need not be asked for each of the others.
    async fn one_by_one(&self, entries: Vec<Entry>) {
        let mut silent = None;
        for entry in entries {
            let alone = vec![entry];
            if let Some(error) = &silent {
                answer(alone, Err(DbErr::clone(error)));
                continue;
            }
            match self.in_time(self.prepare(&alone)).await {
                Ok(prepared) => self.conclude(alone, prepared).await,
                Err(error) => {
                    silent = Some(error.clone()).filter(is_silence);
                    answer(alone, Err(error));
                }
            }
        }
    }

    /// A database whose host is gone without a word would be waited for until TCP gives it up, and all lanes with it.
    async fn in_time<T>(&self, done: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        let silence = || Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        tokio::time::timeout(self.patience, done).await.unwrap_or_else(|_| silence())
    }

    /// Everything but the commit.
    async fn prepare(&self, entries: &[Entry]) -> Result<(WriteTx, Answers), DbErr> {
        let tx = Arc::new(self.db.begin().await?);
        let system = SystemScope::new(Conn::Tx(Arc::clone(&tx)));
        let now = Timestamp::now();
        let asks: Vec<(Ticket, &Ask)> = entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Change(asks, _) => Some(asks.iter().map(|(ticket, ask)| (*ticket, ask))),
                Entry::Claim(..) => None,
            })
            .flatten()
            .collect();
        let wants: Vec<&Want> = entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Claim(want, _) => Some(want),
                Entry::Change(..) => None,
            })
            .collect();
        order::take(&system, asks.iter().map(|(ticket, _)| ticket.owner), &wants, now).await?;
        let (verdicts, told) = settle(&system, &asks, now, now.minus(self.fresh)).await?;
        let mut claims = Vec::new();
        if !wants.is_empty() {
            order::before_claims(&system).await?;
        }
        for want in wants {
            claims.push(claim::claim(&system, want, now, now.minus(self.fresh)).await?);
        }
        drop(system);
        let tx =
            Arc::into_inner(tx).ok_or_else(|| DbErr::Custom("the transaction is still in use".into()))?;
        Ok((tx, Answers { verdicts, claims, told }))
    }

    async fn conclude(&self, entries: Vec<Entry>, (tx, answers): (WriteTx, Answers)) {
        points::reach("before_commit");
        let committed = match self.in_time(tx.commit()).await {
            Ok(()) if points::fails("commit_lost") => {
                Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))
            }
            committed => committed,
        };
        points::reach("after_commit");
        if answers.told {
            self.webhooks.ring();
        }
        answer(entries, committed.map(|()| answers));
    }
}

/// No connection, or nothing heard on it: asked for each entry by itself, it would be waited out as often.
const fn is_silence(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(_))
}

/// Decides and writes changes; verdicts in the order of the asks, and whether webhooks are told.
async fn settle(
    system: &SystemScope,
    asks: &[(Ticket, &Ask)],
    now: Timestamp,
    read_since: Timestamp,
) -> Result<(Vec<Verdict>, bool), DbErr> {
    if asks.is_empty() {
        return Ok((Vec::new(), false));
    }
    let known = facts::read_asked(system, asks, read_since).await?;
    let mut verdicts = Vec::with_capacity(asks.len());
    let mut changes = Vec::with_capacity(asks.len());
    let mut events = Events::default();
    // What an earlier ask changed is no longer as it was read: it is nobody's until this is committed.
    let mut changed = HashSet::with_capacity(asks.len());
    for (ticket, ask) in asks {
        let facts = known.get(&ticket.delivery_id);
        // Of another than was locked it is nobody's either.
        let facts = facts.filter(|it| it.owner() == ticket.owner && !changed.contains(&it.delivery_id));
        let Some(facts) = facts else {
            verdicts.push(Verdict::LostLease);
            continue;
        };
        let (verdict, change) = decide(facts, Some(ticket.token), ask, now);
        verdicts.push(verdict);
        if let Some(change) = change {
            events.add(facts, &change);
            changed.insert(facts.delivery_id);
            changes.push((facts, change));
        }
    }
    write(system, &changes, now).await?;
    let told = events.write(system, now).await?;
    Ok((verdicts, told))
}

async fn write(system: &SystemScope, changes: &[(&Facts, Change)], now: Timestamp) -> Result<(), DbErr> {
    for some in changes.chunks(MOST_ROWS) {
        apply::write(system, some, now).await?;
    }
    wake::wake(system, changes, now).await
}
