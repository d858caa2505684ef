//! The file with a node's durable state.
//!
//! One `redb` file per node. It is locked while open, so two processes cannot use one data
//! directory. Everything read back is verified like input from the network: a file can be damaged,
//! and this node would pass an invalid entry on to others.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use minicbor::{Decode, Encode};
use redb::{
    Builder, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TableError, WriteTransaction,
};
use rumormill_proto::registry::Entry;
use rumormill_proto::wire::Verifier;
use rumormill_proto::{
    Batch, DeliveredMark, MessageId, PeerId, SignedRecord, StoreOp, StreamId, WallTime,
    start_number,
};

use super::guard::catch_panic;
use crate::counters::TransportCounters;
use crate::error::StartError;

/// Single values by name.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Registry entries by id.
const ENTRIES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("entries");
/// Retained batches by order of arrival.
const BATCHES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("batches");
/// Where a batch is in that order, by its first message.
const BATCH_PLACES: TableDefinition<'_, &[u8; 48], u64> = TableDefinition::new("batch_places");
/// How far a stream was delivered, by publisher and epoch. A file of an older version has no marks:
/// its retained messages are then delivered once more.
const MARKS: TableDefinition<'_, &[u8; 40], u64> = TableDefinition::new("marks");
/// The epoch up to which a publisher's streams are complete, by publisher.
const CLOSED_UP_TO: TableDefinition<'_, &[u8; 32], u64> = TableDefinition::new("closed_up_to");

const INCARNATION: &str = "incarnation";
const ANCHORS: &str = "anchors";
const NONCE: &str = "nonce";
const FORMAT: &str = "format";
/// The format of files. It is raised with every change of tables or of their content, so that no
/// version misreads the file of another one.
const CURRENT_FORMAT: u8 = 4;

/// Memory for cached pages. The default of 1 GiB would be most of the memory of a small machine.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// The state that a peer finds in its store.
#[derive(Debug, Default)]
pub(crate) struct StoredPeerState {
    pub(crate) incarnation: u64,
    pub(crate) anchors: Vec<SignedRecord>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) delivered: Vec<DeliveredMark>,
    /// For each publisher, the last stream of those that are complete.
    pub(crate) closed_up_to: Vec<StreamId>,
}

/// The state that a seed finds in its store.
#[derive(Debug, Default)]
pub(crate) struct StoredRegistry {
    pub(crate) entries: Vec<Entry>,
    pub(crate) nonce: Option<[u8; 16]>,
}

/// Creates or opens the file; called again after an I/O error, because the library refuses to
/// continue after one.
pub(crate) type Opener = Box<dyn Fn() -> Result<redb::Database, DatabaseError> + Send + Sync>;

/// The error for a store that cannot be used at the start.
pub(crate) fn unusable(path: &Path, e: redb::Error) -> StartError {
    match e {
        redb::Error::Io(source) if source.kind() != std::io::ErrorKind::InvalidData => {
            StartError::for_data_dir(path.to_owned(), source)
        }
        other => StartError::Store { path: path.to_owned(), problem: describe_error(&other) },
    }
}

/// Describes an error of the database library for people.
pub(crate) fn describe_error(e: &redb::Error) -> String {
    use std::io::ErrorKind;
    match e {
        redb::Error::Io(e) => match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full".to_owned(),
            ErrorKind::ReadOnlyFilesystem => "the disk is read-only".to_owned(),
            ErrorKind::InvalidData => {
                "the file is damaged, or not a store of this program".to_owned()
            }
            _ => e.to_string(),
        },
        redb::Error::Corrupted(_) => "the file is damaged".to_owned(),
        other => other.to_string(),
    }
}

/// An open state file.
pub(crate) struct Database {
    path: PathBuf,
    opener: Opener,
    open: Option<redb::Database>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens or creates `name` in `directory`, which is created as well if it does not exist.
    pub(crate) fn open(directory: &Path, name: &str) -> Result<Self, StartError> {
        create_private_dir(directory)
            .map_err(|source| StartError::for_data_dir(directory.to_owned(), source))?;
        let path = directory.join(name);
        let file = path.clone();
        let opener: Opener = Box::new(move || {
            Builder::new().set_cache_size(CACHE_BYTES).create_file(open_private_file(&file)?)
        });
        Database::with_opener(path, opener)
    }

