//! The program rumor.
