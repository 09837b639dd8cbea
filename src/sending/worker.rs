//! One connection of a lane at work: it takes due deliveries from the ledger, writes each to the mail server, and records
//! what became of it. The connection is kept for as long as the worker is. Who may send is the ledger's to say; how far a
//! message came is the transport's.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};

use rand::Rng;

use super::{
    lane::{Crew, LaneError},
    lanes::{Lane, Rest},
    ledger::{Claimed, Mark, Marking, Outcome, Ticket, Verdict, Want},
    offer::{Refusal, offer},
    program::{Program, Sender},
    ready::Ready,
    retry,
    smtp::{Broken, DataOutcome, Lasting, OfferError, Offered, SmtpConnection, Trouble, provider_id},
};
use crate::{
    clock::Timestamp,
    models::{deliveries::is_distinct, suppressions::AddressHash},
    points,
};

/// Taken at a time where messages follow each other without a pause.
const BURST: usize = 50;

/// What one delivery left behind.
enum Step {
    /// Go on with the next.
    Next,
    /// The connection ends, and what it means for the lane.
    End(Rest),
}

/// A connection of a lane at work.
struct Worker {
    crew: Arc<Crew>,
    lane: Lane,
    /// The one that the lane begins with; any other is beside it.
    first: bool,
    program: Arc<Program>,
    sender: Sender,
    /// Program and sender were loaded for this claim.
    fresh: bool,
    connection: Option<SmtpConnection>,
    queue: VecDeque<Claimed>,
    /// Taken from the queue already: its MAIL and RCPT may have gone out behind the last final dot.
    ahead: Option<Ready>,
    /// The last outcome, which shares its commit with the next mark.
    ended: Option<(Ticket, Outcome)>,
    served: bool,
}

/// Works until there is nothing to take, or the lane is to rest. `true` beside it: the server accepted something.
///
/// # Errors
/// When ledger or database stay away; what the lane holds must be voided.
pub(super) async fn work(crew: Arc<Crew>, lane: Lane, first: bool) -> Result<(Rest, bool), LaneError> {
    let Some((program, sender)) = super::program::load(&crew.ctx.state, &lane).await? else {
        return Ok((Rest::UntilDue, false));
    };
    let mut worker = Worker {
        crew,
        lane,
        first,
        program,
        sender,
        fresh: true,
        connection: None,
        queue: VecDeque::new(),
        ahead: None,
        ended: None,
        served: false,
    };
    let rest = worker.work().await;
    let settled = worker.settle().await;
    if let Some(connection) = worker.connection.take() {
        connection.quit().await;
    }
    settled?;
    Ok((rest?, worker.served))
}

impl Worker {
    async fn work(&mut self) -> Result<Rest, LaneError> {
        loop {
            if self.crew.ctx.stop.is_cancelled() {
                return Ok(Rest::Pause(Timestamp::now()));
            }
            let ready = match self.ahead.take() {
                Some(ready) => ready,
                None => match self.next().await? {
                    ControlFlow::Continue(ready) => ready,
                    ControlFlow::Break(rest) => return Ok(rest),
                },
            };
            match self.send(ready).await? {
                Step::End(rest) => return Ok(rest),
                Step::Next if self.crew.turn_is_over() => return Ok(Rest::Pause(Timestamp::now())),
                Step::Next => {}
            }
        }
    }

