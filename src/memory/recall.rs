//! What memory tells an agent before its first turn: the best entries of its project and of the global tier that have
//! to do with the task and fit into a number of tokens.
//!
//! Refuses to know: agents, prompts. Invariants: only the scopes that are named are read; nothing of the run itself is
//! told back to it; what has little to do with the task is left out, however little there is.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::id::RunId;
use crate::domain::memory::{MemoryScope, ShardName};
use crate::domain::text::cut;
use crate::storage::store::Store;

use super::handle::{MemoryError, MemoryHandle};
use super::question::{FoundEntry, Question, tokens_of_bytes};
use super::ranking::pack::pack;

/// Entries at most.
pub const RECALLED_MAX: usize = 8;
/// Bytes of a line beside the entry's text and the words about it: brackets, the day, the mark of a list.
const LINE_BYTES: usize = 24;
/// Bytes of the task that are asked with.
const ASKED_BYTES: usize = 2_000;
/// The part of the question's words, by their rarity, that an entry has to have …
const COVERED_MIN: f32 = 0.25;
/// … unless it is as near in meaning as this.
const COSINE_MIN: f32 = 0.5;
/// What a score of the global tier counts beside one of the project.
const GLOBAL_WEIGHT: f32 = 0.9;

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// The project's name space.
    pub project: Arc<str>,
    /// The task.
    pub task: Arc<str>,
    /// The run that asks: what it kept itself is not told.
    pub run: RunId,
    /// Tokens of all that is told.
    pub tokens_max: u64,
}

/// Asks both tiers. A tier without entries costs one look into the store.
pub async fn recall(
    memory: &MemoryHandle,
    store: &Store,
    wanted: &Recall,
    deadline: Duration,
) -> Result<Vec<FoundEntry>, MemoryError> {
    let mut found = Vec::new();
    for (scope, namespace) in [
        (MemoryScope::Project, wanted.project.clone()),
        (MemoryScope::Global, "".into()),
    ] {
        let shard = ShardName { scope, namespace };
        let figures = store.memory_figures(&shard);
        if figures.map_err(|error| MemoryError::Store(Arc::new(error)))?.live == 0 {
            continue;
        }
        let question = Question {
            limit: RECALLED_MAX * 2,
            tokens_max: Some(wanted.tokens_max),
            ..Question::new(cut(&wanted.task, ASKED_BYTES))
        };
        found.extend(memory.query(&shard, question, deadline).await?);
    }
    Ok(choose(found, wanted))
}

/// The best of what was found in all tiers, within the limits.
fn choose(mut found: Vec<FoundEntry>, wanted: &Recall) -> Vec<FoundEntry> {
    found.retain(|found| {
        let is_own = found.entry.sources.iter().any(|source| source.run == Some(wanted.run));
        !is_own && (found.parts.covered >= COVERED_MIN || found.parts.cosine >= COSINE_MIN)
    });
    let score = |found: &FoundEntry| match found.shard.scope {
        MemoryScope::Global => found.score * GLOBAL_WEIGHT,
        MemoryScope::Project | MemoryScope::Session => found.score,
    };
    found.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let tokens: Vec<u64> = found.iter().map(line_tokens).collect();
    let taken = pack(&tokens, wanted.tokens_max, RECALLED_MAX);
    let mut at = 0;
    found.retain(|_| {
        at += 1;
        taken.binary_search(&(at - 1)).is_ok()
    });
    found
}

/// Tokens of all that is told of an entry: where it comes from, its key and tags, and its text.
fn line_tokens(found: &FoundEntry) -> u64 {
    let entry = &found.entry;
    let about = entry.tags.iter().chain(&entry.key);
    let about = about.chain(entry.sources.last().map(|source| &source.by));
    let bytes: usize = about.map(|word| word.len() + 2).sum();
    tokens_of_bytes(LINE_BYTES + found.shard.scope.as_str().len() + bytes + entry.text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::memory::{MemoryEntry, MemorySource, MemoryState};
    use crate::domain::time::UtcMillis;
    use crate::memory::index::signals::Parts;

    fn entry(id: u64, scope: MemoryScope, score: f32, covered: f32, run: Option<RunId>, bytes: usize) -> FoundEntry {
        let now = UtcMillis(1);
        FoundEntry {
            shard: ShardName {
                scope,
                namespace: "".into(),
            },
            entry: MemoryEntry {
                id,
                key: None,
                text: "x".repeat(bytes).into(),
                tags: Vec::new(),
                sources: vec![MemorySource { by: "a".into(), run }],
                importance: 50,
                created_at: now,
                updated_at: now,
                used_at: now,
                uses: 0,
                expires_at: None,
                version: 1,
                previous: None,
                state: MemoryState::Live,
            },
            score,
            parts: Parts {
                covered,
                ..Parts::default()
            },
        }
    }

    #[test]
    fn the_best_of_both_tiers_that_have_to_do_with_the_task_are_told() {
        let own = RunId::new(UtcMillis(1), 7);
        let wanted = Recall {
            project: "/p".into(),
            task: "t".into(),
            run: own,
            tokens_max: 400,
        };
        let check = |found: Vec<FoundEntry>, expected: &[u64]| {
            let told: Vec<u64> = choose(found, &wanted).iter().map(|found| found.entry.id).collect();
            assert_eq!(told, expected);
        };
        let project = |id, score, covered| entry(id, MemoryScope::Project, score, covered, None, 40);
        check(vec![project(1, 1.0, 0.5), project(2, 2.0, 0.5)], &[2, 1]);
        check(vec![project(1, 1.0, 0.1), project(2, 0.5, 0.3)], &[2]);
        let global = entry(3, MemoryScope::Global, 1.05, 0.5, None, 40);
        check(vec![global, project(1, 1.0, 0.5)], &[1, 3]);
        check(vec![entry(4, MemoryScope::Project, 1.0, 1.0, Some(own), 40)], &[]);
        let long = entry(5, MemoryScope::Project, 3.0, 1.0, None, 4_000);
        check(vec![long, project(1, 1.0, 0.5)], &[1]);
        // All of a line counts: with such tags one is told and not eight.
        let tagged = (0..8).map(|id| {
            let mut found = project(id, 1.0, 1.0);
            found.entry.tags = (0..16).map(|tag| format!("{tag:064}").into()).collect();
            found
        });
        check(tagged.collect(), &[0]);
        let many = (0..20).map(|id| project(id, 1.0, 1.0)).collect();
        check(many, &[0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
