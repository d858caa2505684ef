//! The file by which other programs of the same user find a running node.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::limits::MAX_CONTROL_FILE;
use crate::token::Token;

/// How to reach one running node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ControlFile {
    /// Its name.
    pub name: String,
    /// Its id, 64 hexadecimal characters.
    pub id: String,
    /// `peer` or `seed`.
    pub role: String,
    /// The process that runs it.
    pub pid: u32,
    /// Where its control API listens: `http://127.0.0.1:PORT`.
    pub url: String,
    /// The token that opens the API.
    pub token: Token,
}

/// Removes a control file when dropped.
#[derive(Debug)]
pub struct ControlFileGuard(PathBuf);

impl ControlFileGuard {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ControlFileGuard {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl ControlFile {
    /// The first 8 characters of the id.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }

    /// The name of the file, which is one path component whatever characters the node's name has.
    fn file_name(&self) -> String {
        let safe = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' };
        let name: String = self.name.chars().map(safe).collect();
        format!("{name}-{}.json", self.short_id())
    }

    /// The path of the file in a run directory.
    pub(crate) fn path_in(&self, dir: &Path) -> PathBuf {
        dir.join(self.file_name())
    }

    /// Writes the file beside its place and renames it, so that a reader never sees half of it.
    pub(crate) fn write(&self, path: PathBuf) -> io::Result<ControlFileGuard> {
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let write = || -> io::Result<()> {
            let _ = fs::remove_file(&temporary);
            let mut f =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            f.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
            f.write_all(b"\n")?;
            fs::rename(&temporary, &path)
        };
        match write() {
            Ok(()) => Ok(ControlFileGuard(path)),
            Err(e) => {
                let _ = fs::remove_file(&temporary);
                Err(e)
            }
        }
    }

    /// `None` if it is not a control file, or is gone.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let mut text = String::new();
        File::open(path).ok()?.take(MAX_CONTROL_FILE).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Whether the process that wrote the file runs. A process of another user counts as running.
    #[must_use]
    pub fn is_process_alive(&self) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        test_kill_process(pid) != Err(rustix::io::Errno::SRCH) && !is_zombie(pid)
    }
}

/// Whether a process has ended, but its parent has not waited for it yet: it still takes signals.
/// Only Linux reports this; on other systems such a process counts as running.
fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.ok().and_then(|s| Some(s.rsplit_once(") ")?.1.starts_with('Z'))).unwrap_or(false)
}
