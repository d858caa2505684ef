//! Memory and processor time of processes, as Linux reports them under /proc. On other systems
//! there are no figures.

use std::fs;

/// Clock ticks per second in /proc/PID/stat. Linux has shown 100 to user space since 2.6, whatever
/// its internal clock is (man 5 proc: sysconf(_SC_CLK_TCK)).
const TICKS_PER_SECOND: f64 = 100.0;

/// The resources that one process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub rss_kib: u64,
    /// User and system time of all threads, in seconds.
    pub cpu_seconds: f64,
}

impl Usage {
    /// The usage of a process; `None` if it has ended, or the system does not report it.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Usage { rss_kib: rss_kib(&status)?, cpu_seconds: cpu_seconds(&stat)? })
    }

    /// The usage of this process.
    pub fn of_this_process() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Usage) -> Self {
        Usage {
            rss_kib: self.rss_kib + other.rss_kib,
            cpu_seconds: self.cpu_seconds + other.cpu_seconds,
        }
    }
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time: fields 14 and 15. The second field, the name, may hold spaces and
/// brackets, so fields are counted from its last bracket.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_reads_memory_and_time_from_proc_text() {
        assert_eq!(rss_kib("VmPeak:\t1 kB\nVmRSS:\t  5120 kB\n"), Some(5120));
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
        #[cfg(target_os = "linux")]
        assert!(Usage::of_this_process().unwrap().rss_kib > 0);
    }
}
