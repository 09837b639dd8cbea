//! Loops that panic, fail, or do not stop.

use std::{sync::Arc, time::Duration};

use ampout::engine::{
    Doorbell, Doorbells, EngineContext, Loop, LoopResult, Process, RestartWait, Supervisor,
};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{World, world};

const DEADLINE: Duration = Duration::from_secs(20);
const AT_ONCE: RestartWait =
    RestartWait { first: Duration::ZERO, longest: Duration::ZERO, healthy_after: Duration::MAX };

async fn context(world: &World) -> EngineContext {
    let db = world.db();
    let process = Process::register(&db, "test", Duration::from_secs(30)).await.unwrap();
    EngineContext {
        db,
        shutdown: CancellationToken::new(),
        poll: Duration::from_secs(1),
        doorbells: Doorbells::default(),
        process,
    }
}

#[tokio::test]
async fn a_loop_that_panics_fails_or_ends_is_started_again() {
    world(async |world| {
        let ctx = context(&world).await;
        let (started, mut starts) = mpsc::unbounded_channel();
        let runs = Arc::new(Mutex::new(0));
        let mut supervisor = Supervisor::new(ctx.clone(), AT_ONCE);
        supervisor.start(Loop::new("broken", move |ctx| {
            let run = {
                let mut runs = runs.lock();
                *runs += 1;
                *runs
            };
            started.send(run).unwrap();
            // The third panics before there is anything to await.
            assert_ne!(run, 3, "a loop that cannot even start");
            async move {
                match run {
                    1 => panic!("a loop that panics"),
                    2 => Err("a loop that fails".into()),
                    4 => Ok(()),
                    _ => {
                        ctx.shutdown.cancelled().await;
                        LoopResult::Ok(())
                    }
                }
            }
        }));
        let seen = async {
            for run in 1..=5 {
                assert_eq!(starts.recv().await, Some(run));
            }
            ctx.shutdown.cancel();
        };
        let all = async { tokio::join!(seen, supervisor.run(DEADLINE)).1 };
        assert!(tokio::time::timeout(DEADLINE, all).await.unwrap(), "all loops ended by themselves");
    })
    .await;
}

#[tokio::test]
async fn a_loop_that_does_not_stop_is_aborted() {
    world(async |world| {
        let ctx = context(&world).await;
        let mut supervisor = Supervisor::new(ctx.clone(), AT_ONCE);
        let (started, mut starts) = mpsc::unbounded_channel();
        supervisor.start(Loop::new("deaf", move |_| {
            started.send(()).unwrap();
            std::future::pending()
        }));
        assert!(starts.recv().await.is_some());
        ctx.shutdown.cancel();
        let stopping = supervisor.run(Duration::from_millis(10));
        assert!(!tokio::time::timeout(DEADLINE, stopping).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_ring_while_nobody_waits_is_kept() {
    let bell = Doorbell::default();
    bell.ring();
    tokio::time::timeout(DEADLINE, bell.wait(Duration::MAX)).await.unwrap();
}

#[test]
fn restarts_wait_longer_each_time_until_a_loop_was_healthy() {
    let (restart, short) = (RestartWait::default(), Duration::from_secs(1));
    let mut waits = vec![restart.next(None, short)];
    for _ in 0..7 {
        waits.push(restart.next(waits.last().copied(), short));
    }
    let seconds: Vec<u64> = waits.iter().map(Duration::as_secs).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(restart.next(Some(Duration::from_secs(60)), Duration::from_secs(300)).as_secs(), 1);
}
