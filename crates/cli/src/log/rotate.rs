//! A log file that does not grow without end.
//!
//! When `NAME` is full it becomes `NAME.1`, the old `NAME.1` becomes `NAME.2`, and so on; the
//! oldest file is removed. Lines are buffered, and whole lines are written in one piece.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes that are buffered before they are written.
const BUFFER_BYTES: usize = 8 * 1024;
/// How long a file that could not be written is not tried again.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// How large a log may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of one file.
    pub(crate) bytes: u64,
    /// Files of one log, the current one included.
    pub(crate) files: u32,
}

impl Limits {
    /// For a node in a process of its own.
    pub(crate) const NODE: Limits = Limits { bytes: 10 * 1024 * 1024, files: 5 };
    /// For each of the many nodes of `rumor up`.
    pub(crate) const MANY: Limits = Limits { bytes: 2 * 1024 * 1024, files: 2 };
}

/// The result of a write.
#[derive(Debug)]
pub(crate) enum WriteOutcome {
    /// The lines are written or buffered, or an earlier failure was reported already.
    Fine,
    /// The first failure since the last success.
    Broken(io::Error),
}

/// A log file with a limited size.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    limits: Limits,
    file: Option<File>,
    size: u64,
    buffer: Vec<u8>,
    lines: u64,
    lost: u64,
    failed: Option<Instant>,
}

impl RotatingFile {
    /// A log whose file is opened with the first line.
    pub(crate) const fn new(path: PathBuf, limits: Limits) -> Self {
        RotatingFile {
            path,
            limits,
            file: None,
            size: 0,
            buffer: Vec::new(),
            lines: 0,
            lost: 0,
            failed: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line; the line break is added here.
    pub(crate) fn line(&mut self, line: &str) -> WriteOutcome {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
        self.lines += 1;
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { WriteOutcome::Fine }
    }

    /// Writes the buffered lines. Lines that cannot be written are lost and counted; the count is
    /// the first line after writing works again.
    pub(crate) fn flush(&mut self) -> WriteOutcome {
        if self.buffer.is_empty() {
            return WriteOutcome::Fine;
        }
        if self.failed.is_some_and(|at| at.elapsed() < RETRY_DELAY) {
            self.drop_buffer();
            return WriteOutcome::Fine;
        }
        match self.write() {
            Ok(()) => {
                self.failed = None;
                WriteOutcome::Fine
            }
            Err(e) => {
                self.drop_buffer();
                self.file = None;
                let first = self.failed.is_none();
                self.failed = Some(Instant::now());
                if first { WriteOutcome::Broken(e) } else { WriteOutcome::Fine }
            }
        }
    }

    /// Writes the buffered lines and waits until the disk has them. Says whether it has; the other
    /// value is that of [`flush`](RotatingFile::flush).
    pub(crate) fn sync(&mut self) -> (WriteOutcome, bool) {
        let written = self.flush();
        let works = self.failed.is_none();
        let synced = works && self.file.as_ref().is_none_or(|f| f.sync_data().is_ok());
        (written, synced)
    }

    fn drop_buffer(&mut self) {
        self.lost += std::mem::take(&mut self.lines);
        self.buffer.clear();
    }

    fn write(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        if self.size > 0 && self.size + self.buffer.len() as u64 > self.limits.bytes {
            // The lock of the full file is held until the next file is locked, so that no other
            // process renames the files meanwhile.
            let held = self.file.take();
            if let Some(full) = &held {
                // A later `sync` covers only the next file.
                full.sync_data()?;
            }
            self.rotate()?;
            self.open()?;
            drop(held);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.lost > 0 {
            let note = format!("({} lines before this one could not be written)\n", self.lost);
            file.write_all(note.as_bytes())?;
            self.lost = 0;
        }
        let (written, outcome) = write_counted(file, &self.buffer);
        // A full disk may have taken a part of the buffer: its whole lines are written.
        let whole = self.buffer.iter().take(written).filter(|b| **b == b'\n').count();
        self.lines = self.lines.saturating_sub(whole as u64);
        outcome?;
        self.size += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        // Two processes that rename the same files lose lines of both. On a file system without
        // locks there is no such protection.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(io::Error::other(
                "another process writes it, probably a node with the same --name",
            ));
        }
        self.size = file.metadata()?.len();
        // The last line may lack its line break if the disk was full.
        if self.size > 0 && !ends_with_line_break(&self.path)? {
            (&file).write_all(b"\n")?;
            self.size += 1;
        }
        self.file = Some(file);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |n: u32| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        let missing_is_fine = |r: io::Result<()>| match r {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            r => r,
        };
        let last = self.limits.files.saturating_sub(1);
        if last == 0 {
            missing_is_fine(fs::remove_file(&self.path))?;
        }
        for n in (1..last).rev() {
            missing_is_fine(fs::rename(numbered(n), numbered(n + 1)))?;
        }
        if last > 0 {
            missing_is_fine(fs::rename(&self.path, numbered(1)))?;
        }
        self.size = 0;
        Ok(())
    }
}

