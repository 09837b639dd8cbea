//! Running claimed jobs: one claimer per process, as many jobs at once as there are slots, each with its heartbeat.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use loco_rs::bgworker::JobHandler;
use sea_orm::DbErr;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    Hopeless, TurnOver,
    handlers::Handlers,
    lease::{self, Claim, Fenced, LEASE},
    long,
};
use crate::{db::Db, engine::Doorbell};

/// How long an attempt may take: far longer than any turn. What hangs must not keep its slot.
const LONGEST: Duration = Duration::from_secs(6 * 3_600);

/// What the claimer works with.
pub(super) struct Claimer {
    pub(super) db: Db,
    pub(super) handlers: Handlers,
    pub(super) bell: Doorbell,
    pub(super) stop: CancellationToken,
    pub(super) poll: Duration,
    pub(super) slots: usize,
    /// How long a job that takes long keeps its place.
    pub(super) turn: Duration,
}

impl Claimer {
    /// Claims and runs jobs until told to stop, then waits for those that run. Trouble of the database is waited out
    /// here: giving up would abort the jobs that run.
    pub(super) async fn run(&self) {
        let slots = Arc::new(Semaphore::new(self.slots));
        let places = Arc::new(Semaphore::new(long::share(self.slots)));
        let mut running = JoinSet::new();
        while !self.stop.is_cancelled() {
            if let Err(error) = self.start_due(&slots, &places, &mut running).await {
                tracing::error!(%error, "due jobs not claimed");
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.bell.wait(self.poll) => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Starts jobs while there are any, never claiming one that no slot is free for, nor one that takes long without a place
    /// among those.
    async fn start_due(
        &self,
        slots: &Arc<Semaphore>,
        places: &Arc<Semaphore>,
        running: &mut JoinSet<()>,
    ) -> Result<(), DbErr> {
        lease::settle_expired(&self.db, &self.handlers).await?;
        loop {
            while running.try_join_next().is_some() {}
            let slot = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                slot = Arc::clone(slots).acquire_owned() => slot,
            };
            let Ok(slot) = slot else { return Ok(()) };
            let place = Arc::clone(places).try_acquire_owned().ok();
            let Some(claim) = lease::claim(&self.db, place.is_some()).await? else { return Ok(()) };
            let place = place.filter(|_| long::is_long(&claim.name));
            let (db, handlers, bell) = (self.db.clone(), self.handlers.clone(), self.bell.clone());
            let turn = self.turn;
            running.spawn(async move {
                long::in_turn(run_claimed(&db, &handlers, &claim), turn).await;
                drop(slot);
                if let Some(place) = place {
                    drop(place);
                    // One that was passed over may run now.
                    bell.ring();
                }
            });
        }
    }
}

/// Performs one claimed job and records how it went. Trouble of the record itself is logged: the lease runs out then,
/// and the job comes back.
async fn run_claimed(db: &Db, handlers: &Handlers, claim: &Claim) {
    let recorded = match perform(db, handlers.find(&claim.name), claim).await {
        Performed::Done => lease::complete(db, claim).await.map_err(Into::into),
        Performed::Failed(reason) => {
            tracing::warn!(job = %claim.id, name = claim.name, attempt = claim.attempts, reason, "job attempt failed");
            lease::fail_attempt(db, claim, &reason, handlers.find_given_up(&claim.name)).await
        }
        Performed::Hopeless(reason) => {
            tracing::error!(job = %claim.id, name = claim.name, attempt = claim.attempts, reason, "job given up");
            lease::give_up(db, claim, &reason, "", handlers.find_given_up(&claim.name)).await
        }
        Performed::TurnOver => lease::give_back(db, claim).await.map_err(Into::into),
        Performed::LeaseLost => Ok(Fenced::Lost),
    };
    match recorded {
        Ok(Fenced::Held) => {}
        Ok(Fenced::Lost) => {
            tracing::warn!(job = %claim.id, name = claim.name, "job lease lost, result dropped");
        }
        Err(error) => tracing::error!(job = %claim.id, name = claim.name, %error, "job result not recorded"),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Performed {
    Done,
    Failed(String),
    /// Failed, and would at every other try.
    Hopeless(String),
    /// Not done, and to go on later.
    TurnOver,
    LeaseLost,
}

/// Runs the work beside its heartbeat. When the lease is lost the work is dropped where it waits.
async fn perform(db: &Db, handler: Option<Arc<JobHandler>>, claim: &Claim) -> Performed {
    let Some(handler) = handler else {
        return Performed::Failed("no worker of this name is registered".to_owned());
    };
    let work = async { handler(claim.id.to_string(), claim.args.clone()).await };
    tokio::select! {
        ended = attempt(work, LONGEST) => ended,
        () = keep_lease(db, claim) => Performed::LeaseLost,
    }
}

/// How the work ends; `longest` is waited for it at most, and then it is dropped where it waits.
async fn attempt(work: impl Future<Output = loco_rs::Result<()>>, longest: Duration) -> Performed {
    match tokio::time::timeout(longest, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(Ok(()))) => Performed::Done,
        Ok(Ok(Err(error))) => failed(error),
        Ok(Err(_)) => Performed::Failed("the worker panicked".to_owned()),
        Err(_) => Performed::Failed("the worker did not end".to_owned()),
    }
}

fn failed(error: loco_rs::Error) -> Performed {
    // RUST_BACKTRACE=1 wraps errors.
    if let loco_rs::Error::WithBacktrace { inner, .. } = error {
        return failed(*inner);
    }
    let words = error.to_string();
    let loco_rs::Error::Any(error) = error else { return Performed::Failed(words) };
    if error.is::<TurnOver>() {
        Performed::TurnOver
    } else if error.is::<Hopeless>() {
        Performed::Hopeless(words)
    } else {
        Performed::Failed(words)
    }
}

/// Renews the lease three times per length of it; returns when it is lost, or has not been renewed in time.
async fn keep_lease(db: &Db, claim: &Claim) {
    let mut held_since = Instant::now();
    while held_since.elapsed() < LEASE {
        tokio::time::sleep(LEASE / 3).await;
        let asked = Instant::now();
        match tokio::time::timeout(LEASE / 3, lease::renew(db, claim)).await {
            Ok(Ok(Fenced::Held)) => held_since = asked,
            Ok(Ok(Fenced::Lost)) => return,
            Ok(Err(error)) => tracing::warn!(job = %claim.id, %error, "job lease not renewed"),
            Err(_) => tracing::warn!(job = %claim.id, "job lease not renewed in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_hangs_fails_and_work_that_ends_does_not() {
        let hangs = attempt(std::future::pending(), Duration::from_millis(1)).await;
        assert_eq!(hangs, Performed::Failed("the worker did not end".to_owned()));
        assert_eq!(attempt(async { Ok(()) }, LONGEST).await, Performed::Done);
    }

    #[tokio::test]
    async fn only_what_is_called_hopeless_is_given_up_at_once() {
        let hopeless = || loco_rs::Error::wrap(Hopeless("no".to_owned()));
        let wrapped = loco_rs::Error::WithBacktrace {
            inner: Box::new(hopeless()),
            backtrace: Box::new(std::backtrace::Backtrace::disabled()),
        };
        for error in [hopeless(), wrapped] {
            let ended = attempt(async { Err(error) }, LONGEST).await;
            assert_eq!(ended, Performed::Hopeless("no".to_owned()));
        }
        let passing = attempt(async { Err(loco_rs::Error::string("no")) }, LONGEST).await;
        assert_eq!(passing, Performed::Failed("no".to_owned()));
    }
}
