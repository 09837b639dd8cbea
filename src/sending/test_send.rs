//! Test messages: steps of a campaign sent now, to addresses of the author's choice. They change no enrollment and are
//! not tracked, but they count as sends, and none is handed over before its mark is stored.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    aside::aside,
    compose::{Composed, Letter, compose},
    preview::{Addressee, compile, render},
    render::StepTemplates,
    smtp::{DataOutcome, Endpoint, Envelope, OfferError, Offered, Reply, SmtpConnection, Timeouts},
};
use crate::{
    clock::{Timestamp, new_id},
    crypto::{Secret, links},
    db::Db,
    errors::{ApiError, ApiResult},
    models::{
        EmailAddress, HeaderText, deliveries, sequence_steps, smtp_credentials,
        states::TestState,
        test_messages::{self, Model},
    },
    state::AppState,
    tenancy::{Caller, Conn, Scope},
};

/// Shorter than a lane's: somebody is waiting for the answer.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    command: Duration::from_secs(20),
    before_data: Duration::from_secs(30),
    data: Duration::from_secs(30),
    body: Duration::from_secs(60),
    final_reply: Duration::from_secs(60),
    quit: Duration::from_secs(2),
};

/// Why a message was not sent: something that was stored meanwhile forbade it.
const STOPPED: &str = "stopped before it was sent";
/// What is told of a message of which nobody knows.
const UNCERTAIN: &str = "the server did not say whether it took the message";

/// What is to be sent.
#[derive(Debug)]
pub struct Test {
    /// The campaign.
    pub campaign_id: Uuid,
    /// To whom.
    pub emails: Vec<EmailAddress>,
    /// The steps by position, compiled.
    pub steps: BTreeMap<i32, StepTemplates>,
    /// Whose values fill the templates; the address itself is each recipient's own where it is nobody's.
    pub addressee: Addressee,
    /// What it is sent through.
    pub credential: smtp_credentials::Model,
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The recipient.
    pub email: String,
    /// The step.
    pub position: i32,
    /// Why it was not accepted.
    pub error: Option<String>,
}

/// What is asked for: the steps of a campaign, checked addresses, and whose values fill the templates.
#[derive(Debug)]
pub struct Asked {
    /// The campaign.
    pub campaign_id: Uuid,
    /// Its steps, or the one that is wanted.
    pub steps: Vec<sequence_steps::Model>,
    /// Whose values fill the templates.
    pub addressee: Addressee,
    /// To whom.
    pub emails: Vec<EmailAddress>,
}

/// Chooses the credential and refuses what may not be sent. The contact's own address counts too: nothing is tried out
/// for somebody who unsubscribed.
///
/// # Errors
/// `unprocessable`.
pub async fn plan(scope: &Scope, state: &AppState, asked: Asked) -> ApiResult<Test> {
    let Asked { campaign_id, steps, addressee, emails } = asked;
    let contact = addressee.id.and_then(|_| EmailAddress::parse(&addressee.email).ok());
    let all: Vec<EmailAddress> = emails.iter().cloned().chain(contact).collect();
    refuse_unsubscribed(scope, state, &all).await?;
    let enabled = smtp_credentials::enabled_of(scope, campaign_id).await?;
    let credential = enabled
        .into_iter()
        .next()
        .ok_or_else(|| ApiError::unprocessable("The campaign has no enabled SMTP credential"))?;
    let (addressee, steps) =
        aside(move || compile_all(&steps, &addressee).map(|all| (addressee, all))).await??;
    Ok(Test { campaign_id, emails, steps, addressee, credential })
}

/// The steps by position, each tried once: what does not render is told now, not after half of it was sent.
fn compile_all(
    steps: &[sequence_steps::Model],
    addressee: &Addressee,
) -> ApiResult<BTreeMap<i32, StepTemplates>> {
    let one = |step: &sequence_steps::Model| {
        let templates = compile(step)?;
        render(&templates, step.position, addressee, "")?;
        Ok((step.position, templates))
    };
    steps.iter().map(one).collect()
}

/// `unprocessable` with `details.reason` for an address that is suppressed or a contact's that unsubscribed.
async fn refuse_unsubscribed(scope: &Scope, state: &AppState, emails: &[EmailAddress]) -> ApiResult<()> {
    for email in emails {
        let hash = state.suppression_key.hash(scope.account_id(), &email.key());
        // The primary key; uq_contacts_email
        let sql = "SELECT 1 AS one FROM suppressions WHERE account_id = $1 AND email_hash = $2 \
                   UNION ALL SELECT 1 AS one FROM contacts \
                   WHERE account_id = $1 AND email_key = $3 AND unsubscribed_at IS NOT NULL";
        if scope.query_one(sql, [hash.to_vec().into(), email.key().into()]).await?.is_some() {
            return Err(unsubscribed());
        }
    }
    Ok(())
}

/// The refusal of whoever unsubscribed.
fn unsubscribed() -> ApiError {
    ApiError::unprocessable("A test cannot be sent to or for somebody who unsubscribed")
        .details(serde_json::json!({ "reason": "unsubscribed" }))
}

