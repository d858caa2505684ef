//! The durable state: what survives a restart or a kill, and how failures are reported.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::{Builder, ReadableTable as _, StorageBackend};
use rumormill_proto::registry::Entry;
use rumormill_proto::wire::Verifier;
use rumormill_proto::{
    Batch, DeliveredMark, Identity, MessageId, Name, Output, Presence, Record, SignedRecord,
    StoreOp, StoreTicket, StreamId, WallTime,
};

use super::batches::Publisher;
use super::harness::{RecordedInput, identity, start_with, tuning, wait_until};
use crate::counters::TransportCounters;
use crate::error::StartError;
use crate::store::{Database, last_op_per_key};
use crate::tuning::Tuning;

fn record(n: u8) -> SignedRecord {
    let me = identity(n);
    let record = Record {
        id: me.id(),
        name: Name::new(format!("peer-{n}")).unwrap(),
        addresses: vec![],
        incarnation: 1,
        sequence: 0,
        presence: Presence::Alive,
        degree: 0,
        target: 3,
        process: 1,
        other_process: None,
        participates: false,
    };
    SignedRecord::sign(record, &me)
}

fn id_of(publisher: &Identity, sequence: u64) -> MessageId {
    MessageId { publisher: publisher.id(), epoch: 1, sequence }
}

#[test]
fn state_of_a_peer_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (verifier, counters, me) = (Verifier::new(), TransportCounters::default(), identity(1));
    {
        let mut db = Database::open(dir.path(), "peer.redb").unwrap();
        assert_eq!(db.peer_state(&verifier, &counters).unwrap().incarnation, 0);
        assert_eq!(db.begin_incarnation(0, WallTime(0)).unwrap(), 1);
        // In an order that differs from the order of their ids.
        let mut publisher = Publisher::new(&me);
        let batches: Vec<Batch> = (0..4).map(|_| publisher.batch("topic", &[b"payload"])).collect();
        let ops = [3, 1, 2, 0].map(|n: usize| StoreOp::PutBatch(batches[n].clone()));
        db.commit(&ops).unwrap();
        db.commit(&[
            StoreOp::RemoveBatch(id_of(&me, 1)),
            StoreOp::RemoveBatch(id_of(&me, 77)),
            StoreOp::PutBatch(batches[3].clone()),
            StoreOp::PutAnchors(vec![record(2), record(3)]),
        ])
        .unwrap();
    }
    let mut db = Database::open(dir.path(), "peer.redb").unwrap();
    let kept = db.peer_state(&verifier, &counters).unwrap();
    let order: Vec<u64> = kept.batches.iter().map(Batch::first).collect();
    assert_eq!(order, [3, 2, 0], "in order of arrival");
    assert_eq!(kept.anchors.len(), 2);
    assert_eq!(db.begin_incarnation(kept.incarnation, WallTime(0)).unwrap(), 2);
    assert_eq!(counters.store_corrupt.get(), 0);
}

#[test]
fn last_mark_of_each_stream_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (verifier, counters, publisher) =
        (Verifier::new(), TransportCounters::default(), identity(1).id());
    let mark = |epoch, to| DeliveredMark { publisher, epoch, to };
    let ops =
        [mark(1, 5), mark(2, 3), mark(1, 9), mark(3, u64::MAX - 1)].map(StoreOp::PutDelivered);
    let forget = StoreOp::RemoveDelivered(StreamId { publisher, epoch: 2 });
    {
        let mut db = Database::open(dir.path(), "peer.redb").unwrap();
        assert_eq!(
            db.peer_state(&verifier, &counters).unwrap().delivered,
            [],
            "a file without marks"
        );
        db.commit(last_op_per_key(ops.iter().chain([&forget]))).unwrap();
    }
    let db = Database::open(dir.path(), "peer.redb").unwrap();
    let found = db.peer_state(&verifier, &counters).unwrap().delivered;
    assert_eq!(found, [mark(1, 9), mark(3, u64::MAX - 1)]);
    // Many marks in one commit are one write for each stream.
    assert_eq!(last_op_per_key(ops.iter()).len(), 3);
}

#[test]
fn file_of_another_format_is_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    drop(Database::open(dir.path(), "peer.redb").unwrap());
    for (format, version) in [(1, "older version"), (3, "older version"), (250, "newer version")] {
        let raw = redb::Database::open(dir.path().join("peer.redb")).unwrap();
        let t = raw.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
        t.open_table(meta).unwrap().insert("format", [format].as_slice()).unwrap();
        t.commit().unwrap();
        drop(raw);
        let e = open_error(dir.path()).to_string();
        assert!(e.contains(version) && e.contains("move it away"), "{e}");
    }
}

