//! What an index needs to follow the store: the changes since it last looked, or everything.
//!
//! Invariants: one read transaction, so that what is told is one state of the store; entries are told one by one and
//! borrowed from the store's pages, so that a large shard costs no more memory than its index.

use redb::{ReadTransaction, ReadableDatabase};
use smallvec::SmallVec;

use crate::domain::id::RunId;
use crate::domain::memory::ShardName;
use crate::domain::time::UtcMillis;

use super::codec;
use super::error::{StoreError, step};
use super::memory_read::shard_record;
use super::memory_row::{EntryRow, embedded_row, entry_row, number_of};
use super::record::memory::{EntryView, VectorView};
use super::store::Store;
use super::table::{MEMORY_CHANGES, MEMORY_EMBEDDED, MEMORY_ENTRIES, MEMORY_VECTORS};

/// A live entry as an index takes it in.
#[derive(Debug)]
pub struct Seen<'s> {
    /// Its number.
    pub id: u64,
    /// Its key, if any.
    pub key: Option<&'s str>,
    /// The text.
    pub text: &'s str,
    /// Words to filter by.
    pub tags: &'s [&'s str],
    /// Who said it, the first one first.
    pub sources: &'s [&'s str],
    /// The run in which it was said first, if any.
    pub run: Option<RunId>,
    /// 0 to 100.
    pub importance: u8,
    /// When it was first put.
    pub created_at: UtcMillis,
    /// When it was last put.
    pub updated_at: UtcMillis,
    /// When it was last used.
    pub used_at: UtcMillis,
    /// How often.
    pub uses: u64,
    /// When it ends by itself.
    pub expires_at: Option<UtcMillis>,
    /// Its vector; none when it has none, or one that cannot be read.
    pub vector: Option<SeenVector<'s>>,
}

/// A vector: value = scale × code.
#[derive(Debug, Clone, Copy)]
pub struct SeenVector<'s> {
    /// What made it.
    pub embedder: &'s str,
    /// The scale.
    pub scale: f32,
    /// One signed code a dimension, as its byte.
    pub codes: &'s [u8],
}

/// An index that follows.
pub trait Follower {
    /// What was told before is void: about so many entries come now, in the order of their numbers.
    fn begin_anew(&mut self, live: u64);

    /// This entry is so now.
    fn take(&mut self, entry: &Seen<'_>);

    /// This entry is not found any more.
    fn lose(&mut self, id: u64);
}

/// Where an index stands after following.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stand {
    /// The last change that it has.
    pub through: u64,
    /// Whether it began anew.
    pub anew: bool,
    /// Records that cannot be read; they are left out.
    pub damaged: Vec<u64>,
}

type Rows<const BYTES: usize> = redb::ReadOnlyTable<&'static [u8; BYTES], &'static [u8]>;

struct Tables {
    entries: Rows<12>,
    vectors: Rows<12>,
    /// The vectors of an embedder that is not the built-in one, and its number.
    embedded: Option<(Rows<16>, u32)>,
}

impl Tables {
    fn open(transaction: &ReadTransaction, embedder: Option<u32>) -> Result<Option<Self>, StoreError> {
        let what = "open the memory";
        let entries = match transaction.open_table(MEMORY_ENTRIES) {
            Ok(entries) => entries,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(step(what)(error)),
        };
        let vectors = transaction.open_table(MEMORY_VECTORS).map_err(step(what))?;
        let embedded = match embedder {
            Some(embedder) => Some((transaction.open_table(MEMORY_EMBEDDED).map_err(step(what))?, embedder)),
            None => None,
        };
        Ok(Some(Self {
            entries,
            vectors,
            embedded,
        }))
    }

    /// Tells one entry as it is now. A damaged record counts as none: whoever lists or verifies the shard names it.
    fn tell(&self, shard: u32, id: u64, follower: &mut impl Follower) -> Result<(), StoreError> {
        let row = entry_row(shard, id);
        let found = self.entries.get(&row).map_err(step("read an entry"))?;
        let Some(found) = found else {
            follower.lose(id);
            return Ok(());
        };
        let Some(view) = live(id, found.value()).ok().flatten() else {
            follower.lose(id);
            return Ok(());
        };
        let vector = match &self.embedded {
            Some((rows, embedder)) => rows.get(&embedded_row(&row, *embedder)),
            None => self.vectors.get(&row),
        };
        let vector = vector.map_err(step("read a vector"))?;
        told(id, &view, vector.as_ref().map(redb::AccessGuard::value), follower);
        Ok(())
    }

    fn whole(&self, shard: u32, follower: &mut impl Follower) -> Result<Vec<u64>, StoreError> {
        let (from, to) = (entry_row(shard, 0), entry_row(shard, u64::MAX));
        let rows = self.entries.range::<&EntryRow>(&from..=&to);
        let vectors = self.vectors.range::<&EntryRow>(&from..=&to);
        let mut vectors = vectors.map_err(step("read the vectors"))?;
        let mut head = None;
        let mut damaged = Vec::new();
        for row in rows.map_err(step("read the entries"))? {
            let (key, value) = row.map_err(step("read the entries"))?;
            let id = number_of(key.value());
            let Ok(view) = live(id, value.value()) else {
                damaged.push(id);
                continue;
            };
            let Some(view) = view else { continue };
            if let Some((rows, embedder)) = &self.embedded {
                let found = rows.get(&embedded_row(&entry_row(shard, id), *embedder));
                let found = found.map_err(step("read a vector"))?;
                told(id, &view, found.as_ref().map(redb::AccessGuard::value), follower);
                continue;
            }
            // Both tables are in the order of the rows, so their heads are walked together.
            while head.as_ref().is_none_or(|(number, _)| *number < id) {
                let Some(next) = vectors.next() else { break };
                let (key, value) = next.map_err(step("read the vectors"))?;
                head = Some((number_of(key.value()), value));
            }
            let own = head.as_ref().filter(|(number, _)| *number == id);
            told(id, &view, own.map(|(_, value)| value.value()), follower);
        }
        Ok(damaged)
    }
}

