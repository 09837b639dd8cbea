//! Lanes that a test holds or works itself, without an engine.

use std::time::Duration;

use ampout::{
    clock::Timestamp,
    engine::{Doorbell, Process},
    sending::{
        lane::{self, LaneContext},
        lanes::{self, Rest, Room},
        ledger::{Claimed, Ledger, Want},
        smtp::Timeouts,
    },
};
use testkit::sink::Sink;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Client, World, campaign::*, world};

/// How long ago a mailbox may have been read.
pub const FRESH: Duration = Duration::from_secs(900);

/// A lane of an account, held by a process.
#[derive(Clone, Copy)]
pub struct HeldLane {
    pub account: Uuid,
    pub campaign: Uuid,
    pub lane: Uuid,
    pub process: Uuid,
}

impl HeldLane {
    /// What its holder asks for.
    pub const fn want(&self, most: usize) -> Want {
        Want {
            credential_id: self.lane,
            campaign_id: self.campaign,
            account_id: self.account,
            process_id: self.process,
            most,
        }
    }
}

/// A campaign that has these contacts in one batch, dispatched; its lane is held.
async fn held(w: &World, client: &Client, people: &[String]) -> HeldLane {
    let sink = Sink::start().await.unwrap();
    let body = campaign(&[credential(&sink, "one@sender.test")], 2);
    let campaign: Uuid = dispatched(client, &body, people).await.parse().unwrap();
    let lanes = w.ids("SELECT id FROM smtp_credentials WHERE campaign_id = $1", [campaign.into()]).await;
    let process = Uuid::now_v7();
    let hold = "UPDATE smtp_credentials SET holder = $1 WHERE id = $2";
    w.sql(hold, [process.into(), lanes[0].into()]).await;
    HeldLane { account: client.account_id.parse().unwrap(), campaign, lane: lanes[0], process }
}

/// The same world for each test: alice's contacts are `ok+0` and so on, bob's as well and one lane of his own.
pub async fn with_people<Fut: Future<Output = ()>>(count: usize, test: impl FnOnce(World, HeldLane) -> Fut) {
    world(|w| async move {
        let mine = held(&w, &w.alice, &addresses("ok", count)).await;
        let theirs = held(&w, &w.bob, &addresses("ok", count)).await;
        test(w.clone(), mine).await;
        let sql = "SELECT count(*) FROM enrollments WHERE campaign_id = $1 AND progress = 'queued'";
        let left = w.number(sql, [theirs.campaign.into()]).await;
        assert_eq!(left, i64::try_from(count).unwrap(), "another account's are left alone");
    })
    .await;
}

/// Runs `test` with a ledger whose writer works.
pub async fn with_ledger<T>(w: &World, test: impl AsyncFnOnce(Ledger) -> T) -> T {
    with_bell(w, &Doorbell::default(), test).await
}

/// The same with a bell for what webhooks are to be told.
pub async fn with_bell<T>(w: &World, bell: &Doorbell, test: impl AsyncFnOnce(Ledger) -> T) -> T {
    let (ledger, writer) = Ledger::new(&w.db(), bell.clone(), FRESH, DEADLINE);
    let writing = tokio::spawn(writer.run());
    let answer = test(ledger).await;
    writing.await.unwrap();
    answer
}

/// Asks for both before the writer begins, which takes them into one commit then.
pub async fn in_one_commit<A, B>(
    w: &World,
    first: impl AsyncFnOnce(Ledger) -> A,
    second: impl AsyncFnOnce(Ledger) -> B,
) -> (A, B) {
    let (ledger, writer) = Ledger::new(&w.db(), Doorbell::default(), FRESH, DEADLINE);
    let (first, second, ()) = tokio::join!(biased; first(ledger.clone()), second(ledger), writer.run());
    (first, second)
}

pub async fn claim(w: &World, held: &HeldLane, most: usize) -> Vec<Claimed> {
    with_ledger(w, async |ledger| ledger.claim(held.want(most)).await.unwrap()).await
}

/// Works the one lane that is awake until it rests; whether the server accepted something.
pub async fn worked(w: &World, timeouts: Timeouts) -> (Rest, bool) {
    let db = w.db();
    let process = Process::register(&db, "worker", Duration::from_secs(60)).await.unwrap();
    let lane = lanes::acquire(&db, process.id, &Room::of(1), &[], Timestamp::now()).await.unwrap()[0];
    let (ledger, writer) = Ledger::new(&db, Doorbell::default(), FRESH, DEADLINE);
    let writing = tokio::spawn(writer.run());
    let ctx = LaneContext {
        state: w.state(),
        ledger,
        process_id: process.id,
        liveness: process.liveness.clone(),
        stop: CancellationToken::new(),
        timeouts,
        turn: DEADLINE,
        connections: 1,
    };
    let rested = tokio::time::timeout(DEADLINE, lane::run(ctx, lane)).await;
    writing.await.unwrap();
    rested.expect("the lane does not come to rest").unwrap()
}
