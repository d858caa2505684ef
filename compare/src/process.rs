//! Processes: what they use, and that none outlives this program.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, getppid, kill_process};
use rustix::time::{ClockId, clock_gettime};
use tokio::process::{Child, Command};

/// Clock ticks per second in /proc/PID/stat: Linux shows 100 to user space, whatever its own clock
/// is (`man 5 proc`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of all threads of this process, in seconds.
pub(crate) fn own_cpu_seconds() -> f64 {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss)] // Seconds of a run, and nanoseconds below 1e9.
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    seconds
}

/// Resident memory of a process, in bytes; `None` if it has ended, or the system does not report it.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    resident_of(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Processor time of another process, in seconds: that of its threads in nanoseconds where the
/// kernel reports it, otherwise in hundredths of a second.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    threads_cpu_seconds(pid)
        .or_else(|| stat_cpu_seconds(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
}

fn threads_cpu_seconds(pid: u32) -> Option<f64> {
    let mut seconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread that ends between the two calls has no file any more.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
        seconds += nanoseconds / 1e9;
    }
    (seconds > 0.0).then_some(seconds)
}

/// User and system time: fields 14 and 15. The second field, the name, may hold spaces and
/// brackets, so fields are counted from its last bracket.
fn stat_cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// The path of a program that `PATH` leads to. Directories for administrators count as well,
/// because Debian installs servers there.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let all = std::env::split_paths(&path).chain(more);
    all.map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// A command that runs this program with other arguments. The child is killed when its handle is
/// dropped, and, on Linux, when this process ends in any way.
pub(crate) fn this_program() -> Result<Command> {
    let program = std::env::current_exe().context("cannot find the file of this program")?;
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null());
    Ok(command)
}

/// A command that runs another program in the same way.
pub(crate) fn other_program(program: impl AsRef<OsStr>) -> Result<Command> {
    let mut command = this_program()?;
    command.arg("tie").arg("--parent").arg(std::process::id().to_string()).arg("--").arg(program);
    Ok(command)
}

/// Lets the kernel kill this process when its parent ends.
///
/// # Errors
/// The parent has ended already.
pub(crate) fn end_with_parent(parent: u32) -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot tie this process to its parent")?;
    let now = getppid().map(|pid| pid.as_raw_nonzero().get());
    if now != i32::try_from(parent).ok() {
        bail!("the process that started this one has ended");
    }
    Ok(())
}

/// Replaces this process with another program that ends with the parent.
///
/// # Errors
/// Whenever it returns: the parent has ended, or the program cannot be run.
pub(crate) fn tie(parent: u32, command: &[std::ffi::OsString]) -> Result<()> {
    end_with_parent(parent)?;
    let [program, arguments @ ..] = command else { bail!("no program to run was named") };
    let e = std::process::Command::new(program).args(arguments).exec();
    Err(anyhow!(e).context(format!("cannot run {}", program.display())))
}

/// Sends a signal to a child.
///
/// # Errors
/// The child has ended, or the system refuses.
pub(crate) fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| anyhow!("a node ended before it was to be killed or paused"))?;
    kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to a node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_processor_time_are_read_from_proc_text() {
        assert_eq!(resident_of("VmPeak:\t1 kB\nVmRSS:\t  5120 kB\n"), Some(5120 * 1024));
        assert_eq!(resident_of("VmPeak:\t1 kB\n"), None);
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(stat_cpu_seconds(stat), Some(2.0));
        assert_eq!(stat_cpu_seconds("nonsense"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory_and_processor_time() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 0);
        assert!(cpu_seconds(pid).unwrap() > 0.0 && own_cpu_seconds() > 0.0);
    }

    #[test]
    fn program_that_does_not_exist_is_not_found() {
        assert_eq!(find_program("no-such-program-anywhere"), None);
        assert!(find_program("sh").is_some());
    }
}
