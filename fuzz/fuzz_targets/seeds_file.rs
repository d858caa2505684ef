//! The file that names the seeds: what is taken is within its bounds and can be written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rumormill::proto::limits::{MAX_HOST_PORT, MAX_SEEDS};
use rumormill::seeds_file;

fuzz_target!(|text: &str| {
    match seeds_file::parse(text) {
        Ok(seeds) => {
            assert!((1..=MAX_SEEDS).contains(&seeds.len()));
            assert!(seeds.iter().all(|s| s.host_port.len() <= MAX_HOST_PORT));
            assert_eq!(seeds_file::parse(&seeds_file::format(&seeds)).ok(), Some(seeds));
        }
        // A line is shown escaped, and at most so much of it.
        Err(e) => assert!(e.to_string().len() < 20 * MAX_HOST_PORT),
    }
});
