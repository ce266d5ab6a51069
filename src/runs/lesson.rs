//! What a step that failed on the way teaches later ones: what was tried, why it failed, and what worked then.
//!
//! Refuses to know: the store, other runs. Invariants: pure; a step without a failed attempt that said something about
//! the work teaches nothing; the same task of the same agent has the same key, so a newer lesson supersedes the older;
//! no secret that is known, or looks like one, is in a lesson: it is told to other agents and models.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::domain::failure::NextAttempt;
use crate::domain::handoff::Lesson;
use crate::domain::id::RunId;
use crate::domain::memory::{MemoryScope, MemorySource, ShardName};
use crate::domain::name::AgentName;
use crate::domain::text::preview;
use crate::llm::cassette::redact::Redactor;
use crate::memory::keep::Wish;

/// The tag of all lessons.
pub const LESSON_TAG: &str = "lesson";
/// More than what is put without a word, less than what a person calls important.
const LESSON_IMPORTANCE: u8 = 60;
/// Bytes of the task, of one reason, of one line that was tried and of the output.
const PART_BYTES: usize = 400;
/// Attempts that are told; the last ones know most.
const ATTEMPTS_MAX: usize = 3;
/// Lines of what was tried in one attempt.
const TRIED_MAX: usize = 4;

/// A step that has come to its end.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'s> {
    /// Its run.
    pub run: RunId,
    /// Its agent.
    pub agent: &'s AgentName,
    /// The project's name space.
    pub project: &'s str,
    /// What was to be done.
    pub task: &'s str,
    /// What its failed attempts taught.
    pub lessons: &'s [Lesson],
    /// The last attempt.
    pub attempt: u32,
    /// The output as JSON text; none when no attempt worked.
    pub output: Option<&'s str>,
}

/// What is kept of it.
pub fn lesson_of(ended: &Ended<'_>, redactor: &Redactor) -> Option<Wish> {
    // A spent budget, a passed deadline or a cancel says nothing about how the work is done.
    let lessons = ended.lessons.iter();
    let lessons: Vec<&Lesson> = lessons
        .filter(|lesson| lesson.class.next_attempt() == NextAttempt::WithLesson)
        .collect();
    if lessons.is_empty() {
        return None;
    }
    // Before anything is cut: half a key would not be known any more.
    let preview = |text: &str, bytes| preview(&redactor.text(text), bytes);
    let mut text = format!("Lesson of a task: {}", preview(ended.task, PART_BYTES));
    for lesson in &lessons[lessons.len().saturating_sub(ATTEMPTS_MAX)..] {
        let reason = preview(&lesson.reason, PART_BYTES);
        let _ = write!(
            text,
            "\nAttempt {} failed ({}): {reason}",
            lesson.attempt,
            lesson.class.as_str()
        );
        let tried = &lesson.tried[lesson.tried.len().saturating_sub(TRIED_MAX)..];
        if !tried.is_empty() {
            let tried: Vec<String> = tried.iter().map(|line| preview(line, PART_BYTES / 4)).collect();
            let _ = write!(text, "; tried: {}", tried.join("; "));
        }
    }
    match ended.output {
        Some(output) => {
            let _ = write!(
                text,
                "\nAttempt {} worked: {}",
                ended.attempt,
                preview(output, PART_BYTES)
            );
        }
        None => text.push_str("\nNo attempt worked."),
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(ended.agent.as_str().as_bytes());
    hasher.update(b"\n");
    hasher.update(ended.task.as_bytes());
    let hash = hasher.finalize().to_hex();
    Some(Wish {
        shard: ShardName {
            scope: MemoryScope::Project,
            namespace: ended.project.into(),
        },
        key: Some(Arc::from(format!("lesson-{}", &hash[..16]))),
        text: text.into(),
        tags: vec![LESSON_TAG.into()],
        source: MemorySource {
            by: format!("agent:{}", ended.agent).into(),
            run: Some(ended.run),
        },
        importance: LESSON_IMPORTANCE,
        expires_at: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureClass;
    use crate::domain::time::UtcMillis;

    #[test]
    fn a_lesson_tells_what_failed_and_what_worked_and_a_smooth_step_teaches_nothing() {
        let agent = AgentName::new("coder").expect("a name");
        let lessons = [Lesson {
            attempt: 1,
            class: FailureClass::Check,
            reason: "check 0: exit code 1".into(),
            tried: vec!["cargo test --all".into()],
        }];
        let ended = Ended {
            run: RunId::new(UtcMillis(1), 1),
            agent: &agent,
            project: "/srv/a",
            task: "Make the tests pass",
            lessons: &lessons,
            attempt: 2,
            output: Some("\"set RUST_LOG first\""),
        };
        let redactor = Redactor::new(["hunter2-hunter2"]);
        let lesson_of = |ended: &Ended<'_>| lesson_of(ended, &redactor);
        let kept = lesson_of(&ended).expect("a lesson");
        let expected = "Lesson of a task: Make the tests pass\nAttempt 1 failed (check): check 0: exit code 1; tried: \
                        cargo test --all\nAttempt 2 worked: \"set RUST_LOG first\"";
        assert_eq!(&*kept.text, expected);
        assert_eq!((&*kept.shard.namespace, &*kept.source.by), ("/srv/a", "agent:coder"));
        let failed = lesson_of(&Ended {
            output: None,
            attempt: 3,
            ..ended
        })
        .expect("a lesson");
        assert!(failed.text.ends_with("No attempt worked."), "{}", failed.text);
        assert_eq!(failed.key, kept.key, "it supersedes");
        let other = lesson_of(&Ended {
            task: "Make the build pass",
            ..ended
        })
        .expect("a lesson");
        assert_ne!(other.key, kept.key);
        assert_eq!(lesson_of(&Ended { lessons: &[], ..ended }), None);
        let spent = [Lesson {
            class: FailureClass::Budget,
            ..lessons[0].clone()
        }];
        let over_budget = Ended {
            lessons: &spent,
            output: None,
            ..ended
        };
        assert_eq!(lesson_of(&over_budget), None, "money says nothing about the work");
        let key = format!("sk-{}", "a1".repeat(20));
        let careless = [Lesson {
            reason: format!("{}401 for {key}", "x".repeat(PART_BYTES - 12)).into(),
            tried: vec!["curl -u me:hunter2-hunter2 localhost".into()],
            ..lessons[0].clone()
        }];
        let told = lesson_of(&Ended {
            task: "Log in with hunter2-hunter2",
            lessons: &careless,
            output: Some("\"hunter2-hunter2 works\""),
            ..ended
        })
        .expect("a lesson");
        assert!(
            !told.text.contains("hunter2") && !told.text.contains("sk-"),
            "{}",
            told.text
        );
        assert_eq!(told.text.matches("(secret)").count(), 3, "{}", told.text);
    }
}
