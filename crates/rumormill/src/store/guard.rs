//! Catches panics of the database library.
//!
//! `redb` checks a file when it opens it, but not every page: it panics when it meets damage later.
//! Such a panic concerns one call, and becomes an error of that call. The node then goes on without
//! its store, as it does with a full disk.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside [`catch_panic`].
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Calls the database library; a panic in it becomes [`redb::StorageError::Corrupted`].
///
/// Data that the call borrowed mutably may be inconsistent afterwards: the caller closes the
/// database.
pub(super) fn catch_panic<T, E: From<redb::StorageError>>(
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let before = CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    CATCHING.set(before);
    result.unwrap_or_else(|panic| {
        // For debugging the database library; other readers of the log do not need it.
        tracing::debug!(target: "rumormill::store", "caught a panic: {}", panic_text(&*panic));
        Err(redb::StorageError::Corrupted("a panic was caught".to_owned()).into())
    })
}

/// The message of a panic, in one line.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("the database library panicked");
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

/// Keeps the panics that this library catches out of the standard error stream. All other panics go
/// to the hook that is installed now.
///
/// A program calls it once, at its start. Without it, a damaged store is handled in the same way,
/// but the default hook also prints a panic message and a backtrace.
pub fn silence_caught_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                tracing::debug!(target: "rumormill::store", "caught: {info}");
            } else {
                next(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_in_database_call_becomes_error_without_the_panic_message() {
        silence_caught_panics();
        let failed = catch_panic::<(), redb::Error>(|| panic!("page {} is of no known type", 7));
        let said = super::super::database::describe_error(&failed.unwrap_err());
        assert_eq!(said, "the file is damaged");
        let fine: Result<u32, redb::Error> = catch_panic(|| Ok(7));
        assert_eq!(fine.unwrap(), 7);
        assert!(!CATCHING.get());
    }
}
