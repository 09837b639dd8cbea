//! What must not grow under a long load: the memory and the open files of a process that is never killed, the connections
//! to the database, and the rows that are there for a while only.
//!
//! Memory is judged by its median, what is open by its least: of a lane at work there is more for a moment, and what is
//! never closed again is in the least as well. A pool fills up with the highest need that ever was, so connections to the
//! database are not judged by their growth but by what pools may hold.

use std::time::{Duration, Instant};

use testkit::{api::Error, wait::eventually};
use tokio::time::sleep;

use crate::{
    database::Database,
    descriptors::Open,
    process::{self, Usage},
    say,
    spread::Spread,
};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(5);
/// The beginning counts for nothing: caches and pools fill up. Of a short run, a fifth.
const WARM_UP: Duration = Duration::from_secs(180);
/// The last third may be over the first by this …
const MORE: f64 = 1.2;
/// … or by so few that are open.
const FEW: f64 = 3.0;
/// The most connections to the database that a process may have: its pool's (config/development.yaml), those of one who
/// writes apart, and that of SQLite's writer.
const POOLS: f64 = 20.0 + 4.0 + 1.0;
/// How long the engine may take to clear away what has had its time: it looks once a minute.
const SWEPT: Duration = Duration::from_secs(180);
/// How long processes and requests that were killed may be taken for alive.
const GONE: Duration = Duration::from_secs(60);

/// Rows of what is under way, by a name: how many there are at rest, and how they are counted.
const UNDER_WAY: [(&str, i64, &str); 7] = [
    // That which is killed again and again, and that which is not.
    ("processes_alive", 2, "SELECT count(*) FROM engine_processes WHERE dead_at IS NULL"),
    ("jobs_open", 0, "SELECT count(*) FROM jobs WHERE status IN ('queued', 'processing')"),
    ("requests_open", 0, "SELECT count(*) FROM idempotency_keys WHERE status IS NULL"),
    ("deliveries_held", 0, "SELECT count(*) FROM deliveries WHERE state IN ('claimed', 'sending')"),
    ("lanes_held", 0, "SELECT count(*) FROM smtp_credentials WHERE holder IS NOT NULL"),
    ("webhooks_due", 0, "SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'"),
    ("uploads", 0, "SELECT (SELECT count(*) FROM import_uploads) + (SELECT count(*) FROM import_chunks)"),
];

/// Rows that are kept for a while and then go, by a name: how they are counted, and how their time is made to be over.
const KEPT: [(&str, &str, &str); 3] = [
    (
        "jobs_ended",
        "SELECT count(*) FROM jobs WHERE status IN ('completed', 'failed', 'cancelled')",
        "UPDATE jobs SET updated_at = 1 WHERE status IN ('completed', 'failed', 'cancelled')",
    ),
    (
        "answers_kept",
        "SELECT count(*) FROM idempotency_keys WHERE status IS NOT NULL",
        "UPDATE idempotency_keys SET expires_at = 1 WHERE status IS NOT NULL",
    ),
    (
        "processes_dead",
        "SELECT count(*) FROM engine_processes WHERE dead_at IS NOT NULL",
        "UPDATE engine_processes SET dead_at = 1 WHERE dead_at IS NOT NULL",
    ),
];

const CLIENTS: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";

/// One look.
#[derive(Debug)]
struct Look {
    resident_kib: f64,
    open_files: f64,
    /// To the database.
    connections: f64,
    /// Of all processes, where the database is a server, and there: it is restarted now and then.
    clients: Option<f64>,
    rows: Option<Vec<i64>>,
}

/// What was seen, and of whom.
#[derive(Debug)]
pub struct Watch {
    pid: i32,
    looks: Vec<Look>,
}

/// Looks until then at a process and at the database.
///
/// # Errors
/// The process ended.
pub async fn watch(pid: i32, database: Database, until: Instant) -> Result<Watch, Error> {
    let warm = until.saturating_duration_since(Instant::now()) / 5;
    sleep(warm.min(WARM_UP)).await;
    let mut looks = vec![];
    while Instant::now() < until {
        sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
        looks.push(Look::now(pid, &database).await?);
    }
    Ok(Watch { pid, looks })
}

