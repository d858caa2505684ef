//! The key file: 64 hexadecimal characters that only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rumormill_proto::Identity;

use crate::error::StartError;

/// The file name in a data directory.
const KEY_FILE_NAME: &str = "identity.key";

/// The identity of a data directory: the one in its key file. If there is no key file, it is
/// created from `given` or with a new key. The caller holds the lock of the directory.
pub(crate) fn load_or_create(
    directory: &Path,
    given: Option<Identity>,
) -> Result<Identity, StartError> {
    let path = directory.join(KEY_FILE_NAME);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let found = parse(&path, &text)?;
            match given {
                Some(given) if given.id() != found.id() => Err(StartError::OtherIdentity {
                    path,
                    found: found.id().short(),
                    given: given.id().short(),
                }),
                _ => {
                    warn_if_others_can_read(&path);
                    Ok(found)
                }
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let identity = match given {
                Some(given) => given,
                None => Identity::from_secret(&crate::random_bytes()?),
            };
            create(directory, &path, &identity)
                .map_err(|source| StartError::for_data_dir(path, source))?;
            Ok(identity)
        }
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            Err(StartError::KeyFile { path, problem: "it is not text".to_owned() })
        }
        Err(source) => Err(StartError::for_data_dir(path, source)),
    }
}

/// Parses a key file. The text is a secret, so no error shows any part of it.
fn parse(path: &Path, text: &str) -> Result<Identity, StartError> {
    let text = text.trim();
    let bad = |problem: &str| StartError::KeyFile {
        path: PathBuf::from(path),
        problem: problem.to_owned(),
    };
    if text.len() != 64 {
        return Err(bad(&format!(
            "expected 64 hexadecimal characters, found {} characters",
            text.chars().count()
        )));
    }
    let bytes = HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .map_err(|_| bad("expected 64 hexadecimal characters, found others"))?;
    let secret = <[u8; 32]>::try_from(bytes).map_err(|_| bad("expected 32 bytes"))?;
    Ok(Identity::from_secret(&secret))
}

/// Writes a temporary file and renames it: a crash leaves a whole key or none.
fn create(directory: &Path, path: &Path, identity: &Identity) -> io::Result<()> {
    let temporary = directory.join(format!("{KEY_FILE_NAME}.new"));
    // A leftover of a crash at this point.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    writeln!(file, "{}", HEXLOWER.encode(&identity.secret_bytes()))?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    // The file name is durable only after its directory is synced. Where the directory cannot be
    // opened, there is no way to do that.
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
    Ok(())
}

#[cfg(unix)]
fn warn_if_others_can_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let open = fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0);
    if open {
        tracing::warn!(
            target: "rumormill::store",
            "other users than its owner can read {}: any of them can impersonate this node; \
             run `chmod 600` on it",
            path.display()
        );
    }
}

#[cfg(not(unix))]
fn warn_if_others_can_read(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_file_is_created_once_with_owner_permissions_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let a = load_or_create(dir.path(), None).unwrap();
        let b = load_or_create(dir.path(), None).unwrap();
        assert_eq!(a.id(), b.id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.path().join(KEY_FILE_NAME)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file is left");
    }

    #[test]
    fn given_identity_is_stored_and_a_different_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mine = Identity::from_secret(&[1; 32]);
        assert_eq!(load_or_create(dir.path(), Some(mine.clone())).unwrap().id(), mine.id());
        assert_eq!(load_or_create(dir.path(), Some(mine.clone())).unwrap().id(), mine.id());
        let e = load_or_create(dir.path(), Some(Identity::from_secret(&[2; 32]))).unwrap_err();
        assert!(matches!(e, StartError::OtherIdentity { .. }), "{e}");
    }

    #[test]
    fn error_for_bad_key_file_names_the_file_and_shows_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE_NAME);
        for bad in [&b"secret-but-short"[..], &[b'x'; 64], &[0xff; 64], b""] {
            fs::write(&path, bad).unwrap();
            let e = load_or_create(dir.path(), None).unwrap_err();
            assert!(matches!(e, StartError::KeyFile { .. }), "{e:?}");
            let text = e.to_string();
            assert!(text.contains("identity.key") && !text.contains("secret-but"), "{text}");
        }
    }
}