    /// The next delivery, made ready, or how the lane rests. What cannot be composed bounces.
    async fn next(&mut self) -> Result<ControlFlow<Rest, Ready>, LaneError> {
        loop {
            if self.queue.is_empty() {
                self.flush().await?;
                if !self.load_again().await? {
                    return Ok(ControlFlow::Break(Rest::UntilDue));
                }
                if !self.first && self.sender.max_wait_seconds > 0 {
                    // Its campaign waits between messages from now on.
                    return Ok(ControlFlow::Break(Rest::UntilDue));
                }
                self.queue = self.crew.ctx.ledger.claim(self.want()).await?.into();
                points::reach("claimed");
                if self.served && self.queue.len() >= BURST {
                    self.crew.more.notify_one();
                }
            }
            let Some(claimed) = self.queue.pop_front() else {
                return Ok(ControlFlow::Break(Rest::UntilDue));
            };
            match self.make_ready(&claimed) {
                Ok(ready) => return Ok(ControlFlow::Continue(ready)),
                Err(reason) => {
                    self.end(claimed.ticket(), Outcome::Unsendable { reason }, Step::Next).await?;
                }
            }
            if self.crew.turn_is_over() {
                return Ok(ControlFlow::Break(Rest::Pause(Timestamp::now())));
            }
        }
    }

    /// What changed meanwhile (waits, the server, the sender) counts from the next claim on. `false`: it is gone.
    async fn load_again(&mut self) -> Result<bool, LaneError> {
        if std::mem::replace(&mut self.fresh, false) {
            return Ok(true);
        }
        let Some((program, sender)) = super::program::load(&self.crew.ctx.state, &self.lane).await? else {
            return Ok(false);
        };
        if !sender.signs_in_like(&self.sender)
            && let Some(connection) = self.connection.take()
        {
            connection.quit().await;
        }
        (self.program, self.sender) = (program, sender);
        Ok(true)
    }

    fn make_ready(&self, claimed: &Claimed) -> Result<Ready, String> {
        Ready::make(&self.crew.ctx.state, &self.lane, (&self.program, &self.sender), claimed)
    }

    fn want(&self) -> Want {
        Want {
            credential_id: self.lane.credential_id,
            campaign_id: self.lane.campaign_id,
            account_id: self.lane.account_id,
            process_id: self.crew.ctx.process_id,
            most: if self.sender.max_wait_seconds == 0 { BURST } else { 1 },
        }
    }

    /// Records the last outcome by itself.
    async fn flush(&mut self) -> Result<(), LaneError> {
        let ended = self.ended.take().into_iter().collect();
        self.crew.ctx.ledger.record(ended).await?;
        Ok(())
    }

    /// At the end: the last outcome is recorded, what was not begun is given back.
    async fn settle(&mut self) -> Result<(), LaneError> {
        let mut ended: Vec<_> = self.ended.take().into_iter().collect();
        ended.extend(self.ahead.take().map(|ready| (ready.ticket, Outcome::GivenBack)));
        ended.extend(self.queue.drain(..).map(|claimed| (claimed.ticket(), Outcome::GivenBack)));
        self.crew.ctx.ledger.record(ended).await?;
        Ok(())
    }

    /// One delivery from its offer to its outcome.
    async fn send(&mut self, ready: Ready) -> Result<Step, LaneError> {
        let ticket = ready.ticket;
        let envelope = ready.envelope(&self.sender);
        let cut_off =
            if self.first || self.connection.is_some() { &self.crew.ctx.stop } else { &self.crew.alone };
        let offered = tokio::select! {
            biased;
            // Nothing is marked yet: a server that takes its time does not keep a process from ending.
            () = cut_off.cancelled() => None,
            offered = offer(&self.crew.ctx, &self.sender, &mut self.connection, &envelope, self.first) => Some(offered),
        };
        let offered = match offered {
            Some(Ok(offered)) => offered,
            Some(Err(refusal)) => return self.refused(ticket, refusal).await,
            None => return self.cut_off(ticket).await,
        };
        self.crew.note_open();
        // Made ready before the mark: what is marked is handed over at once.
        if self.connection.as_ref().is_some_and(SmtpConnection::takes_ahead) {
            self.ahead = self.following();
        }
        let mark = match self.mark(ticket, ready.address).await? {
            Marking::Go(mark) => mark,
            Marking::Stopped(verdict) => return Ok(self.stopped(verdict).await),
        };
        let outcome = self.deliver(mark, offered, &ready).await;
        self.delivered(ticket, outcome).await
    }

