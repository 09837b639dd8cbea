//! What comes back, from the mailbox to the rows: a campaign sends into the sink, mails lie in an IMAP server's stub.

mod effects;
mod former;
mod late;
mod mailbox;
mod meanwhile;
mod providers;
mod real_servers;
mod tls;
mod uncertain;

use std::{path::Path, sync::Arc, time::Duration};

use ampout::state::AppState;
use serde_json::{Value as Json, json};
use testkit::{imap::Imap, sink::Sink, wait::eventually};

use crate::support::{Client, World, campaign::*, world};

/// The message that the fixtures are about, and its recipient.
const ORIGINAL: &str = "0193a2b4c5d67e8f9a0b1c2d3e4f5a6b@sender.test";
const ADA: &str = "ada@example.test";

/// A credential whose answers come to this mailbox.
pub fn with_mailbox(sink: &Sink, imap: &Imap, from: &str) -> Json {
    let mut one = credential(sink, from);
    one["imap_host"] = json!("127.0.0.1");
    one["imap_port"] = json!(imap.port());
    one["imap_username"] = json!("reader");
    one["imap_password"] = json!("mail-secret");
    one
}

/// A campaign of two steps, the second a day later.
pub fn two_steps(credentials: &[Json]) -> Json {
    let mut campaign = campaign(credentials, 2);
    campaign["campaign"]["sequence_steps"][1]["delay_minutes"] = json!(1440);
    campaign
}

/// The bytes of a mail of the corpus, about another message.
pub fn fixture(name: &str, message_id: &str, recipient: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/inbox/{name}.eml"));
    let text = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    let id = message_id.trim_matches(['<', '>']);
    text.replace(ORIGINAL, id).replace(ADA, recipient).into_bytes()
}

/// The Message-ID of what the sink got for a recipient.
pub fn message_id(sink: &Sink, recipient: &str) -> String {
    sink.messages_to(recipient).last().unwrap().header("Message-ID").unwrap()
}

/// The same of what came from this sender.
pub fn message_id_from(sink: &Sink, recipient: &str, sender: &str) -> String {
    let all = sink.messages_to(recipient);
    all.iter().find(|message| message.from == sender).unwrap().header("Message-ID").unwrap()
}

/// Reads mailboxes often, and takes them for unread after `fresh`.
pub fn hurry(w: &World, fresh: Duration) {
    hurry_impatiently(w, fresh, Duration::from_secs(45));
}

/// The same with servers that get so long to answer.
fn hurry_impatiently(w: &World, fresh: Duration, patience: Duration) {
    let state = w.state();
    let mut settings = (*state.settings).clone();
    settings.inbox.poll = Duration::from_millis(100);
    settings.inbox.fresh = fresh;
    settings.inbox.patience = patience;
    w.ctx.shared_store.insert(AppState { settings: Arc::new(settings), ..state });
}

/// Waits until a row's number is this.
pub async fn until(w: &World, sql: &str, expected: i64) {
    let seen = eventually(DEADLINE, || async { (w.number(sql, []).await == expected).then_some(()) }).await;
    if let Err(error) = seen {
        panic!("{error}: {sql} is {}, not {expected}", w.number(sql, []).await);
    }
}

/// The enrollments of a campaign.
pub async fn enrollments(client: &Client, campaign: &str) -> Vec<Json> {
    let rows = client.seen(&format!("/campaigns/{campaign}/enrollments")).await;
    rows.as_array().unwrap().clone()
}

/// A world in which both accounts sent the first step of the same campaign to the same people, each with a mailbox.
pub struct Sent {
    pub w: World,
    pub engine: Engine,
    pub sink: Sink,
    /// Alice's mailbox and Bob's.
    pub imaps: [Imap; 2],
    /// Alice's campaign and Bob's.
    pub campaigns: [String; 2],
}

impl Sent {
    /// What alice sent to this person.
    pub fn id_for(&self, recipient: &str) -> String {
        message_id_from(&self.sink, recipient, "alice@sender.test")
    }

    /// Waits until both mailboxes were read after everything in them came.
    pub async fn until_read(&self) {
        let since = ampout::clock::Timestamp::now().micros();
        let sql = "SELECT count(*) FROM mailboxes WHERE last_read_at >= $1";
        eventually(DEADLINE, || async { (self.w.number(sql, [since.into()]).await == 2).then_some(()) })
            .await
            .unwrap();
    }
}

pub async fn sent<F, Fut>(people: &'static [&'static str], test: F)
where
    F: FnOnce(Sent) -> Fut,
    Fut: Future<Output = ()>,
{
    sent_impatiently(people, Duration::from_secs(45), test).await;
}

/// The same where servers get so long to answer.
pub async fn sent_impatiently<F, Fut>(people: &'static [&'static str], patience: Duration, test: F)
where
    F: FnOnce(Sent) -> Fut,
    Fut: Future<Output = ()>,
{
    world(|w| async move {
        hurry_impatiently(&w, Duration::from_secs(900), patience);
        let sink = Sink::start().await.unwrap();
        let imaps = [Imap::start().await.unwrap(), Imap::start().await.unwrap()];
        let emails: Vec<String> = people.iter().map(|one| (*one).to_owned()).collect();
        let mine = two_steps(&[with_mailbox(&sink, &imaps[0], "alice@sender.test")]);
        let theirs = two_steps(&[with_mailbox(&sink, &imaps[1], "bob@sender.test")]);
        let campaigns =
            [dispatched(&w.alice, &mine, &emails).await, dispatched(&w.bob, &theirs, &emails).await];
        let engine = Engine::start(&w.ctx);
        let waiting = "SELECT count(*) FROM enrollments WHERE progress IN ('waiting', 'uncertain')";
        until(&w, waiting, i64::try_from(2 * people.len()).unwrap()).await;
        test(Sent { w, engine, sink, imaps, campaigns }).await;
    })
    .await;
}