#[test]
fn registry_of_a_seed_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (verifier, counters) = (Verifier::new(), TransportCounters::default());
    {
        let mut db = Database::open(dir.path(), "seed.redb").unwrap();
        assert!(db.registry(&verifier, &counters).unwrap().nonce.is_none());
        let mut ops: Vec<StoreOp> =
            (1..=20).map(|n| StoreOp::PutEntry(Entry::new(record(n)))).collect();
        ops.push(StoreOp::PutNonce([9; 16]));
        ops.push(StoreOp::RemoveEntry(identity(7).id()));
        db.commit(&ops).unwrap();
    }
    let db = Database::open(dir.path(), "seed.redb").unwrap();
    let found = db.registry(&verifier, &counters).unwrap();
    assert_eq!(found.entries.len(), 19);
    assert_eq!(found.nonce, Some([9; 16]));
}

#[test]
fn damaged_entries_are_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (verifier, counters) = (Verifier::new(), TransportCounters::default());
    {
        let mut db = Database::open(dir.path(), "seed.redb").unwrap();
        db.commit(&[1, 2, 3].map(|n| StoreOp::PutEntry(Entry::new(record(n))))).unwrap();
    }
    {
        let raw = redb::Database::open(dir.path().join("seed.redb")).unwrap();
        let table = redb::TableDefinition::<&[u8; 32], &[u8]>::new("entries");
        let t = raw.begin_write().unwrap();
        {
            let mut table = t.open_table(table).unwrap();
            table.insert(identity(1).id().as_bytes(), b"nonsense".as_slice()).unwrap();
            // Well formed, but not the bytes that its owner signed.
            let key = identity(2).id();
            let mut bytes = table.get(key.as_bytes()).unwrap().unwrap().value().to_vec();
            let at = bytes.windows(6).position(|w| w == b"peer-2").unwrap();
            bytes[at] = b'P';
            table.insert(key.as_bytes(), bytes.as_slice()).unwrap();
        }
        t.commit().unwrap();
    }
    let db = Database::open(dir.path(), "seed.redb").unwrap();
    let found = db.registry(&verifier, &counters).unwrap();
    assert_eq!(found.entries.len(), 1);
    assert_eq!(found.entries[0].id(), identity(3).id());
    assert_eq!(counters.store_corrupt.get(), 2);
}

fn open_error(directory: &Path) -> StartError {
    Database::open(directory, "peer.redb").expect_err("the database opened")
}

#[test]
fn error_for_locked_unusable_or_damaged_directory_names_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let first = Database::open(dir.path(), "peer.redb").unwrap();
    let e = open_error(dir.path());
    assert!(matches!(e, StartError::Locked { .. }), "{e:?}");
    assert!(e.to_string().contains("another process"), "{e}");
    drop(first);

    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let e = open_error(&file.join("data"));
    assert!(matches!(&e, StartError::DataDir { path, .. } if path.starts_with(&file)), "{e:?}");

    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("peer.redb"), "not a database at all".repeat(1000)).unwrap();
    let e = open_error(other.path());
    assert!(matches!(e, StartError::Store { .. }), "{e:?}");
}

#[test]
fn start_on_full_disk_reports_that_the_disk_is_full() {
    let disk = Disk::default();
    disk.full.store(true, Ordering::SeqCst);
    let opener = move || Builder::new().create_with_backend(disk.clone());
    let e = Database::with_opener("memory".into(), Box::new(opener)).unwrap_err().to_string();
    assert!(e.contains("the disk is full") && !e.contains("writable"), "{e}");

    let disk = Disk::default();
    let mut db = disk.open();
    disk.full.store(true, Ordering::SeqCst);
    let failed = db.begin_incarnation(0, WallTime(0)).unwrap_err();
    let e = crate::store::unusable(db.path(), failed);
    assert!(matches!(e, StartError::DiskFull { .. }), "{e:?}");
}

