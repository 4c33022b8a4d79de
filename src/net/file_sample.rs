//! Sample of a part of a file: the hash of some of its blocks, to tell later whether they are still the same.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::fstatfs;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use twox_hash::XxHash3_128;

/// Types of file systems (statfs(2)) that do not know RWF_NOWAIT, and whose blocks are read at once: tmpfs, which has
/// no disk, and overlayfs, which does not pass the flag on. (Containers have their files on it.)
const READ_AT_ONCE: [i64; 2] = [0x0102_1994, 0x794c_7630];

/// Length of a block in bytes: a page, which the kernel finds and copies in about a microsecond.
const BLOCK_LEN: usize = 4096;
const BLOCK_BYTES: u64 = BLOCK_LEN as u64;

/// Blocks of a sample: one in so many bytes of the part, but no fewer and no more than this range. So a sample reads
/// three percent of a part of some MiB, and a part of up to 128 KiB is sampled whole.
const BYTES_PER_BLOCK: u64 = 128 * 1024;
const MIN_BLOCKS: u64 = 32;
const MAX_BLOCKS: u64 = 64;

/// Sample of a part of a file, which is taken in one or several steps.
#[derive(Clone, Debug)]
pub(super) struct FileSample {
    part: Range<u64>,
    /// Number of the blocks in `hash`.
    taken: u64,
    hash: u64,
}

/// Blocks that may still be read in one turn of the event loop, for all samples of a connection.
#[derive(Debug)]
pub(super) struct SampleBudget {
    blocks: u64,
    /// Number of these blocks that need not be in memory. One such read takes as long as the disk does, which
    /// sendfile(2) waits for as well.
    blocking: u64,
}

impl Default for SampleBudget {
    fn default() -> Self {
        Self {
            blocks: MAX_BLOCKS,
            blocking: 2,
        }
    }
}

impl FileSample {
    /// Creates a sample without a block.
    pub(super) fn new(part: Range<u64>) -> Self {
        Self {
            part,
            taken: 0,
            hash: 0,
        }
    }

    /// Whether no block is in the sample.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    pub(super) fn is_complete(&self) -> bool {
        self.taken == self.block_count()
    }

    /// Adds the next blocks, as many as the budget allows.
    ///
    /// # Errors
    /// Errors of pread(2); `UnexpectedEof` for a file that ends before the part does.
    pub(super) fn extend(&mut self, file: &File, budget: &mut SampleBudget) -> io::Result<()> {
        let mut buffer = [0; BLOCK_LEN];
        while !self.is_complete() && budget.blocks > 0 {
            let block = self.block(self.taken);
            let bytes = buffer_for(&mut buffer, &block);
            if !read_cached(file, bytes, block.start)? {
                if budget.blocking == 0 {
                    return Ok(());
                }
                budget.blocking -= 1;
                file.read_exact_at(bytes, block.start)?;
            }
            budget.blocks -= 1;
            self.hash = chain(self.hash, bytes);
            self.taken += 1;
        }
        Ok(())
    }

    /// Whether the blocks of the sample are still the same.
    ///
    /// # Errors
    /// As for [`extend`](Self::extend).
    pub(super) fn is_unchanged(&self, file: &File) -> io::Result<bool> {
        let mut buffer = [0; BLOCK_LEN];
        let mut hash = 0;
        for index in 0..self.taken {
            let block = self.block(index);
            let bytes = buffer_for(&mut buffer, &block);
            file.read_exact_at(bytes, block.start)?;
            hash = chain(hash, bytes);
        }
        Ok(hash == self.hash)
    }

    fn block_count(&self) -> u64 {
        let len = self.part.end - self.part.start;
        let count = (len / BYTES_PER_BLOCK).clamp(MIN_BLOCKS, MAX_BLOCKS);
        count.min(len.div_ceil(BLOCK_BYTES))
    }

    /// Returns the range of a block. The first one begins where the part does, the last one ends where it ends, and
    /// the distances between them are equal: so any other run of bytes that is as long as two distances has a block in
    /// it.
    fn block(&self, index: u64) -> Range<u64> {
        let len = self.part.end - self.part.start;
        let start = match self.block_count() {
            0 | 1 => self.part.start,
            count => self.part.start + index * (len - BLOCK_BYTES.min(len)) / (count - 1),
        };
        start..self.part.end.min(start + BLOCK_BYTES)
    }
}

