//! What of a new configuration a running daemon takes, and what waits for its next start: pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::daemon::config::Config;
use crate::daemon::config::pipeline::Pipeline;
use crate::domain::agent::AgentDefinition;
use crate::domain::schedule::definition::Schedule;

/// What differs between what is in force and the files, by the names that people use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// What is in force from now on.
    pub applied: Vec<String>,
    /// What is taken at the next start.
    pub at_restart: Vec<String>,
}

impl Changes {
    /// Whether the files say what is in force.
    pub fn is_none(&self) -> bool {
        self.applied.is_empty() && self.at_restart.is_empty()
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let list = |names: &[String]| match names {
            [] => "nothing".to_owned(),
            names => names.join(", "),
        };
        match (self.is_none(), self.at_restart.is_empty()) {
            (true, _) => "nothing has changed".to_owned(),
            (_, true) => format!("taken: {}", list(&self.applied)),
            _ => format!(
                "taken: {}; at the next start: {}",
                list(&self.applied),
                list(&self.at_restart)
            ),
        }
    }
}

/// What this process works by.
#[derive(Debug, Clone)]
pub struct InForce {
    /// Value by key, and whether a running daemon takes another one.
    settings: BTreeMap<String, (Value, bool)>,
    agents: Vec<AgentDefinition>,
    pipelines: Vec<Pipeline>,
}

fn settings_of(config: &Config) -> BTreeMap<String, (Value, bool)> {
    let settings = config.settings.iter();
    settings
        .map(|setting| (setting.name(), (setting.value.clone(), setting.key.live)))
        .collect()
}

