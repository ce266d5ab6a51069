//! What is done while it is killed: the skills that leave marks in the world, and graphs of them.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::mcp::stage::SERVER;
use crate::support::daemon::TestHome;

/// What a step does, and with it what is promised of its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A command that may be made again at any time.
    Read,
    /// A command that itself does nothing when it sees a key again.
    Idempotent,
    /// A command that can be asked.
    Probe,
    /// A command that must not be repeated.
    Once,
    /// A tool of a server, which must not be repeated and leaves no report anywhere.
    Tool,
    /// A file, by the built-in skill.
    Write,
    /// A memory entry of its own: a change of the store.
    Memory,
    /// A memory entry that all runs share.
    MemoryShared,
    /// An agent that writes a file: turns with a model around a call.
    Agent,
}

/// The memory key that all runs share.
pub const SHARED_KEY: &str = "shared";

impl Kind {
    const EACH: [Self; 9] = [
        Self::Read,
        Self::Idempotent,
        Self::Probe,
        Self::Once,
        Self::Tool,
        Self::Write,
        Self::Memory,
        Self::MemoryShared,
        Self::Agent,
    ];

    /// Whether its effect is a line of the ledger.
    pub fn is_in_ledger(self) -> bool {
        matches!(self, Self::Idempotent | Self::Probe | Self::Once | Self::Tool)
    }
}

/// One step of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct StepPlan {
    /// Its id in the plan.
    pub id: String,
    /// What it does.
    pub kind: Kind,
    /// The steps whose success it needs.
    pub needs: Vec<String>,
}

/// One submission.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Unique in its home; the run's task and part of its names.
    pub tag: String,
    /// The graph.
    pub steps: Vec<StepPlan>,
}

impl Scenario {
    /// One run with a step of every kind, in three branches that join: the same each time.
    pub fn scripted(tag: &str) -> Self {
        let step = |id: &str, kind, needs: &[&str]| StepPlan {
            id: id.to_owned(),
            kind,
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        };
        Self {
            tag: tag.to_owned(),
            steps: vec![
                step("look", Kind::Read, &[]),
                step("order", Kind::Idempotent, &["look"]),
                step("pay", Kind::Once, &["order"]),
                step("ship", Kind::Probe, &["look"]),
                step("file", Kind::Write, &["look"]),
                step("note", Kind::Memory, &["file"]),
                step("count", Kind::MemoryShared, &["ship", "note"]),
                step("tell", Kind::Agent, &["note"]),
                step("close", Kind::Idempotent, &["pay", "count", "tell"]),
            ],
        }
    }

    /// A run with a step of every kind and up to three more, in a random order with random needs.
    pub fn random(tag: String, random: &mut Rng) -> Self {
        let mut kinds = Kind::EACH.to_vec();
        for _ in 0..random.usize(0..3) {
            kinds.push([Kind::Once, Kind::Idempotent, Kind::Probe, Kind::Memory][random.usize(0..4)]);
        }
        random.shuffle(&mut kinds);
        let mut steps: Vec<StepPlan> = Vec::new();
        for (at, kind) in kinds.into_iter().enumerate() {
            let mut needs: Vec<String> = Vec::new();
            // The first two are roots; the others hang on one or two that are there.
            for _ in 0..if at < 2 { 0 } else { random.usize(1..=2) } {
                let need = format!("s{}", random.usize(0..at));
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
            steps.push(StepPlan {
                id: format!("s{at}"),
                kind,
                needs,
            });
        }
        // The last step joins every loose end, so that the run's success means that all of it was done.
        let is_needed = |id: &str| steps.iter().any(|step| step.needs.iter().any(|need| need == id));
        let loose = steps.iter().map(|step| step.id.clone()).filter(|id| !is_needed(id));
        let needs = loose.collect();
        steps.push(StepPlan {
            id: "join".to_owned(),
            kind: Kind::Idempotent,
            needs,
        });
        Self { tag, steps }
    }

    /// The body of its submission.
    pub fn body(&self, home: &TestHome) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(|step| self.step(step)).collect();
        let result = &self.steps.last().expect("a scenario has steps").id;
        json!({
            "task": self.tag,
            "workspace": home.workspace(),
            "deadline_ms": 900_000,
            "plan": { "goal": self.tag, "steps": steps, "result": result },
        })
    }

