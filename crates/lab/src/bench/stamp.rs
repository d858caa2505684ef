//! The stamp at the beginning of every payload: the phase, the publisher, the number of the
//! message, and the time of publishing.

use std::time::{Duration, Instant};

/// Bytes of a stamp, which are the shortest payload.
pub(crate) const STAMP_BYTES: usize = 24;

/// The beginning of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The warm-up or the measurement, so that late messages of the warm-up are not measured.
    pub(crate) phase: u32,
    /// The number of the publisher.
    pub(crate) publisher: u32,
    /// Counted from 0 in each phase.
    pub(crate) number: u64,
    /// When it was published, by the [`Clock`] of the run.
    pub(crate) sent: u64,
}

impl Stamp {
    /// Overwrites the beginning of a payload. A payload that is too short is not changed.
    pub(crate) fn write(&self, payload: &mut [u8]) {
        let Some(head) = payload.first_chunk_mut::<STAMP_BYTES>() else { return };
        head[..4].copy_from_slice(&self.phase.to_le_bytes());
        head[4..8].copy_from_slice(&self.publisher.to_le_bytes());
        head[8..16].copy_from_slice(&self.number.to_le_bytes());
        head[16..].copy_from_slice(&self.sent.to_le_bytes());
    }

    /// Reads the stamp of a payload; `None` if it is too short.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (phase, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        Some(Stamp {
            phase: u32::from_le_bytes(*phase),
            publisher: u32::from_le_bytes(*publisher),
            number: u64::from_le_bytes(*number),
            sent: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }
}

/// One monotonic clock for all nodes, which are in one process. A delay is the difference of two of
/// its readings, so no two clocks have to agree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Clock(Instant::now())
    }

    /// Nanoseconds since it was started.
    pub(crate) fn now(self) -> u64 {
        nanoseconds(self.0.elapsed())
    }
}

/// A duration in nanoseconds; five hundred years are enough.
pub(crate) fn nanoseconds(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_reads_back_what_it_wrote() {
        let stamp = Stamp { phase: 1, publisher: 3, number: 1 << 40, sent: u64::MAX };
        let mut payload = [7; STAMP_BYTES + 1];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(payload[STAMP_BYTES], 7);
        assert_eq!(Stamp::read(&payload[..STAMP_BYTES - 1]), None);
        stamp.write(&mut payload[..3]);
    }
}
