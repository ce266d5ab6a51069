//! The rows of the memory's tables: which bytes stand for which shard, entry, key, text, vector and time.
//!
//! Invariants: pure; numbers are written with their greatest byte first, so that rows are in the order of their numbers
//! and those of one shard lie together.

use crate::domain::memory::MemoryDue;
use crate::domain::sameness::{each_core_word, each_word};
use crate::domain::time::UtcMillis;

/// Row of an entry or vector: 4 bytes shard, 8 bytes number.
pub(super) type EntryRow = [u8; 12];

pub(super) fn entry_row(shard: u32, id: u64) -> EntryRow {
    let mut row = [0; 12];
    row[..4].copy_from_slice(&shard.to_be_bytes());
    row[4..].copy_from_slice(&id.to_be_bytes());
    row
}

/// Row of a vector that came later: the row of its entry and 4 bytes number of its embedder.
pub(super) fn embedded_row(entry: &EntryRow, embedder: u32) -> [u8; 16] {
    let mut row = [0; 16];
    row[..12].copy_from_slice(entry);
    row[12..].copy_from_slice(&embedder.to_be_bytes());
    row
}

pub(super) fn key_row(shard: u32, key: &str) -> Vec<u8> {
    let mut row = shard.to_be_bytes().to_vec();
    row.extend_from_slice(key.as_bytes());
    row
}

pub(super) fn hash_row(shard: u32, hash: [u8; 16]) -> [u8; 20] {
    let mut row = [0; 20];
    row[..4].copy_from_slice(&shard.to_be_bytes());
    row[4..].copy_from_slice(&hash);
    row
}

pub(super) fn due_row(at: UtcMillis, shard: u32, id: u64) -> [u8; 20] {
    let mut row = [0; 20];
    row[..8].copy_from_slice(&at.0.to_be_bytes());
    row[8..].copy_from_slice(&entry_row(shard, id));
    row
}

/// Hash of what two texts that may be one entry have alike: the core of their words. A text without a core ("Okay.")
/// has the hash of its words.
pub fn text_hash(text: &str) -> [u8; 16] {
    hash_of(|take| each_core_word(text, take)).unwrap_or_else(|| words_hash(text))
}

/// Hash of all words of a text; by it is found what was put before cores were compared. A text without words ("...")
/// has a hash of its letters, as it says nothing that another one could say too.
pub fn words_hash(text: &str) -> [u8; 16] {
    hash_of(|take| each_word(text, take)).unwrap_or_else(|| first(&blake3::keyed_hash(&[2; 32], text.as_bytes())))
}

/// By what a text is found whose core belongs to one that says something else; never the hash of any words.
pub(super) fn beside_hash(words: [u8; 16]) -> [u8; 16] {
    first(&blake3::keyed_hash(&[1; 32], &words))
}

/// None when there are no words.
fn hash_of(words: impl FnOnce(&mut dyn FnMut(&str))) -> Option<[u8; 16]> {
    let (mut hasher, mut has_any) = (blake3::Hasher::new(), false);
    words(&mut |word| {
        has_any = true;
        hasher.update(word.as_bytes());
        hasher.update(b" ");
    });
    has_any.then(|| first(&hasher.finalize()))
}

fn first(hash: &blake3::Hash) -> [u8; 16] {
    hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes")
}

/// The number of the entry of a row.
pub(super) fn number_of(row: &EntryRow) -> u64 {
    u64::from_be_bytes(row[4..].try_into().expect("a row ends with 8 bytes"))
}

/// The numbers of the entry and of the embedder of a row made by [`embedded_row`].
pub(super) fn read_embedded_row(row: &[u8; 16]) -> (u64, u32) {
    let id = u64::from_be_bytes(row[4..12].try_into().expect("a slice of 8 bytes"));
    (
        id,
        u32::from_be_bytes(row[12..].try_into().expect("a slice of 4 bytes")),
    )
}

pub(super) fn read_due_row(row: &[u8; 20]) -> MemoryDue {
    let word = |from: usize, to: usize| row[from..to].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    MemoryDue {
        at: UtcMillis(word(0, 8)),
        shard: word(8, 12) as u32,
        name: None,
        id: word(12, 20),
    }
}