impl Look {
    async fn now(pid: i32, database: &Database) -> Result<Self, Error> {
        let ended = |error| format!("the engine that nobody killed has ended: {error}");
        let resident = process::resident_kib(pid).map_err(ended)?;
        let open = Open::of(pid, database).map_err(ended)?;
        Ok(Self {
            resident_kib: f64::from(u32::try_from(resident)?),
            open_files: open.others.into(),
            connections: open.database.into(),
            clients: clients(database).await,
            rows: database.numbers(&all_rows()).await.ok(),
        })
    }
}

/// A query for all counts at once.
fn all_rows() -> String {
    let counts = UNDER_WAY.iter().map(|(_, _, sql)| *sql).chain(KEPT.iter().map(|(_, sql, _)| *sql));
    format!("SELECT {}", counts.map(|sql| format!("({sql})")).collect::<Vec<_>>().join(", "))
}

/// `None`: there are none, or the server is away.
async fn clients(database: &Database) -> Option<f64> {
    if database.kind() == "sqlite" {
        return None;
    }
    let seen = database.number(CLIENTS).await.ok()?;
    u32::try_from(seen).ok().map(f64::from)
}

impl Watch {
    /// Says what was seen, and answers what grew or does not come to rest.
    ///
    /// # Errors
    /// The process ended, or the database does not answer.
    pub async fn judged(&self, database: &Database) -> Result<Vec<String>, Error> {
        let mut broken = vec![];
        let cpu = Usage::of(self.pid)?.cpu.as_secs_f64();
        say(&format!("engine: looks={} cpu_seconds={cpu:.0}", self.looks.len()))?;
        let memory = self.thirds(|look| Some(look.resident_kib / 1024.0));
        broken.extend(flat("engine", "rss_mib", memory, |third| third.middle, 0.0)?);
        let files = self.thirds(|look| Some(look.open_files));
        broken.extend(flat("engine", "open_files", files, |third| third.least, FEW)?);
        let connections = self.thirds(|look| Some(look.connections));
        broken.extend(bounded("engine", "connections", connections, POOLS)?);
        // Those of the one that is killed as well.
        broken.extend(bounded("database", "clients", self.thirds(|look| look.clients), POOLS * 2.0)?);
        self.tell_rows()?;
        broken.extend(at_rest(database).await?);
        broken.extend(swept(database).await?);
        Ok(broken)
    }

    /// A figure in the first third and in the last.
    fn thirds(&self, of: impl Fn(&Look) -> Option<f64>) -> Option<(Spread, Spread)> {
        let third = self.looks.len().div_ceil(3);
        let seen = |some: &[Look]| Spread::of(some.iter().filter_map(&of));
        let last = self.looks.get(self.looks.len().checked_sub(third)?..)?;
        Some((seen(self.looks.get(..third)?)?, seen(last)?))
    }

    fn tell_rows(&self) -> Result<(), Error> {
        let names = UNDER_WAY.iter().map(|(name, ..)| *name).chain(KEPT.iter().map(|(name, ..)| *name));
        for (at, name) in names.enumerate() {
            let of = |look: &Look| look.rows.as_ref()?.get(at).and_then(|count| u32::try_from(*count).ok());
            if let Some((first, last)) = self.thirds(|look| of(look).map(f64::from)) {
                let (first, last) = (first.told(0), last.told(0));
                say(&format!("rows: {name}_first_third={first} {name}_last_third={last}"))?;
            }
        }
        Ok(())
    }
}

/// Says both thirds, and what is wrong where the last is over the first.
fn flat(
    whose: &str,
    what: &str,
    thirds: Option<(Spread, Spread)>,
    counts: fn(&Spread) -> f64,
    few: f64,
) -> Result<Option<String>, Error> {
    let Some((first, last)) = told(whose, what, thirds)? else { return Ok(None) };
    let grew = counts(&last) > (counts(&first) * MORE).max(counts(&first) + few);
    Ok(grew.then(|| format!("{whose}: {what} grew from {} to {}", first.told(0), last.told(0))))
}