/// Names of what only one of two lists has, or both have differently.
fn different<'of, T: 'of>(
    before: impl IntoIterator<Item = (String, &'of T)>,
    now: impl IntoIterator<Item = (String, &'of T)>,
    same: impl Fn(&T, &T) -> bool,
) -> Vec<String> {
    let mut before: BTreeMap<String, &T> = before.into_iter().collect();
    let mut names = Vec::new();
    for (name, item) in now {
        if !before.remove(&name).is_some_and(|known| same(known, item)) {
            names.push(name);
        }
    }
    names.extend(before.into_keys());
    names.sort();
    names
}

impl InForce {
    /// That of a start.
    pub fn of(config: &Config) -> Self {
        Self {
            settings: settings_of(config),
            agents: config.agents.clone(),
            pipelines: config.pipelines.clone(),
        }
    }

    /// How a configuration differs. Schedules are held against those that run now: they come and go without a reload.
    pub fn changes(&self, next: &Config, running: &[Arc<Schedule>]) -> Changes {
        let settings = settings_of(next);
        let changed = different(
            self.settings.iter().map(|(name, value)| (name.clone(), value)),
            settings.iter().map(|(name, value)| (name.clone(), value)),
            |(one, _), (other, _)| one == other,
        );
        let is_live = |name: &String| {
            let setting = settings.get(name).or_else(|| self.settings.get(name));
            setting.is_some_and(|(_, live)| *live)
        };
        let (mut applied, mut at_restart): (Vec<String>, Vec<String>) = changed.into_iter().partition(is_live);
        let agent = |agent: &AgentDefinition| format!("agents/{}", agent.name);
        applied.extend(different(
            self.agents.iter().map(|one| (agent(one), one)),
            next.agents.iter().map(|one| (agent(one), one)),
            PartialEq::eq,
        ));
        let pipeline = |pipeline: &Pipeline| format!("pipelines/{}", pipeline.name);
        let pattern = |pipeline: &Pipeline| pipeline.pattern.as_ref().map(|pattern| pattern.as_str().to_owned());
        at_restart.extend(different(
            self.pipelines.iter().map(|one| (pipeline(one), one)),
            next.pipelines.iter().map(|one| (pipeline(one), one)),
            |one, other| one.plan == other.plan && pattern(one) == pattern(other),
        ));
        let schedule = |schedule: &Schedule| format!("schedules/{}", schedule.name);
        at_restart.extend(different(
            running.iter().map(|one| (schedule(one), &**one)),
            next.schedules.iter().map(|one| (schedule(one), one)),
            PartialEq::eq,
        ));
        Changes { applied, at_restart }
    }

    /// Notes what was taken; the rest stays as it was, so that it is named again until the next start.
    pub fn take(&mut self, next: &Config) {
        let now = settings_of(next);
        self.settings
            .retain(|name, (_, is_live)| !*is_live || now.contains_key(name));
        for (name, (value, is_live)) in now {
            if is_live {
                self.settings.insert(name, (value, is_live));
            }
        }
        self.agents.clone_from(&next.agents);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::config::key::KEYS;
    use crate::daemon::config::{Home, Overrides, load};

    /// What the reloader replaces. A key of another group that says that it is live would be a promise that nobody
    /// keeps.
    const REPLACED: &[&str] = &[
        "agent.",
        "models.",
        "gateway.timeout",
        "gateway.keepalive",
        "gateway.maxBodyBytes",
        "gateway.rateLimit.",
        "gateway.routes.",
        "health.interval",
        "health.failures",
        "health.checks.",
        "log.level",
        "store.backupKeep",
    ];

    struct Files(tempfile::TempDir);

    impl Files {
        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }

        fn load(&self) -> Config {
            let home = Home::under(self.0.path());
            load(&home, &Overrides::default()).expect("good").config
        }
    }

    const SCHEDULE: &str = "cron = \"@every 1h\"\ncommand = [\"true\"]\n";
    const PLAN: &str = "goal = \"x\"\n[[steps]]\nid = \"a\"\nagent = \"executor\"\ntask = \"t\"\n";

    #[test]
    fn a_key_says_that_it_is_live_exactly_when_it_is_replaced() {
        for key in KEYS {
            let is_replaced = REPLACED.iter().any(|group| key.path.starts_with(group));
            assert_eq!(key.live, is_replaced, "{}", key.path);
        }
    }

    #[test]
    fn what_can_be_taken_is_taken_and_the_rest_is_named_until_the_next_start() {
        let files = Files(tempfile::tempdir().expect("a folder"));
        files.write("openclaw.toml", "[gateway]\nport = 9001\n[agent]\nmaxTurns = 7\n");
        let start = files.load();
        let mut in_force = InForce::of(&start);
        assert!(in_force.changes(&start, &[]).is_none());
        files.write("schedules/saved.toml", SCHEDULE);
        // Saved while the daemon works, and running since.
        let running: Vec<Arc<Schedule>> = files.load().schedules.into_iter().map(Arc::new).collect();
        let check = |in_force: &InForce, applied: &[&str], at_restart: &[&str]| {
            let found = in_force.changes(&files.load(), &running);
            let words = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            // A default of all agents changes each of them too.
            let own: Vec<String> = found
                .applied
                .iter()
                .filter(|name| !name.starts_with("agents/") || name.as_str() == "agents/poet")
                .cloned()
                .collect();
            assert_eq!((own, found.at_restart), (words(applied), words(at_restart)));
        };
        files.write("openclaw.toml", "[gateway]\nport = 9002\ntimeout = 5000\n");
        files.write("agents/poet.toml", "role = \"executor\"\n");
        let applied = ["agent.maxTurns", "gateway.timeout", "agents/poet"];
        check(&in_force, &applied, &["gateway.port"]);
        in_force.take(&files.load());
        check(&in_force, &[], &["gateway.port"]);
        files.write("openclaw.toml", "[gateway]\nport = 9001\ntimeout = 5000\n");
        std::fs::remove_file(files.0.path().join("agents/poet.toml")).expect("gone");
        check(&in_force, &["agents/poet"], &[]);
        files.write("pipelines/p.toml", PLAN);
        check(&in_force, &["agents/poet"], &["pipelines/p"]);
        files.write("schedules/saved.toml", &SCHEDULE.replace("1h", "2h"));
        files.write("schedules/other.toml", SCHEDULE);
        let wanted = ["pipelines/p", "schedules/other", "schedules/saved"];
        check(&in_force, &["agents/poet"], &wanted);
    }
}
