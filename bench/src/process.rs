//! What a process has used so far, as Linux tells it (proc(5)).

use std::{fs, path::Path, time::Duration};

use crate::Error;

/// Clock ticks in /proc are hundredths of a second on every Linux that we run on (`getconf CLK_TCK`).
const TICK: Duration = Duration::from_millis(10);

/// Used so far, or between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time on a processor, in user and kernel mode, of all threads.
    pub cpu: Duration,
    /// That of the threads on which `SQLite` runs: nothing where the database is a server.
    pub sqlite: Duration,
    /// The most memory that was ever resident, in KiB.
    pub peak_kib: u64,
}

/// Used by the application, and by the database's server where it is ours.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// The application.
    pub app: Usage,
    /// The time on a processor of all processes of the server.
    pub server: Option<Duration>,
}

impl Usage {
    /// Of a running process.
    ///
    /// # Errors
    /// It has ended, or this is not Linux.
    pub fn of(pid: i32) -> Result<Self, Error> {
        let cpu = TICK * Stat::of(pid)?.own;
        Ok(Self { cpu, sqlite: TICK * sqlite_ticks(pid)?, peak_kib: of_status(pid, "VmHWM:")? })
    }

    /// The time since an earlier look; the peak stays that of now.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            sqlite: self.sqlite.saturating_sub(earlier.sqlite),
            peak_kib: self.peak_kib,
        }
    }
}

impl Used {
    /// The time since an earlier look.
    pub fn since(&self, earlier: &Self) -> Self {
        let server = self.server.zip(earlier.server).map(|(now, then)| now.saturating_sub(then));
        Self { app: self.app.since(&earlier.app), server }
    }

    /// Milliseconds for each of so many, by the application alone and with the database's: its server, or the threads of
    /// `SQLite`.
    pub fn millis_each(&self, count: f64) -> String {
        let (alone, all) = self.each(count * 1e-3);
        format!("{alone:.3} with_database={all:.3}")
    }

    /// The same in microseconds.
    pub fn micros_each(&self, count: f64) -> String {
        let (alone, all) = self.each(count * 1e-6);
        format!("{alone:.1} with_database={all:.1}")
    }

    fn each(&self, count: f64) -> (f64, f64) {
        let alone = self.app.cpu.saturating_sub(self.app.sqlite);
        let all = self.app.cpu + self.server.unwrap_or_default();
        (alone.as_secs_f64() / count, all.as_secs_f64() / count)
    }
}

/// Memory that is resident now, in KiB.
///
/// # Errors
/// As [`Usage::of`].
pub fn resident_kib(pid: i32) -> Result<u64, Error> {
    of_status(pid, "VmRSS:")
}

/// Forgets the most memory that was ever resident: what is told next is the most from now on.
///
/// # Errors
/// As [`Usage::of`], or it belongs to another user.
pub fn forget_peak(pid: i32) -> Result<(), Error> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// Files and connections that are open now.
///
/// # Errors
/// As [`Usage::of`].
pub fn open_files(pid: i32) -> Result<usize, Error> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// The time on a processor of a process and of all whom it ever started: those that are there, and those that it was told
/// the end of.
///
/// # Errors
/// As [`Usage::of`].
pub fn cpu_of_family(pid: i32) -> Result<Duration, Error> {
    let root = Stat::of(pid)?;
    let mut ticks = root.own + root.ended_children;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is in its parent's count.
        if let Ok(stat) = Stat::of(child)
            && stat.parent == pid
        {
            ticks += stat.own;
        }
    }
    Ok(TICK * ticks)
}

/// What the driver calls the threads that have a connection to `SQLite`, of which the kernel keeps fifteen bytes.
const SQLITE_THREAD: &str = "sqlx-sqlite-";

/// Used by the threads of a process that are there now and have a connection to `SQLite`. What a connection did that is
/// closed is the application's.
fn sqlite_ticks(pid: i32) -> Result<u32, Error> {
    let mut ticks = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let task = entry.path();
        let is_sqlite =
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(SQLITE_THREAD));
        // One that has ended meanwhile is not there.
        if is_sqlite && let Ok(stat) = Stat::read(&task.join("stat")) {
            ticks += stat.own;
        }
    }
    Ok(ticks)
}

/// Fields of /proc/…/stat, in ticks.
struct Stat {
    parent: i32,
    own: u32,
    ended_children: u32,
}

impl Stat {
    fn of(pid: i32) -> Result<Self, Error> {
        Self::read(Path::new(&format!("/proc/{pid}/stat")))
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let stat = fs::read_to_string(path)?;
        // The name in parentheses may hold spaces: what is counted begins behind it, with field 3.
        let (_, rest) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| {
            let text = fields.get(number - 3).copied().ok_or("stat is too short")?;
            text.parse::<u32>().map_err(Error::from)
        };
        Ok(Self {
            parent: i32::try_from(field(4)?)?,
            own: field(14)? + field(15)?,
            ended_children: field(16)? + field(17)?,
        })
    }
}

fn of_status(pid: i32, name: &str) -> Result<u64, Error> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|line| line.strip_prefix(name));
    let found = found.and_then(|rest| rest.split_whitespace().next());
    Ok(found.ok_or_else(|| format!("no {name} in status"))?.parse()?)
}