    pub(crate) fn with_opener(path: PathBuf, opener: Opener) -> Result<Self, StartError> {
        let open = catch_panic(&opener).map_err(|e| match e {
            DatabaseError::DatabaseAlreadyOpen => StartError::Locked { path: path.clone() },
            other => unusable(&path, other.into()),
        })?;
        let database = Database { path, opener, open: Some(open) };
        database.check_format()?;
        Ok(database)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn check_format(&self) -> Result<(), StartError> {
        let refused = |problem: String| Err(StartError::Store { path: self.path.clone(), problem });
        let found = catch_panic(|| self.meta(FORMAT)).map_err(|e| unusable(&self.path, e))?;
        match found.as_deref() {
            Some([CURRENT_FORMAT]) => return Ok(()),
            Some(&[older]) if older < CURRENT_FORMAT => {
                return refused(format!(
                    "it was written by an older version of this program, in another format \
                     (format {older}, this version writes format {CURRENT_FORMAT})"
                ));
            }
            Some(_) => {
                return refused("it was written by a newer version of this program".to_owned());
            }
            None => {}
        }
        catch_panic(|| {
            self.transaction(|t| {
                t.open_table(META)?.insert(FORMAT, [CURRENT_FORMAT].as_slice())?;
                Ok(())
            })
        })
        .map_err(|e| unusable(&self.path, e))
    }

    /// Reads the state of a peer.
    pub(crate) fn peer_state(
        &self,
        verifier: &Verifier,
        counters: &TransportCounters,
    ) -> Result<StoredPeerState, redb::Error> {
        catch_panic(|| self.read_peer_state(verifier, counters))
    }

    fn read_peer_state(
        &self,
        verifier: &Verifier,
        counters: &TransportCounters,
    ) -> Result<StoredPeerState, redb::Error> {
        let incarnation = match self.meta(INCARNATION)?.as_deref() {
            None => 0,
            Some(bytes) => match <[u8; 8]>::try_from(bytes) {
                Ok(bytes) => u64::from_be_bytes(bytes),
                Err(_) => {
                    self.report_skipped(counters, "the incarnation");
                    0
                }
            },
        };
        let mut anchors = Vec::new();
        if let Some(bytes) = self.meta(ANCHORS)? {
            match decoded::<Vec<SignedRecord>>(&bytes) {
                Some(all) => {
                    for record in all {
                        if verifier.signed(&record).is_ok() {
                            anchors.push(record);
                        } else {
                            self.report_skipped(counters, "an anchor");
                        }
                    }
                }
                None => self.report_skipped(counters, "the list of anchors"),
            }
        }
        let mut batches = Vec::new();
        self.for_each(BATCHES, |_, bytes| {
            let batch = Batch::from_wire(Bytes::copy_from_slice(bytes)).ok();
            match batch.filter(|b| verifier.batch(b).is_ok()) {
                Some(batch) => batches.push(batch),
                None => self.report_skipped(counters, "a kept batch"),
            }
        })?;
        let mut delivered = Vec::new();
        self.for_each(MARKS, |key, to| delivered.push(mark(key, to)))?;
        let mut closed_up_to = Vec::new();
        self.for_each(CLOSED_UP_TO, |key, epoch| {
            closed_up_to.push(StreamId { publisher: PeerId::from_bytes(*key), epoch });
        })?;
        Ok(StoredPeerState { incarnation, anchors, batches, delivered, closed_up_to })
    }

    /// Reads the state of a seed.
    pub(crate) fn registry(
        &self,
        verifier: &Verifier,
        counters: &TransportCounters,
    ) -> Result<StoredRegistry, redb::Error> {
        catch_panic(|| self.read_registry(verifier, counters))
    }

    fn read_registry(
        &self,
        verifier: &Verifier,
        counters: &TransportCounters,
    ) -> Result<StoredRegistry, redb::Error> {
        let mut entries = Vec::new();
        self.for_each(ENTRIES, |_, bytes| {
            match decoded::<Entry>(bytes).filter(|e| verifier.entry(e).is_ok()) {
                Some(entry) => entries.push(entry),
                None => self.report_skipped(counters, "a registry entry"),
            }
        })?;
        let nonce = match self.meta(NONCE)? {
            None => None,
            Some(bytes) => {
                let nonce = <[u8; 16]>::try_from(bytes.as_slice()).ok();
                if nonce.is_none() {
                    self.report_skipped(counters, "the nonce");
                }
                nonce
            }
        };
        Ok(StoredRegistry { entries, nonce })
    }

    fn report_skipped(&self, counters: &TransportCounters, what: &str) {
        counters.store_corrupt.increment();
        tracing::warn!(
            target: "rumormill::store",
            "{what} in {} is damaged, or of an older version, and was skipped",
            self.path.display()
        );
    }

    /// Chooses the incarnation of a new process and makes it durable.
    pub(crate) fn begin_incarnation(
        &mut self,
        last: u64,
        wall_clock: WallTime,
    ) -> Result<u64, redb::Error> {
        let next = start_number(Some(last), wall_clock);
        self.commit(&[StoreOp::PutIncarnation(next)])?;
        Ok(next)
    }

    /// Makes changes durable, all or none. After an error, the next call opens the file again.
    pub(crate) fn commit<'a, I>(&mut self, ops: I) -> Result<(), redb::Error>
    where
        I: IntoIterator<Item = &'a StoreOp>,
    {
        if self.open.is_none() {
            self.open = Some(catch_panic(&self.opener)?);
        }
        let change = |t: &WriteTransaction| ops.into_iter().try_for_each(|op| apply_op(t, op));
        let result = catch_panic(|| self.transaction(change));
        // After an I/O error or a panic the library refuses to continue with the open file.
        if result.is_err() {
            self.close();
        }
        result
    }

    /// Closes the file. Closing a damaged file may panic; the panic is caught.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            let _ = catch_panic::<(), redb::Error>(|| {
                drop(open);
                Ok(())
            });
        }
    }

    fn transaction(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let transaction = self.handle()?.begin_write()?;
        change(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    fn handle(&self) -> Result<&redb::Database, redb::Error> {
        self.open.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        let transaction = self.handle()?.begin_read()?;
        match transaction.open_table(META) {
            Ok(table) => Ok(table.get(name)?.map(|v| v.value().to_vec())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn for_each<K: redb::Key + 'static, V: redb::Value + 'static>(
        &self,
        table: TableDefinition<'_, K, V>,
        mut with: impl FnMut(K::SelfType<'_>, V::SelfType<'_>),
    ) -> Result<(), redb::Error> {
        let transaction = self.handle()?.begin_read()?;
        let table = match transaction.open_table(table) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        for item in table.iter()? {
            let (key, value) = item?;
            with(key.value(), value.value());
        }
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.close();
    }
}

fn apply_op(t: &WriteTransaction, op: &StoreOp) -> Result<(), redb::Error> {
    match op {
        StoreOp::PutIncarnation(n) => {
            t.open_table(META)?.insert(INCARNATION, n.to_be_bytes().as_slice())?;
        }
        StoreOp::PutAnchors(records) => {
            t.open_table(META)?.insert(ANCHORS, encoded(records).as_slice())?;
        }
        StoreOp::PutNonce(nonce) => {
            t.open_table(META)?.insert(NONCE, nonce.as_slice())?;
        }
        StoreOp::PutEntry(entry) => {
            let id = entry.id();
            t.open_table(ENTRIES)?.insert(id.as_bytes(), encoded(entry).as_slice())?;
        }
        StoreOp::RemoveEntry(id) => {
            t.open_table(ENTRIES)?.remove(id.as_bytes())?;
        }
        StoreOp::PutBatch(batch) => put_batch(t, batch)?,
        StoreOp::RemoveBatch(id) => {
            let place = t.open_table(BATCH_PLACES)?.remove(&batch_key(id))?.map(|v| v.value());
            if let Some(place) = place {
                t.open_table(BATCHES)?.remove(place)?;
            }
        }
        StoreOp::PutDelivered(m) => {
            t.open_table(MARKS)?.insert(&stream_key(m.stream()), m.to)?;
        }
        StoreOp::RemoveDelivered(stream) => {
            t.open_table(MARKS)?.remove(&stream_key(*stream))?;
        }
        StoreOp::PutClosedUpTo(stream) => {
            t.open_table(CLOSED_UP_TO)?.insert(stream.publisher.as_bytes(), stream.epoch)?;
        }
        StoreOp::RemoveClosedUpTo(publisher) => {
            t.open_table(CLOSED_UP_TO)?.remove(publisher.as_bytes())?;
        }
    }
    Ok(())
}

fn put_batch(t: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let key = batch_key(&first_message(batch));
    let mut places = t.open_table(BATCH_PLACES)?;
    let mut batches = t.open_table(BATCHES)?;
    if let Some(place) = places.get(&key)?.map(|v| v.value()) {
        if batches.get(place)?.is_some_and(|kept| kept.value() == batch.wire().as_ref()) {
            return Ok(());
        }
        // An honest publisher packs a sequence number once. For any other publisher, the newest
        // batch stands, as in memory.
        batches.remove(place)?;
    }
    let place = batches.last()?.map_or(0, |(last, _)| last.value().saturating_add(1));
    batches.insert(place, batch.wire().as_ref())?;
    places.insert(&key, place)?;
    Ok(())
}

fn first_message(batch: &Batch) -> MessageId {
    MessageId { publisher: batch.publisher(), epoch: batch.epoch(), sequence: batch.first() }
}

fn stream_key(stream: StreamId) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(stream.publisher.as_bytes());
    key[32..].copy_from_slice(&stream.epoch.to_be_bytes());
    key
}

fn mark(key: &[u8; 40], to: u64) -> DeliveredMark {
    let (mut publisher, mut epoch) = ([0; 32], [0; 8]);
    publisher.copy_from_slice(&key[..32]);
    epoch.copy_from_slice(&key[32..]);
    DeliveredMark { publisher: PeerId::from_bytes(publisher), epoch: u64::from_be_bytes(epoch), to }
}

fn batch_key(id: &MessageId) -> [u8; 48] {
    let mut key = [0; 48];
    key[..40].copy_from_slice(&stream_key(id.stream()));
    key[40..].copy_from_slice(&id.sequence.to_be_bytes());
    key
}

fn encoded<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing into a Vec cannot fail: its error type is Infallible.
    let _ = minicbor::encode(value, &mut bytes);
    bytes
}

fn decoded<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    minicbor::decode(bytes).ok()
}

/// Creates a directory that only its owner can enter; an existing one stays unchanged.
fn create_private_dir(directory: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Opens or creates a file that only its owner can read; an existing file keeps its permissions.
/// The directory may be open to other users, who must not read the messages.
fn open_private_file(path: &Path) -> Result<File, StorageError> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(StorageError::Io)
}

/// The operations that remain after merging those on the same key: the last one stands. An earlier
/// one that was never durable need not be written.
pub(crate) fn last_op_per_key<'a>(ops: impl Iterator<Item = &'a StoreOp>) -> Vec<&'a StoreOp> {
    let mut last: BTreeMap<(u8, Vec<u8>), (usize, &StoreOp)> = BTreeMap::new();
    for (at, op) in ops.enumerate() {
        let key = match op {
            StoreOp::PutIncarnation(_) => (0, Vec::new()),
            StoreOp::PutAnchors(_) => (1, Vec::new()),
            StoreOp::PutNonce(_) => (2, Vec::new()),
            StoreOp::PutEntry(e) => (3, e.id().as_bytes().to_vec()),
            StoreOp::RemoveEntry(id) => (3, id.as_bytes().to_vec()),
            StoreOp::PutBatch(b) => (4, batch_key(&first_message(b)).to_vec()),
            StoreOp::RemoveBatch(id) => (4, batch_key(id).to_vec()),
            StoreOp::PutDelivered(m) => (5, stream_key(m.stream()).to_vec()),
            StoreOp::RemoveDelivered(stream) => (5, stream_key(*stream).to_vec()),
            StoreOp::PutClosedUpTo(stream) => (6, stream.publisher.as_bytes().to_vec()),
            StoreOp::RemoveClosedUpTo(publisher) => (6, publisher.as_bytes().to_vec()),
        };
        last.insert(key, (at, op));
    }
    let mut ops: Vec<(usize, &StoreOp)> = last.into_values().collect();
    ops.sort_by_key(|(at, _)| *at);
    ops.into_iter().map(|(_, op)| op).collect()
}