/// The entry of a record, none when it is not live.
fn live(id: u64, bytes: &[u8]) -> Result<Option<EntryView<'_>>, StoreError> {
    let view: EntryView<'_> = codec::decode_borrowed(|| format!("memory entry {id}"), bytes)?;
    Ok(view.is_live().then_some(view))
}

fn told(id: u64, view: &EntryView<'_>, vector: Option<&[u8]>, follower: &mut impl Follower) {
    // A damaged vector is made anew from the text.
    let vector = vector.and_then(|bytes| {
        let vector: Result<VectorView<'_>, _> = codec::decode_borrowed(|| "a vector".into(), bytes);
        vector.ok()
    });
    // Hardly any entry has more.
    let sources: SmallVec<[&str; 4]> = view.sources.iter().map(|(by, _)| *by).collect();
    follower.take(&Seen {
        id,
        key: view.key,
        text: view.text,
        tags: &view.tags,
        sources: &sources,
        run: view.sources.first().and_then(|(_, run)| *run).map(RunId::from_bytes),
        importance: view.importance,
        created_at: UtcMillis(view.created_at),
        updated_at: UtcMillis(view.updated_at),
        used_at: UtcMillis(view.used_at),
        uses: view.uses,
        expires_at: view.expires_at.map(UtcMillis),
        vector: vector.map(|vector| SeenVector {
            embedder: vector.embedder,
            scale: vector.scale,
            codes: vector.codes,
        }),
    });
}

impl Store {
    /// Tells an index that stands at change `after` what it needs to stand where the store stands; with the vectors of
    /// the embedder of this number, none stands for the built-in one.
    pub fn memory_follow(
        &self,
        name: &ShardName,
        after: u64,
        embedder: Option<u32>,
        follower: &mut impl Follower,
    ) -> Result<Stand, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(shard) = shard_record(&transaction, name)? else {
            // It was emptied and removed since.
            let anew = after > 0;
            if anew {
                follower.begin_anew(0);
            }
            return Ok(Stand {
                anew,
                ..Stand::default()
            });
        };
        let through = shard.last_change;
        let mut stand = Stand {
            through,
            ..Stand::default()
        };
        if after == through {
            return Ok(stand);
        }
        let Some(tables) = Tables::open(&transaction, embedder)? else {
            return Ok(Stand::default());
        };
        if after > 0
            && let Some(ids) = changed_after(&transaction, shard.number, after, through)?
        {
            for id in ids {
                tables.tell(shard.number, id, follower)?;
            }
            return Ok(stand);
        }
        follower.begin_anew(shard.live);
        stand.anew = true;
        stand.damaged = tables.whole(shard.number, follower)?;
        Ok(stand)
    }
}

/// The entries that changed after a place, each once, in the order of their last change; none when the log does not
/// reach back so far.
fn changed_after(
    transaction: &ReadTransaction,
    shard: u32,
    after: u64,
    through: u64,
) -> Result<Option<Vec<u64>>, StoreError> {
    let changes = transaction
        .open_table(MEMORY_CHANGES)
        .map_err(step("open the memory"))?;
    let from = entry_row(shard, after + 1);
    let to = entry_row(shard, through);
    let mut ids: Vec<u64> = Vec::new();
    let mut expected = after + 1;
    for row in changes
        .range::<&EntryRow>(&from..=&to)
        .map_err(step("read the changes"))?
    {
        let (key, value) = row.map_err(step("read the changes"))?;
        let bytes: Option<[u8; 8]> = value.value().get(1..9).and_then(|bytes| bytes.try_into().ok());
        let (Some(bytes), true) = (bytes, number_of(key.value()) == expected) else {
            return Ok(None);
        };
        expected += 1;
        ids.push(u64::from_be_bytes(bytes));
    }
    if expected != through + 1 {
        return Ok(None);
    }
    let mut seen = std::collections::HashSet::new();
    let mut once: Vec<u64> = ids.into_iter().rev().filter(|id| seen.insert(*id)).collect();
    once.reverse();
    Ok(Some(once))
}

/// Keeps what it is told.
#[cfg(test)]
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    /// The entries in order, with their uses and what made their vectors; none for one that is lost.
    pub(super) entries: Vec<(u64, Option<ToldEntry>)>,
}

/// How often an entry was used, and what made its vector.
#[cfg(test)]
pub(super) type ToldEntry = (u64, Option<String>);

#[cfg(test)]
impl Follower for Told {
    fn begin_anew(&mut self, _: u64) {
        self.entries.clear();
    }

    fn take(&mut self, entry: &Seen<'_>) {
        let embedder = entry.vector.map(|vector| vector.embedder.to_owned());
        self.entries.push((entry.id, Some((entry.uses, embedder))));
    }

    fn lose(&mut self, id: u64) {
        self.entries.push((id, None));
    }
}
