//! A world of many Rumormill nodes in virtual time.
