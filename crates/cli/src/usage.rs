//! What processes cost, as Linux tells it under /proc. Elsewhere the figures are absent.

use std::fs;

/// Clock ticks per second in /proc/PID/stat. Linux has shown 100 to user space since 2.6, whatever
/// its own clock is (man 5 proc: sysconf(_SC_CLK_TCK)).
const TICKS: f64 = 100.0;

/// What one process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) rss_kib: u64,
    pub(crate) cpu_seconds: f64,
}

impl Usage {
    /// Of one process; `None` if it is gone, or the system does not tell.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Usage { rss_kib: rss_kib(&status)?, cpu_seconds: cpu_seconds(&stat)? })
    }

    /// Of this process.
    pub(crate) fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    pub(crate) fn plus(self, other: Usage) -> Self {
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
/// brackets, so it is counted from its last bracket.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        assert_eq!(rss_kib("VmPeak:\t1 kB\nVmRSS:\t  5120 kB\n"), Some(5120));
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
        #[cfg(target_os = "linux")]
        assert!(Usage::own().unwrap().rss_kib > 0);
    }
}
