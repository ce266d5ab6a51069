//! What memory tells a session before its first turn, as a fact.

use std::sync::Arc;
use std::time::Duration;

use crate::agents::order::{OrderWork, SessionOrder};
use crate::agents::parts::AgentsParts;
use crate::domain::agent::AgentDefinition;
use crate::domain::fact::Fact;
use crate::domain::fault::in_one_line;
use crate::memory::question::FoundEntry;
use crate::memory::recall::{Recall, recall};
use crate::runtime::clock::rfc3339;

/// The longest wait for memory. The work does not depend on it: without an answer it begins without.
const RECALL_MAX: Duration = Duration::from_secs(2);

/// Asks memory with the task; none when it has nothing to tell, or is not asked.
pub(super) async fn recalled_for(
    parts: &AgentsParts,
    order: &SessionOrder,
    definition: Option<&AgentDefinition>,
) -> Option<Fact> {
    let (OrderWork::Agent { handoff, .. }, Some(definition)) = (&order.work, definition) else {
        return None;
    };
    if definition.memory_tokens == 0 {
        return None;
    }
    let wanted = Recall {
        project: order.workspace.display().to_string().into(),
        task: handoff.task.clone(),
        run: order.run,
        tokens_max: definition.memory_tokens,
    };
    let found = match recall(&parts.memory, &parts.store, &wanted, RECALL_MAX).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(run = %order.run, error = %in_one_line(&error), "memory told nothing");
            return None;
        }
    };
    if found.is_empty() {
        return None;
    }
    parts.memory.note_used(&found);
    let name = |found: &FoundEntry| {
        let entry = &found.entry;
        Arc::from(format!("{}#{}@{}", found.shard.scope.as_str(), entry.id, entry.version))
    };
    Some(Fact::MemoryRecalled {
        attempt: order.attempt.clone(),
        entries: found.iter().map(name).collect(),
        lines: found.iter().map(|found| Arc::from(line(found))).collect(),
    })
}

/// One line: where it comes from, then the text.
fn line(found: &FoundEntry) -> String {
    let entry = &found.entry;
    let mut about: Vec<&str> = vec![found.shard.scope.as_str()];
    about.extend(entry.key.as_deref());
    about.extend(entry.tags.iter().map(|tag| &**tag));
    about.extend(entry.sources.last().map(|source| &*source.by));
    let day = rfc3339(entry.updated_at);
    about.extend(day.get(..10));
    // No line of it can be taken for a section of the order.
    let text = entry.text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("[{}] {text}", about.join(", "))
}