/// A disk in memory that can be made to fail.
#[derive(Debug, Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> std::io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn open(&self) -> Database {
        let disk = self.clone();
        let opener = move || Builder::new().create_with_backend(disk.clone());
        Database::with_opener("memory".into(), Box::new(opener)).unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock().unwrap()[at..at + out.len()]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.check()?;
        self.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.check()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check()?;
        let at = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn put(ticket: u64, n: u8) -> Output {
    let ops = vec![StoreOp::PutEntry(Entry::new(record(n)))];
    Output::Store { ticket: StoreTicket(ticket), ops }
}

#[tokio::test]
async fn node_without_store_confirms_every_change_at_once() {
    let node = start_with(1, tuning(), None, None);
    node.emit(vec![put(1, 1), put(2, 2)]).await;
    node.wait_for("ticket 2", |s| (*s == RecordedInput::Stored(StoreTicket(2))).then_some(()))
        .await;
}

#[tokio::test]
async fn confirmed_changes_are_durable_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path(), "seed.redb").unwrap();
    let node = start_with(1, tuning(), None, Some(db));
    node.emit((1..=200).map(|n| put(u64::from(n), n)).collect()).await;
    wait_until("some are confirmed", || {
        node.recorded().iter().any(|s| matches!(s, RecordedInput::Stored(_))).then_some(())
    })
    .await;
    node.handle.kill();
    let confirmed =
        node.recorded().iter().filter(|s| matches!(s, RecordedInput::Stored(_))).count();
    node.handle.stopped().await;
    let db = Database::open(dir.path(), "seed.redb").expect("its lock is free");
    let found = db.registry(&Verifier::new(), &TransportCounters::default()).unwrap();
    assert!(found.entries.len() >= confirmed, "{} of {confirmed}", found.entries.len());
}

#[tokio::test]
async fn stopped_node_writes_its_pending_changes() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path(), "seed.redb").unwrap();
    let node = start_with(1, tuning(), None, Some(db));
    node.emit((1..=200).map(|n| put(u64::from(n), n)).collect()).await;
    node.handle.stop().await.unwrap();
    let db = Database::open(dir.path(), "seed.redb").unwrap();
    let found = db.registry(&Verifier::new(), &TransportCounters::default()).unwrap();
    assert_eq!(found.entries.len(), 200);
}

#[tokio::test]
async fn full_disk_confirms_no_change_until_it_has_space_again() {
    let disk = Disk::default();
    let tuning = Tuning { store_retry: Duration::from_millis(20), ..tuning() };
    let node = start_with(1, tuning, None, Some(disk.open()));
    node.emit(vec![put(1, 1)]).await;
    node.wait_for("ticket 1", |s| (*s == RecordedInput::Stored(StoreTicket(1))).then_some(()))
        .await;
    disk.full.store(true, Ordering::SeqCst);
    node.emit(vec![put(2, 2)]).await;
    wait_until("failures are counted", || {
        (node.counters().get("store_failures") >= 2).then_some(())
    })
    .await;
    node.emit(vec![put(3, 3)]).await;
    assert!(!node.recorded().contains(&RecordedInput::Stored(StoreTicket(2))));
    disk.full.store(false, Ordering::SeqCst);
    node.wait_for("ticket 3", |s| (*s == RecordedInput::Stored(StoreTicket(3))).then_some(()))
        .await;
    node.handle.stop().await.unwrap();
    let found = disk.open().registry(&Verifier::new(), &TransportCounters::default()).unwrap();
    assert_eq!(found.entries.len(), 3);
}

#[tokio::test]
async fn disk_that_never_recovers_is_bounded_in_memory_and_node_still_ends() {
    let disk = Disk::default();
    let tuning = Tuning {
        store_retry: Duration::from_millis(20),
        store_pending_bytes: 16 * 1024,
        ..tuning()
    };
    let node = start_with(1, tuning, None, Some(disk.open()));
    disk.full.store(true, Ordering::SeqCst);
    node.emit((1..=200).map(|n| put(u64::from(n), n)).collect()).await;
    wait_until("some changes are dropped", || {
        (node.counters().get("store_dropped") > 0).then_some(())
    })
    .await;
    wait_until("the drop is reported", || {
        node.recorded().iter().any(|s| matches!(s, RecordedInput::StoreFailed(_))).then_some(())
    })
    .await;
    node.handle.stop().await.unwrap();
}

/// Damages every page except the first, which contains the layout of the file.
fn damaged(bytes: &[u8], seed: u64) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = bytes.to_vec();
    for byte in bytes.iter_mut().skip(PAGE) {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // One byte in eight, so that many fields are damaged and many are intact.
        if state >> 61 == 0 {
            *byte = (state >> 40) as u8;
        }
    }
    bytes
}