    fn step(&self, step: &StepPlan) -> Value {
        let skill =
            |name: &str, inputs: Value| json!({ "id": step.id, "needs": step.needs, "skill": name, "inputs": inputs });
        let memory = |key: String| {
            skill(
                "memory.put",
                json!({ "scope": "global", "key": key, "text": self.content_of(step) }),
            )
        };
        let (path, content) = (self.file_of(step), self.content_of(step));
        match step.kind {
            Kind::Read => skill("mark-read", json!({})),
            Kind::Idempotent => skill("mark-idempotent", json!({})),
            Kind::Probe => skill("mark-probe", json!({})),
            Kind::Once => skill("mark-once", json!({})),
            Kind::Tool => skill("mcp.marks.act", json!({ "how": "mark", "step": step.id })),
            Kind::Write => skill("fs.write", json!({ "path": path, "content": content })),
            Kind::Memory => memory(self.memory_key_of(step)),
            Kind::MemoryShared => memory(SHARED_KEY.to_owned()),
            Kind::Agent => json!({
                "id": step.id, "needs": step.needs, "agent": "executor", "task": format!("write {path}"),
                "inputs": { "method": "gather", "action": { "do": "write", "path": path, "content": content } },
            }),
        }
    }

    /// The file that a step of kind `Write` or `Agent` leaves in the workspace.
    pub fn file_of(&self, step: &StepPlan) -> String {
        format!("{}-{}.txt", self.tag, step.id)
    }

    /// What it holds, without a line's end.
    pub fn content_of(&self, step: &StepPlan) -> String {
        format!("{} of {}", step.id, self.tag)
    }

    /// The key of a step of kind `Memory`.
    pub fn memory_key_of(&self, step: &StepPlan) -> String {
        format!("{}/{}", self.tag, step.id)
    }
}

/// One line for each effect, whole because it is one small write to a file opened for appending. `attempts` is what
/// the outside world saw of calls, `ledger` what it did about them.
const MARK: &str =
    r#"mark() { printf '%s %s %s %s\n' "$OPENCLAW_RUN" "$OPENCLAW_STEP" "$OPENCLAW_EFFECT_KEY" "$1" >> "$0/$2"; }"#;

/// The same, in which a person has to agree to what cannot be repeated and to files.
pub fn asking_home() -> TestHome {
    let home = home();
    let file = home.path().join("openclaw.toml");
    let text = std::fs::read_to_string(&file).expect("configuration");
    let rules = "[agent]\napprovals = { mark-once = \"ask\", \"fs.*\" = \"ask\" }\n";
    std::fs::write(&file, format!("{rules}{text}")).expect("configuration");
    home
}

/// A home with the skills of all classes; its ledger lies beside it.
pub fn home() -> TestHome {
    let home = TestHome::new("").with_own_program();
    let folder = home.ledger_folder();
    std::fs::create_dir_all(&folder).expect("a folder for the ledger");
    for file in ["ledger", "attempts"] {
        std::fs::write(folder.join(file), "").expect("an empty ledger");
    }
    let command = |class: &str, script: &str| {
        let argv = json!(["sh", "-c", format!("{MARK}; {script}"), folder]);
        format!("[skills.commands.mark-{class}]\nclass = \"{class}\"\nargv = {argv}\n")
    };
    let seen = r#"grep -qF "$OPENCLAW_EFFECT_KEY" "$0/ledger""#;
    let probe = json!(["sh", "-c", seen, folder]);
    let config = [
        format!("[log]\nlevel = \"warn\"\n[skills]\nwritePaths = {}\n", json!([folder])),
        command("read", "mark read attempts; wc -l < \"$0/ledger\""),
        command(
            "idempotent",
            &format!("mark idempotent attempts; {seen} || mark idempotent ledger"),
        ),
        command("once", "mark once attempts; mark once ledger"),
        command("probe", "mark probe attempts; mark probe ledger"),
        format!("probe = {probe}\n"),
        // It names its marks by the effect's key alone: nobody tells a server of runs.
        format!(
            "[mcp.marks]\ncommand = {}\nwritePaths = {}\n",
            json!(["/usr/bin/python3", SERVER, "2025-11-25", folder]),
            json!([folder])
        ),
    ];
    std::fs::write(home.path().join("openclaw.toml"), config.join("\n")).expect("configuration");
    home
}
