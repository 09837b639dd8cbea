//! The load of a soak: a campaign of two steps every so often, some of whose recipients make the mail server misbehave; it
//! is paused and resumed, and some of its people unsubscribe between the steps. Calls are repeated under the same
//! `Idempotency-Key` until they are answered. A witness at the sink notes what must not be.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use testkit::{
    api::{Api, Error, text},
    sink::{Chunking, Keep, Message, Sink},
};
use tokio::time::sleep;

/// What every twentieth recipient makes the sink do; see [`testkit::sink`].
const FAULTS: [&str; 11] = [
    "reject-550",
    "defer-451-once",
    "busy-421-once",
    "close-at-rcpt-once",
    "close-at-data-once",
    "close-mid-body-once",
    "close-after-dot",
    "garbage-after-dot",
    "silent-after-dot",
    "slow-200",
    "reject-data-554",
];
/// One of so many recipients has a fault.
const ONE_OF: u64 = 20;
/// Mailboxes of each campaign, and what each may send first on a day: in all more than there are people.
const MAILBOXES: u64 = 10;
/// For so long what was marked before may still arrive after a pause or an unsubscription was answered.
const UNDER_WAY: Duration = Duration::from_secs(8);
/// A campaign is paused for so long.
const PAUSE: Duration = Duration::from_secs(15);
/// For so long a call is repeated.
const PATIENCE: Duration = Duration::from_secs(120);
/// People of each round who unsubscribe after the first step.
const LEAVERS: usize = 20;

/// What is to be sent.
pub struct Load {
    /// Where the application listens.
    pub base: String,
    /// Where the sink does.
    pub port: u16,
    /// Where events go.
    pub webhook: String,
    /// People of each campaign.
    pub people: u64,
    /// A campaign begins every so often.
    pub pace: Duration,
    /// None begins after this.
    pub until: Instant,
}

/// What the sink saw, by campaign and by recipient.
#[derive(Clone, Default)]
pub struct Witness(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Messages by the domain of their sender, which is a campaign's own.
    by_campaign: HashMap<String, u64>,
    /// The unsubscribe address and the recipient of messages of the first step, the latest of each campaign.
    links: HashMap<String, Vec<(String, String)>>,
    /// When an unsubscription was answered.
    left: HashMap<String, Instant>,
    broken: Vec<String>,
}

impl Witness {
    /// A sink that it looks into.
    ///
    /// # Errors
    /// No port could be listened on.
    pub async fn sink(&self) -> Result<Sink, Error> {
        let witness = self.clone();
        Ok(Sink::builder()
            .keep(Keep::Passing)
            .chunking(Chunking::Offered)
            .on_message(move |message| witness.note(message))
            .start()
            .await?)
    }

    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, message: &Message) {
        let Some((_, campaign)) = message.from.split_once('@') else { return };
        let Some(to) = message.recipients.first() else { return };
        let link = message.header("list-unsubscribe").unwrap_or_default();
        self.with(|seen| {
            *seen.by_campaign.entry(campaign.to_owned()).or_default() += 1;
            if seen.left.get(to).is_some_and(|left| left.elapsed() > UNDER_WAY) {
                seen.broken.push(format!("S3: {to} was written to after it unsubscribed"));
            }
            let links = seen.links.entry(campaign.to_owned()).or_default();
            if links.len() < LEAVERS && !to.contains("-once+") {
                links.push((link.trim_matches(['<', '>']).to_owned(), to.clone()));
            }
        });
    }

    fn count(&self, campaign: &str) -> u64 {
        self.with(|seen| seen.by_campaign.get(campaign).copied().unwrap_or_default())
    }

    /// How many unsubscribed and were looked out for since.
    pub fn left(&self) -> usize {
        self.with(|seen| seen.left.len())
    }

    /// What was seen and must not be.
    pub fn broken(&self) -> Vec<String> {
        self.with(|seen| seen.broken.clone())
    }
}

