//! Things that only one call at a time may work on: a file, a repository, whatever a skill's manifest names.
//!
//! Invariants: two calls that name the same thing never overlap, whichever skills they are of; a call that works on
//! several takes them in one order, so that no two wait for each other; what nobody holds or waits for is forgotten.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use supervisors::{Admission, Permit};
use tokio::time::Instant;

use crate::domain::capability::CapabilityKind;
use crate::domain::json::canonical;
use crate::domain::skill::SkillManifest;

use super::needs;

/// Names one thing.
type Key = Arc<str>;

/// What a call works on, in the order in which it is taken.
pub(super) fn of(manifest: &SkillManifest, arguments: &Value, workspace: &Path) -> BTreeSet<Key> {
    let name = manifest.name.as_str();
    let place = workspace.display();
    let file = |argument: &str| -> Option<Key> {
        let path = arguments.get(argument)?.as_str()?;
        let led = needs::under(CapabilityKind::FsWrite, path, workspace);
        Some(format!("file {place} {}", led.scope()).into())
    };
    let built_in: Vec<Option<Key>> = match name {
        "fs.write" | "fs.patch" => vec![file("path")],
        "fs.move" => vec![file("from"), file("to")],
        "git.commit" => vec![Some(format!("repository {place}").into())],
        _ => Vec::new(),
    };
    let declared = manifest.resources.iter().map(|argument| {
        let value = match arguments.get(&**argument)? {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            other => canonical(other),
        };
        Some(format!("{argument} {value}").into())
    });
    built_in.into_iter().chain(declared).flatten().collect()
}

/// Who holds what; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Resources(Arc<Mutex<HashMap<Key, Arc<Admission>>>>);

/// Things that a call holds; dropping it gives them back.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<One>);

#[derive(Debug)]
struct One {
    key: Key,
    /// Dropped first: whoever looks next must see it free.
    permit: Option<Permit>,
    admission: Option<Arc<Admission>>,
    all: Resources,
}

impl Drop for One {
    fn drop(&mut self) {
        self.permit = None;
        self.admission = None;
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits has a share of it.
        if all.get(&self.key).is_some_and(|kept| Arc::strong_count(kept) == 1) {
            all.remove(&self.key);
        }
    }
}

impl Resources {
    /// Takes all of them, one after the other; none when they are not free in time.
    ///
    /// **Cancel**: what was taken so far is given back.
    pub(super) async fn take(&self, keys: BTreeSet<Key>, limit: Duration) -> Option<Held> {
        let until = Instant::now() + limit;
        let mut held = Held::default();
        for key in keys {
            let admission = {
                let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = all.entry(key.clone()).or_insert_with(|| Arc::new(Admission::new(1)));
                Arc::clone(kept)
            };
            // From here on its end forgets the key, also when the wait is dropped.
            held.0.push(One {
                key,
                permit: None,
                admission: Some(Arc::clone(&admission)),
                all: self.clone(),
            });
            let left = until.saturating_duration_since(Instant::now());
            let permit = admission.admit(left).await.ok();
            drop(admission);
            let one = held.0.last_mut().expect("pushed just now");
            one.permit = Some(permit?);
        }
        Some(held)
    }

    /// How many things are held or waited for.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::effect::EffectClass;
    use crate::skills::declare::Declaration;

    fn manifest(name: &'static str, resources: &[&str]) -> SkillManifest {
        let declared = Declaration {
            name,
            description: "",
            class: EffectClass::Once,
            timeout_ms: 1,
            concurrency: 1,
            properties: json!({}),
            required: &[],
            examples: json!([]),
        };
        SkillManifest {
            resources: resources.iter().map(|name| (*name).into()).collect(),
            ..declared.manifest()
        }
    }

    #[test]
    fn a_call_works_on_what_its_arguments_name() {
        let folder = tempfile::tempdir().expect("folder");
        let work = folder.path().canonicalize().expect("there");
        std::fs::write(work.join("a"), "x").expect("written");
        std::os::unix::fs::symlink("a", work.join("link")).expect("linked");
        let check = |manifest: &SkillManifest, arguments: Value, expected: &[&str]| {
            let keys: Vec<String> = of(manifest, &arguments, &work)
                .iter()
                .map(ToString::to_string)
                .collect();
            let place = work.display().to_string();
            let expected: Vec<String> = expected.iter().map(|key| key.replace("WORK", &place)).collect();
            assert_eq!(keys, expected, "{} {arguments}", manifest.name);
        };
        check(&manifest("fs.write", &[]), json!({"path": "./a"}), &["file WORK a"]);
        check(&manifest("fs.patch", &[]), json!({"path": "link"}), &["file WORK a"]);
        check(
            &manifest("fs.move", &[]),
            json!({"from": "b", "to": "a"}),
            &["file WORK a", "file WORK b"],
        );
        check(&manifest("fs.read", &[]), json!({"path": "a"}), &[]);
        check(&manifest("git.commit", &[]), json!({}), &["repository WORK"]);
        let deploy = manifest("deploy", &["environment"]);
        check(&deploy, json!({"environment": "prod"}), &["environment prod"]);
        check(
            &deploy,
            json!({"environment": {"b": 1, "a": 2}}),
            &["environment {\"a\":2,\"b\":1}"],
        );
        check(&deploy, json!({}), &[]);
    }

    #[tokio::test]
    async fn one_holds_a_thing_at_a_time_and_nothing_is_kept_afterwards() {
        let resources = Resources::default();
        let keys = |names: &[&str]| -> BTreeSet<Key> { names.iter().map(|name| Key::from(*name)).collect() };
        let long = Duration::from_secs(60);
        let first = resources.take(keys(&["a", "b"]), long).await.expect("free");
        assert!(
            resources
                .take(keys(&["b", "c"]), Duration::from_millis(20))
                .await
                .is_none(),
            "held"
        );
        let other = resources.take(keys(&["c"]), long).await.expect("given back");
        let waits = resources.take(keys(&["a"]), long);
        tokio::pin!(waits);
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(first);
        let second = waits.await.expect("free now");
        drop((second, other));
        let dropped = resources.take(keys(&["d"]), long).await;
        let waiter = resources.take(keys(&["d"]), long);
        {
            tokio::pin!(waiter);
            assert!(futures_util::poll!(&mut waiter).is_pending());
        }
        drop(dropped);
        assert_eq!(resources.len(), 0, "nothing is kept");
    }
}