/// A disk with a registry of 200 entries.
async fn filled_disk() -> Disk {
    let disk = Disk::default();
    let node = start_with(1, tuning(), None, Some(disk.open()));
    node.emit((1..=200).map(|n| put(u64::from(n), n)).collect()).await;
    node.handle.stop().await.unwrap();
    disk
}

#[tokio::test]
async fn damaged_pages_at_start_are_reported_as_error_without_panic() {
    crate::silence_caught_panics();
    let disk = filled_disk().await;
    let whole = disk.bytes.lock().unwrap().clone();
    let mut problems = Vec::new();
    for seed in 0..40 {
        *disk.bytes.lock().unwrap() = damaged(&whole, seed);
        let copy = disk.clone();
        let opener = move || Builder::new().create_with_backend(copy.clone());
        let opened = Database::with_opener("memory".into(), Box::new(opener));
        let read = opened.map_err(|e| e.to_string()).and_then(|db| {
            db.registry(&Verifier::new(), &TransportCounters::default()).map_err(|e| e.to_string())
        });
        problems.extend(read.err());
    }
    assert!(problems.len() > 20, "{} of 40 damaged files were refused", problems.len());
    let caught = problems.iter().filter(|p| p.contains("the file is damaged")).count();
    assert!(caught > 0, "none of these files makes the database library panic: {problems:?}");
}

#[tokio::test]
async fn damaged_pages_under_load_degrade_the_store_until_the_file_is_intact_again() {
    crate::silence_caught_panics();
    let mut caught = 0;
    for seed in 0..10 {
        let disk = filled_disk().await;
        let tuning = Tuning { store_retry: Duration::from_millis(20), ..tuning() };
        let copy = disk.clone();
        // Without a cache, every commit reads the pages that it changes.
        let opener = move || Builder::new().set_cache_size(0).create_with_backend(copy.clone());
        let database = Database::with_opener("memory".into(), Box::new(opener)).unwrap();
        let node = start_with(1, tuning, None, Some(database));
        let whole = disk.bytes.lock().unwrap().clone();
        *disk.bytes.lock().unwrap() = damaged(&whole, seed);
        node.emit((1..=250).map(|n| put(u64::from(n), n)).collect()).await;
        let problem =
            wait_until("the store reports its problem", || node.handle.store_problem()).await;
        caught += u32::from(problem.contains("the file is damaged"));
        assert_eq!(node.counters().get("store_outages"), 1);

        // No attempt may write to the intact file what it read from the damaged one.
        disk.full.store(true, Ordering::SeqCst);
        let failures = node.counters().get("store_failures");
        wait_until("the running attempt has failed", || {
            (node.counters().get("store_failures") >= failures + 2).then_some(())
        })
        .await;
        *disk.bytes.lock().unwrap() = whole;
        disk.full.store(false, Ordering::SeqCst);
        node.wait_for("the pending changes", |s| {
            (*s == RecordedInput::Stored(StoreTicket(250))).then_some(())
        })
        .await;
        wait_until("the problem is over", || node.handle.store_problem().is_none().then_some(()))
            .await;
        node.handle.stop().await.unwrap();
    }
    assert!(caught > 0, "none of these files makes the database library panic");
}

/// The last attempt does not wait for the pause between two attempts, which is longer than a node
/// may take to end.
#[tokio::test]
async fn pending_changes_are_written_at_stop_if_the_disk_has_space_again() {
    let disk = Disk::default();
    let tuning = Tuning { store_retry: Duration::from_secs(3600), ..tuning() };
    let node = start_with(1, tuning, None, Some(disk.open()));
    disk.full.store(true, Ordering::SeqCst);
    node.emit(vec![put(1, 1)]).await;
    wait_until("a failure is counted", || {
        (node.counters().get("store_failures") > 0).then_some(())
    })
    .await;
    node.emit(vec![put(2, 2)]).await;
    disk.full.store(false, Ordering::SeqCst);
    node.handle.stop().await.unwrap();
    let found = disk.open().registry(&Verifier::new(), &TransportCounters::default()).unwrap();
    assert_eq!(found.entries.len(), 2);
}

#[cfg(unix)]
#[test]
fn store_file_is_readable_only_by_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(Database::open(dir.path(), "peer.redb").unwrap());
    let mode = std::fs::metadata(dir.path().join("peer.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
