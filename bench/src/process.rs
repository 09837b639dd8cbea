//! What a process has used so far, as Linux tells it (proc(5)).

use std::{fs, time::Duration};

use crate::Error;

/// Clock ticks in /proc are hundredths of a second on every Linux that we run on (`getconf CLK_TCK`).
const TICK: Duration = Duration::from_millis(10);

/// Used so far, or between two looks.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time on a processor, in user and kernel mode, of all threads.
    pub cpu: Duration,
    /// The most memory that was ever resident, in KiB.
    pub peak_kib: u64,
}

impl Usage {
    /// Of a running process.
    ///
    /// # Errors
    /// It has ended, or this is not Linux.
    pub fn of(pid: i32) -> Result<Self, Error> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold spaces: what is counted begins behind it, with field 3.
        let (_, rest) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let ticks: u32 =
            rest.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<_, _>>()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|rest| rest.split_whitespace().next()).ok_or("no VmHWM in status")?;
        Ok(Self { cpu: TICK * ticks, peak_kib: peak.parse()? })
    }

    /// The time since an earlier look; the peak stays that of now.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), peak_kib: self.peak_kib }
    }
}
