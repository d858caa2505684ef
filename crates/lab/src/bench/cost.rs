//! The processor time of this process.

use rustix::time::{ClockId, clock_gettime};

/// Processor time of all threads of this process so far, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss)] // Seconds of a run, and nanoseconds below 1e9.
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows() {
        let before = cpu_seconds();
        assert!(before > 0.0 && cpu_seconds() >= before);
    }
}
