//! The stamp at the beginning of every payload, by which a delivery is recognised and timed.

/// Bytes of a stamp, which are the shortest payload.
pub(crate) const STAMP_BYTES: usize = 24;

/// The beginning of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The warm-up or the measurement, so that late messages of the warm-up are not measured.
    pub(crate) phase: u32,
    /// The number of the publisher.
    pub(crate) publisher: u32,
    /// The number of the message, counted from 0 for each publisher and phase.
    pub(crate) number: u64,
    /// When it was published, in nanoseconds since the start of the scoreboard's clock.
    pub(crate) sent: u64,
}

impl Stamp {
    /// A payload of a number of bytes that begins with this stamp. It is at least as long as the
    /// stamp.
    pub(crate) fn payload(&self, bytes: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(bytes.max(STAMP_BYTES));
        payload.extend_from_slice(&self.phase.to_le_bytes());
        payload.extend_from_slice(&self.publisher.to_le_bytes());
        payload.extend_from_slice(&self.number.to_le_bytes());
        payload.extend_from_slice(&self.sent.to_le_bytes());
        payload.resize(bytes.max(STAMP_BYTES), 0);
        payload
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_reads_back_what_it_wrote() {
        let stamp = Stamp { phase: 1, publisher: 3, number: 1 << 40, sent: u64::MAX };
        let payload = stamp.payload(100);
        assert_eq!((payload.len(), Stamp::read(&payload)), (100, Some(stamp)));
        assert_eq!(stamp.payload(0).len(), STAMP_BYTES);
        assert_eq!(Stamp::read(&payload[..STAMP_BYTES - 1]), None);
    }
}
