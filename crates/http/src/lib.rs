//! Control API of a Rumormill node.