    /// All is to end while a recipient is offered: nobody knows where the conversation stands, and nothing was sent.
    async fn cut_off(&mut self, ticket: Ticket) -> Result<Step, LaneError> {
        self.connection = None;
        self.end(ticket, Outcome::GivenBack, Step::End(Rest::Pause(Timestamp::now()))).await
    }

    /// The mark, in one commit with the last outcome. After a failed commit nobody knows whether it is stored: the
    /// outcome is recorded again, the delivery given back, and nothing was sent.
    async fn mark(&mut self, ticket: Ticket, address: AddressHash) -> Result<Marking, LaneError> {
        let ended = self.ended.take();
        match self.crew.ctx.ledger.mark(ended.clone(), ticket, address).await {
            Ok(marking) => Ok(marking),
            Err(error) => {
                tracing::warn!(%error, "not marked; given back");
                let again = ended.into_iter().chain([(ticket, Outcome::GivenBack)]).collect();
                self.crew.ctx.ledger.record(again).await?;
                self.connection = None;
                Err(error.into())
            }
        }
    }

    /// Stopped between RCPT and DATA: the connection is freed of the recipient.
    async fn stopped(&mut self, verdict: Verdict) -> Step {
        if let Some(connection) = &mut self.connection
            && connection.reset().await.is_err()
        {
            self.connection = None;
        }
        match verdict {
            Verdict::GivenBack => Step::End(Rest::UntilDue),
            Verdict::Marked | Verdict::Skipped | Verdict::Recorded | Verdict::LostLease => Step::Next,
        }
    }

    /// Hands the content over. The mark is consumed: there is no other way to here.
    /// Where the server takes commands ahead, MAIL and RCPT of the next message go out with the final dot.
    async fn deliver(&mut self, mark: Mark, offered: Offered, ready: &Ready) -> DataOutcome {
        let Some(connection) = &mut self.connection else {
            return DataOutcome::NotSent(Broken::Closed);
        };
        tracing::trace!(delivery = %mark.ticket().delivery_id, "handing over");
        let (chunks, server) = (&self.crew.ctx.state.chunks, self.sender.endpoint());
        if !chunks.go_to(&server).await {
            connection.without_chunks();
        }
        let liveness = self.crew.ctx.liveness.clone();
        let alive = move || liveness.is_alive();
        let next = self.ahead.as_ref().map(|next| next.envelope(&self.sender));
        let outcome = connection.data(offered, &ready.letter.bytes, next.as_ref(), &alive).await;
        let is_of_chunk = connection.sent_a_chunk();
        if !connection.is_usable() {
            self.connection = None;
        }
        if is_of_chunk { chunks.judge(&server, outcome).await } else { outcome }
    }

    /// The delivery that follows without a pause. One that cannot be composed is left to its turn.
    fn following(&mut self) -> Option<Ready> {
        if self.sender.max_wait_seconds > 0 || self.crew.ctx.stop.is_cancelled() || self.crew.turn_is_over() {
            return None;
        }
        let ready = self.make_ready(self.queue.front()?).ok()?;
        self.queue.pop_front();
        Some(ready)
    }

    async fn delivered(&mut self, ticket: Ticket, outcome: DataOutcome) -> Result<Step, LaneError> {
        let trouble = outcome.trouble();
        match outcome {
            DataOutcome::Accepted(reply) => {
                self.served = true;
                self.crew.note_served();
                self.lane.failures = 0;
                let provider_id = provider_id(&reply).filter(|id| is_distinct(id));
                let outcome = Outcome::Accepted { reply: reply.kept(), provider_id };
                let pause = self.pause();
                self.end(ticket, outcome, pause).await
            }
            DataOutcome::Unknown(why) => {
                tracing::warn!(delivery = %ticket.delivery_id, %why, "outcome unknown");
                self.connection = None;
                let rest = self.trouble();
                self.end(ticket, Outcome::Uncertain, rest).await
            }
            DataOutcome::Deferred { reply, .. } | DataOutcome::Refused { reply, .. } => {
                self.blame(ticket, trouble, reply.kept()).await
            }
            // It takes the same message behind DATA. Where it did not know the command, nobody knows what it made of what it
            // read, and the connection is gone.
            DataOutcome::NotSent(Broken::NoChunks) => self.end(ticket, Outcome::GivenBack, Step::Next).await,
            DataOutcome::NotSent(why) => self.blame(ticket, trouble, why.to_string()).await,
        }
    }

