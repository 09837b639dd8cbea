//! Who kills the application and restarts the database's server at moments that chance picks, and looks at the memory and
//! the open files of the application in between.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use rand::Rng;
use testkit::api::Error;
use tokio::time::sleep;

use crate::{app::App, process};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(5);

/// What was done, and seen.
#[derive(Debug, Default)]
pub struct Chaos {
    /// kill -9 of the application.
    pub kills: u32,
    /// Restarts of the database's server.
    pub restarts: u32,
    /// In their order.
    pub looks: Vec<Look>,
}

/// What the application held at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Resident memory.
    pub resident_kib: u64,
    /// Files and connections.
    pub open_files: u64,
}

/// Strikes every so many seconds until then: every third time the database's server, where it is ours, else the application.
///
/// # Errors
/// Something does not start again.
pub async fn reign(app: &mut App, gaps: RangeInclusive<u64>, until: Instant) -> Result<Chaos, Error> {
    let mut chaos = Chaos::default();
    loop {
        let gap = Duration::from_secs(rand::rng().random_range(gaps.clone()));
        let strike = Instant::now() + gap;
        while Instant::now() < strike.min(until) {
            sleep(LOOK.min(strike.min(until) - Instant::now())).await;
            let (resident_kib, files) = (process::resident_kib(app.pid())?, process::open_files(app.pid())?);
            chaos.looks.push(Look { resident_kib, open_files: u64::try_from(files)? });
        }
        if Instant::now() >= until {
            return Ok(chaos);
        }
        if (chaos.kills + chaos.restarts) % 3 == 2 && app.restart_database().await? {
            chaos.restarts += 1;
        } else {
            app.kill_and_start().await?;
            chaos.kills += 1;
        }
    }
}