/// Reserves a send for each message, sends them one after the other, and tells what became of each. To be seen through
/// to its end, whoever waits. A run that was begun before goes on where it stopped, and sends nothing again that was
/// marked.
///
/// # Errors
/// `plan_limit_reached` before anything is sent; later only what the database refuses.
pub async fn run(state: AppState, caller: Caller, test: Test, run_id: Uuid) -> ApiResult<Vec<Sent>> {
    let password = open_password(&state, &test.credential)?;
    let new = messages(&test, run_id);
    let rows = in_tx(&state.db, caller, async |scope| {
        let begun = test_messages::take_over(scope, run_id).await?;
        if begun.is_empty() { test_messages::claim(scope, new, Timestamp::now()).await } else { Ok(begun) }
    })
    .await?;
    let mut run = Run { state, caller, test, password, connection: None, given_up: None };
    let mut results = Vec::with_capacity(rows.len());
    for (nth, row) in rows.iter().enumerate() {
        let error = run.send(row, rows.get(nth..).unwrap_or_default()).await?;
        results.push(Sent { email: row.email.clone(), position: row.position, error });
    }
    if let Some(connection) = run.connection.take() {
        connection.quit().await;
    }
    Ok(results)
}

fn open_password(state: &AppState, row: &smtp_credentials::Model) -> ApiResult<Secret> {
    let place = smtp_credentials::smtp_password_place(row.account_id, row.id);
    state.sealer.open_text(&place, &row.smtp_password).map_err(ApiError::internal)
}

/// One row for each address and step.
fn messages(test: &Test, run_id: Uuid) -> Vec<Model> {
    let now = Timestamp::now();
    let pairs =
        test.emails.iter().flat_map(|email| test.steps.keys().map(move |position| (email, *position)));
    let row = |(email, position): (&EmailAddress, i32)| {
        let id = new_id();
        let domain = test.credential.from_email.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        Model {
            id,
            account_id: test.credential.account_id,
            campaign_id: test.campaign_id,
            smtp_credential_id: test.credential.id,
            email: email.to_string(),
            position,
            state: TestState::Claimed,
            message_id: deliveries::message_id(id, domain),
            smtp_reply: None,
            reserved_period: None,
            locked_until: now,
            run_id: Some(run_id),
            created_at: now,
        }
    };
    pairs.map(row).collect()
}

/// Runs `work` in a transaction of its own.
async fn in_tx<T>(db: &Db, caller: Caller, work: impl AsyncFnOnce(&Scope) -> ApiResult<T>) -> ApiResult<T> {
    let tx = Arc::new(db.begin().await?);
    let scope = Scope::of(&caller, Conn::Tx(Arc::clone(&tx)));
    let done = work(&scope).await?;
    drop(scope);
    let tx = Arc::into_inner(tx).ok_or_else(|| ApiError::internal("the transaction is still in use"))?;
    tx.commit().await?;
    Ok(done)
}

/// How a message ended.
struct Ended {
    /// Whether it ended after its mark was stored.
    marked: bool,
    state: TestState,
    reply: Option<String>,
    error: Option<String>,
}

impl Ended {
    fn failed(reason: impl Into<String>) -> Self {
        Self { marked: false, state: TestState::Failed, reply: None, error: Some(reason.into()) }
    }

    fn refused(reply: String) -> Self {
        Self { marked: false, state: TestState::Failed, reply: Some(reply.clone()), error: Some(reply) }
    }
}

/// What became of a message before this run took it over: its error, if it had one. `None`: it is still to be sent.
fn known(row: &Model) -> Option<Option<String>> {
    match row.state {
        TestState::Claimed => None,
        TestState::Sent => Some(None),
        TestState::Failed => Some(Some(row.smtp_reply.clone().unwrap_or_else(|| STOPPED.to_owned()))),
        TestState::Sending | TestState::Uncertain => Some(Some(UNCERTAIN.to_owned())),
    }
}

struct Run {
    state: AppState,
    caller: Caller,
    test: Test,
    password: Secret,
    connection: Option<SmtpConnection>,
    /// Why nothing more is tried: the server could not be used at all.
    given_up: Option<String>,
}

impl Run {
    /// One message from its row to its record; `held` are this one and those after it.
    async fn send(&mut self, row: &Model, held: &[Model]) -> ApiResult<Option<String>> {
        if let Some(known) = known(row) {
            return Ok(known);
        }
        let ended = match self.given_up.clone() {
            Some(reason) => Ended::failed(reason),
            None => self.attempt(row, held).await?,
        };
        let Ended { marked, state, reply, error } = ended;
        in_tx(&self.state.db, self.caller, async |scope| {
            test_messages::record(scope, row, marked, state, reply).await
        })
        .await?;
        Ok(error)
    }