/// Sends until the time is over; answers how many were enrolled.
///
/// # Errors
/// A call that is refused, or not answered for long.
pub async fn run(load: &Load, witness: &Witness) -> Result<u64, Error> {
    let mut numbers = 0..;
    let account = repeated(async || {
        Api::new(&load.base)?
            .post_once("/signup", &json!({ "email": "soak@example.com" }), "soak-signup")
            .await
    })
    .await?;
    let api = Api::new(&load.base)?.with_key(text(&account, "/api_key/plaintext")?);
    let webhook = json!({ "webhook": { "url": load.webhook } });
    repeated(async || api.post_once("/webhooks", &webhook, "soak-webhook").await).await?;
    let mut enrolled = 0;
    while Instant::now() < load.until {
        let (begun, number) = (Instant::now(), numbers.next().unwrap_or_default());
        round(load, &api, witness, number).await?;
        enrolled += load.people;
        let rest = load.pace.saturating_sub(begun.elapsed());
        sleep(rest.min(load.until.saturating_duration_since(Instant::now()))).await;
    }
    Ok(enrolled)
}

async fn round(load: &Load, api: &Api, witness: &Witness, number: u64) -> Result<(), Error> {
    let domain = format!("round-{number}.example");
    let keyed = async |path: &str, body: &Value, what: &str| {
        let key = format!("soak-{number}-{what}");
        repeated(async || api.post_once(path, body, &key).await).await
    };
    let made = keyed("/campaigns", &campaign(load, &domain), "campaign").await?;
    let path = format!("/campaigns/{}", text(&made, "/id")?);
    let import = keyed("/contact_imports", &people(load.people, number), "people").await?;
    let enroll = json!({ "contact_import_id": text(&import, "/id")?, "batch_size": 100_000 });
    keyed(&format!("{path}/enroll"), &enroll, "enroll").await?;
    keyed(&format!("{path}/dispatch"), &json!({}), "dispatch").await?;
    keyed(&format!("{path}/pause"), &json!({}), "pause").await?;
    sleep(UNDER_WAY).await;
    let paused = witness.count(&domain);
    sleep(PAUSE.saturating_sub(UNDER_WAY)).await;
    let after = witness.count(&domain);
    if after != paused {
        let text = format!("S6: {} messages of {domain} after its pause", after - paused);
        witness.with(|seen| seen.broken.push(text));
    }
    keyed(&format!("{path}/resume"), &json!({}), "resume").await?;
    let first = Instant::now();
    while witness.count(&domain) < load.people / 4 && first.elapsed() < PATIENCE {
        sleep(Duration::from_millis(100)).await;
    }
    for (link, to) in witness.with(|seen| seen.links.remove(&domain).unwrap_or_default()) {
        repeated(async || api.click(&link).await).await?;
        witness.with(|seen| seen.left.insert(to, Instant::now()));
    }
    Ok(())
}

/// Asks until it is answered; a refusal that asking again does not change is an error.
async fn repeated<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(error) if begun.elapsed() < PATIENCE && may_pass(&error.to_string()) => {
                sleep(Duration::from_millis(200)).await;
            }
            answer => return answer,
        }
    }
}

/// No answer, 5xx, and 409, which a call gets whose twin died with its process.
fn may_pass(error: &str) -> bool {
    let refused = |code: &str| error.contains(&format!(": {code}"));
    !["400", "401", "402", "403", "404", "405", "413", "415", "422"].iter().any(|code| refused(code))
}

fn people(count: u64, round: u64) -> Value {
    let contacts = (0..count).map(|n| {
        let fault = usize::try_from(n / ONE_OF).ok().and_then(|it| FAULTS.get(it % FAULTS.len()));
        let local = fault.filter(|_| n.is_multiple_of(ONE_OF)).unwrap_or(&"ok");
        json!({ "email": format!("{local}+{round}-{n}@example.com"), "first_name": format!("First{n}") })
    });
    json!({ "contact_import": { "name": format!("Round {round}"), "contacts": contacts.collect::<Vec<_>>() } })
}

fn campaign(load: &Load, domain: &str) -> Value {
    let mailboxes = (0..MAILBOXES).map(|n| {
        json!({
            "smtp_host": "127.0.0.1", "smtp_port": load.port, "smtp_username": "soak", "smtp_password": "none",
            "from_name": "Soak", "from_email": format!("lane-{n}@{domain}"),
            "daily_limit": load.people / MAILBOXES + load.people / MAILBOXES / 8 + 1,
        })
    });
    let step = |position: u64| {
        json!({
            "position": position, "subject": "{{ first_name }}, a question", "delay_minutes": position - 1,
            "body_html": "<p>Hello {{ first_name }}</p>",
        })
    };
    json!({ "campaign": {
        "name": domain, "min_wait_seconds": 0, "max_wait_seconds": 0, "bounce_rate_threshold": 90,
        "smtp_credentials": mailboxes.collect::<Vec<_>>(), "sequence_steps": [step(1), step(2)],
    }})
}
