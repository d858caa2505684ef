//! The directory in which running nodes can be found.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::control_file::{ControlFile, ControlFileGuard};

/// The environment variable that names the run directory.
pub const RUN_DIR_VARIABLE: &str = "RUMOR_RUN_DIR";

/// A directory of control files that only this user can write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

/// Why a directory cannot be used as run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// The directory cannot be made or read.
    #[error("cannot use {path} as run directory: {source}; choose another one with --run-dir or {RUN_DIR_VARIABLE}", path = .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another user could put a control file there, and make this user's commands talk to that
    /// node.
    #[error("{path} is not a directory that only this user can write to; remove it, or choose another one with --run-dir or {RUN_DIR_VARIABLE}", path = .path.display())]
    Unsafe {
        /// The directory.
        path: PathBuf,
    },
    /// A control file cannot be written.
    #[error("cannot write the control file {path}: {source}; choose another directory with --run-dir or {RUN_DIR_VARIABLE}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl RunDir {
    /// Where control files are: `given` (a flag), else the environment's `RUMOR_RUN_DIR`, else
    /// `$XDG_RUNTIME_DIR/rumor`, else `rumor-<user id>` in the directory for temporary files.
    #[must_use]
    pub fn locate(given: Option<&Path>) -> Self {
        let set = |name| std::env::var_os(name).filter(|v: &OsString| !v.is_empty());
        if let Some(path) = given.filter(|p| !p.as_os_str().is_empty()) {
            return RunDir(path.to_owned());
        }
        if let Some(path) = set(RUN_DIR_VARIABLE) {
            return RunDir(path.into());
        }
        if let Some(path) = set("XDG_RUNTIME_DIR") {
            return RunDir(PathBuf::from(path).join("rumor"));
        }
        let user = rustix::process::geteuid().as_raw();
        RunDir(std::env::temp_dir().join(format!("rumor-{user}")))
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory with mode 0700, if it is absent, and checks that no other user can write
    /// to it.
    ///
    /// # Errors
    /// The directory cannot be made, or is not safe to use.
    pub fn prepare(&self) -> Result<(), RunDirError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|source| RunDirError::Io { path: self.0.clone(), source })?;
        self.check()
    }

    /// Checks the owner and the mode, because another user may have made a directory in `/tmp`
    /// first.
    fn check(&self) -> Result<(), RunDirError> {
        let meta = fs::symlink_metadata(&self.0)
            .map_err(|source| RunDirError::Io { path: self.0.clone(), source })?;
        let own = meta.uid() == rustix::process::geteuid().as_raw();
        if meta.is_dir() && own && meta.mode() & 0o022 == 0 {
            Ok(())
        } else {
            Err(RunDirError::Unsafe { path: self.0.clone() })
        }
    }

    /// Writes a control file; it is removed when the guard is dropped.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub fn announce(&self, file: &ControlFile) -> Result<ControlFileGuard, RunDirError> {
        self.prepare()?;
        let path = file.path_in(&self.0);
        file.write(path.clone()).map_err(|source| RunDirError::Write { path, source })
    }

    /// The control files of nodes whose process lives, by name. Files of processes that are gone
    /// are removed; what is not a control file is left alone.
    ///
    /// # Errors
    /// The directory is there and cannot be read, or is not safe to use.
    pub fn nodes(&self) -> Result<Vec<ControlFile>, RunDirError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(RunDirError::Io { path: self.0.clone(), source }),
        };
        self.check()?;
        let mut nodes = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue;
            }
            let Some(file) = ControlFile::read(&path) else { continue };
            if file.is_process_alive() {
                nodes.push(file);
            } else {
                // Another command may have removed it already.
                let _ = fs::remove_file(&path);
            }
        }
        nodes.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(nodes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::token::Token;

    fn file(name: &str, pid: u32) -> ControlFile {
        ControlFile {
            name: name.to_owned(),
            id: "ab".repeat(32),
            role: "peer".to_owned(),
            pid,
            url: "http://127.0.0.1:1".to_owned(),
            token: Token::random().unwrap(),
        }
    }

    #[test]
    fn node_is_found_until_its_guard_is_dropped() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = RunDir(tmp.path().join("run"));
        assert!(dir.nodes().unwrap().is_empty());
        let guard = dir.announce(&file("a/../b", std::process::id())).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(dir.path()), 0o700);
        assert_eq!(mode(guard.path()), 0o600);
        assert_eq!(guard.path().parent(), Some(dir.path()));
        let found = dir.nodes().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "a/../b");
        drop(guard);
        assert!(dir.nodes().unwrap().is_empty());
    }

    #[test]
    fn control_files_of_dead_processes_are_removed_and_other_files_stay() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = RunDir(tmp.path().join("run"));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        std::mem::forget(dir.announce(&file("gone", child.id())).unwrap());
        fs::write(dir.path().join("note.json"), "{}").unwrap();
        fs::write(dir.path().join("note.txt"), "x").unwrap();
        assert!(dir.nodes().unwrap().is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn run_directory_writable_by_others_is_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = RunDir(tmp.path().join("run"));
        dir.prepare().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(dir.nodes(), Err(RunDirError::Unsafe { .. })));
        assert!(matches!(
            dir.announce(&file("a", std::process::id())),
            Err(RunDirError::Unsafe { .. })
        ));
    }
}