    async fn attempt(&mut self, row: &Model, held: &[Model]) -> ApiResult<Ended> {
        let to = EmailAddress::parse(&row.email).map_err(|_| ApiError::internal("a stored address"))?;
        let hash = self.state.suppression_key.hash(row.account_id, &to.key());
        // What one address makes of a template does not undo what went out before.
        let letter = match self.letter(row, &to, &hash) {
            Ok(letter) => letter,
            Err(error) => return Ok(Ended::failed(error.message)),
        };
        let from = self.test.credential.from_email.clone();
        let envelope = Envelope { from: &from, to: to.as_str(), size: letter.bytes.len() };
        let (mut connection, offered) = match self.offer(&envelope).await {
            Ok(accepted) => accepted,
            Err(ended) => return Ok(ended),
        };
        let ids: Vec<Uuid> = held.iter().map(|row| row.id).collect();
        let marked = in_tx(&self.state.db, self.caller, async |scope| {
            let marked = test_messages::mark(scope, row, &hash).await?;
            test_messages::hold(scope, ids).await?;
            Ok(marked)
        })
        .await?;
        let ended = if marked {
            // One message gains nothing by it, and DATA is taken by every server.
            connection.without_chunks();
            let outcome = connection.data(offered, &letter.bytes, None, &|| true).await;
            Ended { marked, ..told(outcome) }
        } else {
            // Whoever does not answer has made it unusable.
            connection.reset().await.ok();
            Ended::failed(STOPPED)
        };
        self.keep(connection);
        Ok(ended)
    }

    fn letter(&self, row: &Model, to: &EmailAddress, hash: &[u8; 32]) -> ApiResult<Composed> {
        let step = self
            .test
            .steps
            .get(&row.position)
            .ok_or_else(|| ApiError::internal("a test message without its step"))?;
        let (state, credential) = (&self.state, &self.test.credential);
        // No enrollment stands behind it; the address alone is what unsubscribes.
        let unsubscribe = links::unsubscribe_url(
            &state.settings.public_url,
            &state.link_keys,
            row.account_id,
            hash,
            Uuid::nil(),
        );
        let sample = Addressee { email: to.to_string(), ..Addressee::sample() };
        let addressee = if self.test.addressee.id.is_some() { &self.test.addressee } else { &sample };
        let rendered = render(step, row.position, addressee, &unsubscribe)?;
        let from = EmailAddress::parse(&credential.from_email).map_err(|_| ApiError::internal("a sender"))?;
        let from_name = HeaderText::parse(&credential.from_name, HeaderText::NAME_CHARS)
            .map_err(|_| ApiError::internal("a sender's name"))?;
        compose(&Letter {
            message_id: &row.message_id,
            from: &from,
            from_name: &from_name,
            to,
            rendered: &rendered,
            earlier: &[],
            date: Timestamp::now(),
            unsubscribe: &unsubscribe,
        })
        .map_err(ApiError::internal)
    }

    /// For the next message, if it is good for one.
    fn keep(&mut self, connection: SmtpConnection) {
        self.connection = Some(connection).filter(SmtpConnection::is_usable);
    }

    /// Until the recipient is accepted. A server that cannot be used is not tried again for the messages that follow.
    async fn offer(&mut self, envelope: &Envelope<'_>) -> Result<(SmtpConnection, Offered), Ended> {
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.open().await?,
        };
        let mut offered = connection.offer(envelope).await;
        if matches!(offered, Err(OfferError::Broken(_))) && connection.served() > 0 {
            connection = self.open().await?;
            offered = connection.offer(envelope).await;
        }
        match offered {
            Ok(offered) => Ok((connection, offered)),
            Err(error) => {
                self.keep(connection);
                let reply = error.reply().map(Reply::kept);
                Err(reply.map_or_else(|| Ended::failed("protocol_failed"), Ended::refused))
            }
        }
    }

    async fn open(&mut self) -> Result<SmtpConnection, Ended> {
        let credential = &self.test.credential;
        let endpoint = Endpoint {
            host: &credential.smtp_host,
            port: u16::try_from(credential.smtp_port).unwrap_or_default(),
            username: &credential.smtp_username,
            password: self.password.expose(),
        };
        SmtpConnection::open(&self.state.dialer, &endpoint, &TIMEOUTS).await.map_err(|error| {
            let word = error.verify_error().as_str();
            self.given_up = Some(word.to_owned());
            Ended::failed(word)
        })
    }
}

fn told(outcome: DataOutcome) -> Ended {
    match outcome {
        DataOutcome::Accepted(reply) => {
            Ended { marked: true, state: TestState::Sent, reply: Some(reply.kept()), error: None }
        }
        DataOutcome::Deferred { reply, .. } | DataOutcome::Refused { reply, .. } => {
            Ended::refused(reply.kept())
        }
        DataOutcome::NotSent(_) => Ended::failed("protocol_failed"),
        DataOutcome::Unknown(_) => Ended {
            marked: true,
            state: TestState::Uncertain,
            reply: None,
            error: Some(UNCERTAIN.to_owned()),
        },
    }
}
