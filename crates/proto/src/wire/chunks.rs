//! Splitting lists so that each part fits into a frame with space to spare.

use crate::limits::MAX_RECORDS_PER_FRAME;

/// Bytes of list content in one frame.
const MAX_PART_BYTES: usize = 512 * 1024;

/// The parts of a list, each of at most [`MAX_RECORDS_PER_FRAME`] items and about half a megabyte.
pub(crate) fn parts<T>(list: &[T], size: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (i, item) in list.iter().enumerate() {
        let item = size(item);
        if i > from && (bytes + item > MAX_PART_BYTES || i - from >= MAX_RECORDS_PER_FRAME) {
            parts.extend(list.get(from..i));
            (from, bytes) = (i, 0);
        }
        bytes += item;
    }
    if from < list.len() {
        parts.extend(list.get(from..));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_complete_and_bounded() {
        for (items, size) in
            [(0, 1), (1, MAX_PART_BYTES * 2), (5, MAX_PART_BYTES / 2 + 1), (2000, 10), (512, 1024)]
        {
            let list: Vec<usize> = vec![size; items];
            let cut = parts(&list, |s| *s);
            assert_eq!(cut.iter().map(|p| p.len()).sum::<usize>(), items);
            for p in cut {
                assert!(p.len() == 1 || p.len() * size <= MAX_PART_BYTES);
                assert!(p.len() <= MAX_RECORDS_PER_FRAME);
            }
        }
    }
}