/// Says both thirds, and what is wrong where there were ever more.
fn bounded(
    whose: &str,
    what: &str,
    thirds: Option<(Spread, Spread)>,
    most: f64,
) -> Result<Option<String>, Error> {
    let Some((first, last)) = told(whose, what, thirds)? else { return Ok(None) };
    let seen = first.most.max(last.most);
    Ok((seen > most).then(|| format!("{whose}: {seen} {what}, more than {most}")))
}

fn told(
    whose: &str,
    what: &str,
    thirds: Option<(Spread, Spread)>,
) -> Result<Option<(Spread, Spread)>, Error> {
    if let Some((first, last)) = &thirds {
        let (first, last) = (first.told(0), last.told(0));
        say(&format!("{whose}: {what}_first_third={first} {what}_last_third={last}"))?;
    }
    Ok(thirds)
}

/// What is still under way a while after all was done.
async fn at_rest(database: &Database) -> Result<Vec<String>, Error> {
    let mut broken = vec![];
    for (name, rest, sql) in UNDER_WAY {
        let come = eventually(GONE, || async { (database.number(sql).await.ok()? == rest).then_some(()) });
        if come.await.is_err() {
            broken.push(format!("{name} at rest: {} instead of {rest}", database.number(sql).await?));
        }
    }
    if let Some(now) = clients(database).await {
        say(&format!("database: clients_at_rest={now}"))?;
        if now > POOLS * 2.0 {
            broken.push(format!("{now} clients of the database at rest"));
        }
    }
    Ok(broken)
}

/// Lets the time be over of what is kept, and waits until the engine has cleared it away.
async fn swept(database: &Database) -> Result<Vec<String>, Error> {
    for (_, _, over) in KEPT {
        database.run(over).await?;
    }
    let mut broken = vec![];
    for (name, sql, _) in KEPT {
        let gone = eventually(SWEPT, || async { (database.number(sql).await.ok()? == 0).then_some(()) });
        if gone.await.is_err() {
            broken.push(format!("{name} after their time: {}", database.number(sql).await?));
        }
    }
    if broken.is_empty() {
        say("rows: all that had its time was cleared away")?;
    }
    Ok(broken)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn judge(first: f64, last: f64, few: f64) -> bool {
        let seen = Spread::of([first]).zip(Spread::of([last]));
        flat("engine", "figure", seen, |third| third.middle, few).unwrap().is_none()
    }

    #[test]
    fn what_grows_by_more_than_a_fifth_is_found_and_what_passes_its_bound() {
        assert!(judge(100.0, 119.0, 0.0));
        assert!(!judge(100.0, 121.0, 0.0));
        assert!(judge(10.0, 13.0, 3.0));
        assert!(!judge(10.0, 14.0, 3.0));
        assert!(!judge(100.0, 121.0, 3.0));
        let seen = Spread::of([30.0, 7.0]).zip(Spread::of([9.0]));
        assert!(bounded("engine", "figure", seen, 30.0).unwrap().is_none());
        assert!(bounded("engine", "figure", seen, 29.0).unwrap().is_some());
    }

    #[test]
    fn thirds_are_those_of_what_was_seen() {
        let looks = (0..9).map(|n| Look {
            resident_kib: f64::from(n),
            open_files: 0.0,
            connections: 0.0,
            clients: (n > 0).then(|| f64::from(n)),
            rows: None,
        });
        let watch = Watch { pid: 1, looks: looks.collect() };
        let (first, last) = watch.thirds(|look| Some(look.resident_kib)).unwrap();
        assert_eq!((first.least, first.most, last.least, last.most), (0.0, 2.0, 6.0, 8.0));
        assert_eq!(watch.thirds(|look| look.clients).unwrap().0.told(1), "1.5 (1.0-2.0)");
        assert!(Watch { pid: 1, looks: vec![] }.thirds(|look| Some(look.open_files)).is_none());
    }
}
