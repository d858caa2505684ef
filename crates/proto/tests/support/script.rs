//! A script of hostile moves, read from bytes that a property test can shrink and a fuzzer mutate.

/// Turns bytes into choices. At its end a script returns zeros, so every script is valid.
#[derive(Debug, Clone)]
pub struct Script<'a> {
    left: &'a [u8],
}

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Script { left: bytes }
    }

    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.left.split_first() else { return 0 };
        self.left = rest;
        first
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u8) -> bool {
        self.byte().is_multiple_of(n)
    }

    /// An index below `n`; 0 for `n` = 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { usize::from(self.byte()) % n }
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number, often a small one or one at an edge.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            n @ 0..=159 => u64::from(n % 8),
            160..=184 => u64::from(self.u16()),
            185..=204 => u64::MAX,
            205..=214 => u64::MAX - 1,
            215..=224 => u64::MAX / 2,
            225..=234 => u64::from(u32::MAX) + u64::from(self.byte()),
            _ => u64::from_be_bytes(core::array::from_fn(|_| self.byte())),
        }
    }

    /// An incarnation or epoch, mostly the first one, so that frames refer to each other.
    pub fn incarnation(&mut self) -> u64 {
        match self.byte() {
            0..=199 => 1,
            200..=229 => 2,
            _ => self.number(),
        }
    }

    pub fn pick<'l, T>(&mut self, list: &'l [T]) -> Option<&'l T> {
        list.get(self.below(list.len()))
    }
}