fn buffer_for<'a>(buffer: &'a mut [u8; BLOCK_LEN], block: &Range<u64>) -> &'a mut [u8] {
    let len = usize::try_from(block.end - block.start).unwrap_or(usize::MAX);
    let len = len.min(buffer.len());
    &mut buffer[..len]
}

/// Returns the hash of a block and of the blocks before it, which have the hash `before`.
fn chain(before: u64, block: &[u8]) -> u64 {
    let hash = XxHash3_128::oneshot_with_seed(before, block);
    u64::try_from(hash >> 64).expect("half of 128 bits")
}

/// Fills a buffer if that needs no wait for a disk. Returns `false` if it does, or may: RWF_NOWAIT is not known to
/// every file system.
fn read_cached(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    let len = bytes.len();
    match preadv2(
        file,
        &mut [IoSliceMut::new(bytes)],
        offset,
        ReadWriteFlags::NOWAIT,
    ) {
        Ok(count) => Ok(count == len),
        Err(Errno::OPNOTSUPP) if is_read_at_once(file) => {
            file.read_exact_at(bytes, offset)?;
            Ok(true)
        }
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn is_read_at_once(file: &File) -> bool {
    fstatfs(file).is_ok_and(|file_system| READ_AT_ONCE.contains(&file_system.f_type))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Takes a sample, and returns the number of steps.
    fn take(sample: &mut FileSample, file: &File) -> usize {
        for step in 1.. {
            sample.extend(file, &mut SampleBudget::default()).unwrap();
            if sample.is_complete() {
                return step;
            }
        }
        unreachable!("a step takes a block");
    }

    fn file(len: usize) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; len]).unwrap();
        file
    }

    #[test]
    fn blocks_lie_in_their_part() {
        for len in [0, 1, 4095, 4096, 4097, 131_072, 131_073, 9 << 20, 5 << 40] {
            let sample = FileSample::new(3..3 + len);
            let blocks = (0..sample.block_count()).map(|index| sample.block(index));
            let blocks: Vec<_> = blocks.collect();
            assert!(blocks.iter().all(|block| block.start >= 3));
            assert!(blocks.iter().all(|block| block.end <= 3 + len));
            assert_eq!(
                blocks.first().map(|block| block.start),
                (len > 0).then_some(3)
            );
            assert_eq!(
                blocks.last().map(|block| block.end),
                (len > 0).then_some(3 + len)
            );
            let gap = |pair: &[Range<u64>]| pair[1].start.saturating_sub(pair[0].end);
            let widest = blocks.windows(2).map(gap).max().unwrap_or_default();
            assert!(widest <= len / (MIN_BLOCKS - 1), "{len}: {widest}");
            assert!(len > 131_072 || widest == 0, "{len}: sampled whole");
        }
    }

    #[test]
    fn small_part_is_sampled_whole() {
        let file = file(100_000);
        let mut sample = FileSample::new(10..99_990);
        take(&mut sample, &file);
        for (place, is_unchanged) in [
            (9, true),
            (10, false),
            (50_000, false),
            (99_989, false),
            (99_990, true),
        ] {
            file.write_all_at(&[8], place).unwrap();
            assert_eq!(sample.is_unchanged(&file).unwrap(), is_unchanged, "{place}");
            file.write_all_at(&[7], place).unwrap();
        }
    }

    #[test]
    fn sample_of_a_large_part_sees_long_changes_and_both_ends() {
        let len = 8 << 20;
        let file = file(len);
        let mut sample = FileSample::new(0..len as u64);
        take(&mut sample, &file);
        for (start, count) in [(0, 1), (len - 1, 1), (3 << 20, 256 << 10), (1, len - 1)] {
            file.write_all_at(&vec![8; count], start as u64).unwrap();
            assert!(!sample.is_unchanged(&file).unwrap(), "{start} {count}");
            file.write_all_at(&vec![7; count], start as u64).unwrap();
            assert!(sample.is_unchanged(&file).unwrap());
        }
        file.set_len(len as u64 + 5).unwrap();
        assert!(sample.is_unchanged(&file).unwrap());
        file.set_len(len as u64 - 5).unwrap();
        assert!(sample.is_unchanged(&file).is_err());
    }

    #[test]
    fn step_ends_with_its_budget() {
        let file = file(1 << 20);
        let mut sample = FileSample::new(0..1 << 20);
        let mut budget = SampleBudget {
            blocks: 5,
            blocking: 5,
        };
        sample.extend(&file, &mut budget).unwrap();
        assert_eq!((sample.taken, budget.blocks), (5, 0));
        assert!(!sample.is_complete() && !sample.is_empty());
    }
}