    /// Nothing was handed over, because there was no connection or the server did not want the recipient.
    async fn refused(&mut self, ticket: Ticket, refusal: Refusal) -> Result<Step, LaneError> {
        let (trouble, words) = match &refusal {
            // Who was served in this turn is let in elsewhere: too many connections at a time are refused in many ways. A
            // sender that may not sign in at all is found out by the next turn.
            Refusal::Open(_) if self.crew.was_served() => (Trouble::Connection, None),
            // Nobody's message is refused before it is offered: no reply is kept.
            Refusal::Open(error) => (error.trouble(), None),
            Refusal::Offer(error) => (error.trouble(), error.reply().map(super::smtp::Reply::kept)),
        };
        if matches!(trouble, Trouble::Connection) {
            tracing::info!(lane = %self.lane.credential_id, first = self.first, error = %refusal, "connection in trouble");
        }
        if matches!(refusal, Refusal::Offer(OfferError::BadAddress)) {
            let pause = self.pause();
            return self.end(ticket, Outcome::Unsendable { reason: refusal.to_string() }, pause).await;
        }
        self.blame(ticket, Some(trouble), words.unwrap_or_else(|| refusal.to_string())).await
    }

    async fn blame(
        &mut self,
        ticket: Ticket,
        trouble: Option<Trouble>,
        words: String,
    ) -> Result<Step, LaneError> {
        match trouble {
            Some(Trouble::Recipient(Lasting::Temporary) | Trouble::Message(Lasting::Temporary)) => {
                let pause = self.pause();
                self.end(ticket, Outcome::Deferred { reply: words }, pause).await
            }
            Some(Trouble::Recipient(Lasting::Permanent) | Trouble::Message(Lasting::Permanent)) => {
                let pause = self.pause();
                self.end(ticket, Outcome::Bounced { reason: words }, pause).await
            }
            Some(Trouble::Sender(fault)) => {
                let rest = Rest::Closed { reason: fault.reason(), tried: self.sender.tried };
                self.end(ticket, Outcome::GivenBack, Step::End(rest)).await
            }
            Some(Trouble::Connection) | None => {
                self.connection = None;
                let rest = self.trouble();
                self.end(ticket, Outcome::GivenBack, rest).await
            }
        }
    }

    /// Keeps the outcome for the next commit where the lane goes on, records it at once where it rests.
    async fn end(&mut self, ticket: Ticket, outcome: Outcome, step: Step) -> Result<Step, LaneError> {
        self.flush().await?;
        self.ended = Some((ticket, outcome));
        if let Step::End(_) = step {
            self.flush().await?;
        }
        Ok(step)
    }

    fn trouble(&self) -> Step {
        let failures = if self.crew.was_served() { 1 } else { self.lane.failures.saturating_add(1) };
        Step::End(Rest::Trouble(Timestamp::now().plus(retry::lane_rest(failures, rand::random()))))
    }

    /// A message went out: the random pause of the campaign.
    fn pause(&self) -> Step {
        let (least, most) = (self.sender.min_wait_seconds, self.sender.max_wait_seconds);
        if most == 0 {
            return Step::Next;
        }
        let micros = rand::rng().random_range(least * 1_000_000..=most * 1_000_000);
        Step::End(Rest::Pause(Timestamp::now().plus(std::time::Duration::from_micros(micros))))
    }
}