/// Writes bytes, and gives the number of bytes written.
fn write_counted(file: &mut impl io::Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (written, Err(e)),
        }
    }
    (written, Ok(()))
}

fn ends_with_line_break(path: &Path) -> io::Result<bool> {
    let (mut file, mut last) = (File::open(path)?, [0]);
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

impl Drop for RotatingFile {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn log_rotates_and_keeps_the_given_number_of_files_with_whole_lines() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("logs/a.log");
        let mut log = RotatingFile::new(path.clone(), Limits { bytes: 100, files: 3 });
        for n in 0..40 {
            assert!(matches!(log.line(&format!("line number {n:04}")), WriteOutcome::Fine));
            assert!(matches!(log.flush(), WriteOutcome::Fine));
        }
        assert_eq!(names(path.parent().unwrap()), ["a.log", "a.log.1", "a.log.2"]);
        for name in names(path.parent().unwrap()) {
            let text = fs::read_to_string(path.with_file_name(name)).unwrap();
            assert!(text.len() <= 100);
            assert!(text.lines().all(|l| l.len() == 16), "{text}");
        }
        assert!(fs::read_to_string(&path).unwrap().ends_with("line number 0039\n"));
    }

    /// A disk with room for this number of bytes.
    struct Disk(usize);

    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let n = bytes.len().min(self.0).min(5);
            self.0 -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn write_to_a_full_disk_reports_the_bytes_written() {
        let (written, outcome) = write_counted(&mut Disk(12), b"one\ntwo\nthree\nfour\n");
        assert_eq!((written, outcome.unwrap_err().kind()), (12, io::ErrorKind::StorageFull));
        let (written, outcome) = write_counted(&mut Disk(99), b"one\ntwo\n");
        assert!(written == 8 && outcome.is_ok());
    }

    #[test]
    fn log_continues_the_file_of_an_earlier_run() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a.log");
        for text in ["one", "two"] {
            RotatingFile::new(path.clone(), Limits::NODE).line(text);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn line_after_a_truncated_line_begins_on_its_own_row() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("a.log");
        fs::write(&path, "one\ntw").unwrap();
        RotatingFile::new(path.clone(), Limits::NODE).line("three");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
    }

    #[test]
    fn second_log_of_the_same_name_writes_only_after_the_first_has_ended() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("same.log");
        let mut first = RotatingFile::new(path.clone(), Limits { bytes: 40, files: 2 });
        let mut second = RotatingFile::new(path, Limits { bytes: 40, files: 2 });
        for n in 0..4 {
            first.line(&format!("line {n} of the first"));
            assert!(matches!(first.flush(), WriteOutcome::Fine));
            second.line("line of the second");
            assert!(matches!(second.flush(), WriteOutcome::Broken(_)) == (n == 0));
        }
        drop(first);
        second.failed = None; // The delay before the next attempt is over.
        second.line("the last");
        assert!(matches!(second.flush(), WriteOutcome::Fine));
        let all = ["same.log.1", "same.log"].map(|n| fs::read_to_string(tmp.path().join(n)));
        let all = all.map(Result::unwrap).concat();
        assert!(all.contains("line 3 of the first\n(4 lines before"), "{all}");
        assert!(all.ends_with("the last\n"), "{all}");
    }

    #[test]
    fn unwritable_log_is_reported_once_and_lost_lines_are_counted() {
        let tmp = tempfile::tempdir().unwrap();
        let blocker = tmp.path().join("logs");
        fs::write(&blocker, "not a directory").unwrap();
        let mut log = RotatingFile::new(blocker.join("a.log"), Limits::NODE);
        log.line("one");
        assert!(matches!(log.flush(), WriteOutcome::Broken(_)));
        log.line("two");
        assert!(matches!(log.flush(), WriteOutcome::Fine));
        fs::remove_file(&blocker).unwrap();
        log.failed = None; // The delay before the next attempt is over.
        log.line("three");
        assert!(matches!(log.flush(), WriteOutcome::Fine));
        let text = fs::read_to_string(blocker.join("a.log")).unwrap();
        assert_eq!(text, "(2 lines before this one could not be written)\nthree\n");
    }
}
