//! Peer-to-peer membership, failure detection and broadcast.
