//! The queue on the `jobs` table, through the door that Loco's workers use.

mod given_up;
mod long;
mod running;
mod storing;
mod turns;

use std::{future::Future, sync::Arc, time::Duration};

use ampout::{
    engine::Doorbell,
    jobs::{DbQueue, Job, TurnOver, enqueue_on},
};
use loco_rs::bgworker::QueueProvider;
use sea_orm::{ConnectionTrait, QueryResult, Statement, Value};
use serde_json::{Value as Json, json};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::World;

const WORKER: &str = "Probe";

/// What a probe worker does with a job.
#[derive(Clone, Copy, Debug)]
enum Act {
    Succeed,
    Fail,
    Panic,
    EndTurn,
}

/// A queue of its own on the world's database.
fn queue(world: &World) -> Arc<DbQueue> {
    Arc::new(DbQueue::new(world.db(), Doorbell::default(), Duration::from_millis(50)))
}

/// Registers a worker that reports the arguments it is called with, then does `act`.
async fn probe(queue: &DbQueue, act: Act) -> mpsc::UnboundedReceiver<Json> {
    gated_probe(queue, act, Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))).await
}

/// The same, but it acts only with a permit of `gate`.
async fn gated_probe(queue: &DbQueue, act: Act, gate: Arc<Semaphore>) -> mpsc::UnboundedReceiver<Json> {
    gated(queue, WORKER, act, gate).await
}

/// The same for jobs of another class.
async fn gated(
    queue: &DbQueue,
    class: &str,
    act: Act,
    gate: Arc<Semaphore>,
) -> mpsc::UnboundedReceiver<Json> {
    let (calls, called) = mpsc::unbounded_channel();
    let handler = move |_id: String, args: Json| {
        let (calls, gate) = (calls.clone(), Arc::clone(&gate));
        let work: std::pin::Pin<Box<dyn Future<Output = loco_rs::Result<()>> + Send>> =
            Box::pin(async move {
                calls.send(args).unwrap();
                gate.acquire().await.unwrap().forget();
                match act {
                    Act::Succeed => Ok(()),
                    Act::Fail => Err(loco_rs::Error::string("the probe fails")),
                    Act::Panic => panic!("the probe panics"),
                    Act::EndTurn => Err(loco_rs::Error::wrap(TurnOver)),
                }
            });
        work
    };
    queue.register_handler(class.to_owned(), Box::new(handler)).await.unwrap();
    called
}

/// Runs the queue until `until` is done and every started job has ended.
async fn run_until<T>(world: &World, queue: &DbQueue, until: impl Future<Output = T>) -> T {
    let stop = CancellationToken::new();
    let stopping = async {
        let seen = tokio::time::timeout(Duration::from_secs(20), until).await.unwrap();
        stop.cancel();
        seen
    };
    tokio::join!(stopping, queue.run_until(world.db(), stop.clone())).0
}

/// Stores a probe job; the number tells it from others.
async fn store(world: &World, number: i64) -> Uuid {
    enqueue_on(&world.ctx.db, Job::new(WORKER, json!(number))).await.unwrap().unwrap()
}

async fn row(world: &World, columns: &str, id: Uuid) -> QueryResult {
    let db = &world.ctx.db;
    let text = format!("SELECT {columns} FROM jobs WHERE id = $1");
    let statement = Statement::from_sql_and_values(db.get_database_backend(), text, [Value::from(id)]);
    db.query_one_raw(statement).await.unwrap().unwrap()
}

async fn status(world: &World, id: Uuid) -> String {
    row(world, "status", id).await.try_get("", "status").unwrap()
}

async fn last_error(world: &World, id: Uuid) -> Option<String> {
    row(world, "last_error", id).await.try_get("", "last_error").unwrap()
}
