//! Making the declared checks of a step. They decide success; what the model says of itself does not.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use cap_std::fs::Dir;
use serde_json::Value;

use crate::agents::handoff::compile;
use crate::domain::approval::{Approval, ApprovalRules};
use crate::domain::capability::{CapabilitySet, common, effective};
use crate::domain::check::{CHECK_ORDINALS, Check, CheckReport, CheckTarget};
use crate::domain::code;
use crate::domain::effect::EffectKey;
use crate::domain::fact::Attempt;
use crate::domain::failure::FailureClass;
use crate::domain::id::RunId;
use crate::domain::name::{AgentName, SkillName};
use crate::domain::skill::CallOutcome;
use crate::domain::text::preview;
use crate::domain::time::UtcMillis;
use crate::runtime::folder::open_without_links;
use crate::skills::handle::SkillsHandle;
use crate::skills::skill::CallOrder;

use super::check_call::{COMMAND_SKILL, CheckCall, Commanded, Journal, command_arguments};

/// Bytes of a file that a regular expression looks at.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A file system's clock may lag behind the process's by a tick; a file this much older still counts as fresh.
const CLOCK_SLACK_MS: u64 = 20;
/// Longest wait of a command for its turn, beside its own time.
const TURN_MAX: Duration = Duration::from_secs(600);

/// What the checks of one attempt look at.
#[derive(Clone)]
pub struct Checking {
    /// The run.
    pub run: RunId,
    /// The attempt.
    pub attempt: Attempt,
    /// The folder of the run.
    pub workspace: Arc<Path>,
    /// The output.
    pub output: Arc<Value>,
    /// The exit code of the last program of the attempt.
    pub exit_code: Option<i32>,
    /// Runs commands.
    pub skills: SkillsHandle,
    /// Who has to agree to a command.
    pub approvals: Arc<ApprovalRules>,
    /// Whose work it is; none for a step done by a skill.
    pub agent: Option<AgentName>,
    /// What a command may touch: what each of these allows.
    pub bounds: Vec<CapabilitySet>,
    /// Where the commands are on record.
    pub journal: Journal,
}

/// How the checks of an attempt ended.
#[derive(Debug)]
pub enum ChecksEnd {
    /// All were made.
    Made(Vec<CheckReport>),
    /// Nobody knows how far a command came that may not be run again.
    Unknown(Arc<str>),
    /// One could not be made, through no fault of the work.
    NotMade(FailureClass, String),
}

impl Checking {
    /// Makes all checks, in order; each is made whether or not the one before held.
    ///
    /// With each comes the time from which a file counts as fresh.
    pub async fn make(self, checks: Vec<(Check, UtcMillis)>) -> ChecksEnd {
        let mut reports = Vec::with_capacity(checks.len());
        for (index, (check, since)) in checks.into_iter().enumerate() {
            let index = index as u32;
            let (passed, evidence) = match check {
                Check::Command {
                    argv,
                    equals,
                    timeout_ms,
                    repeatable,
                } => match self.command(index, &argv, timeout_ms, repeatable).await {
                    Commanded::Ended(outcome) => judge(&outcome, equals),
                    Commanded::Refused(reason) => (false, reason),
                    Commanded::Unknown(evidence) => {
                        let command = argv.join(" ");
                        return ChecksEnd::Unknown(format!("check {index}, `{command}`: {evidence}").into());
                    }
                    Commanded::NotMade(class, reason) => return ChecksEnd::NotMade(class, reason),
                },
                other => {
                    let this = self.clone();
                    // Files may be large and regular expressions slow.
                    match tokio::task::spawn_blocking(move || this.quick(&other, since)).await {
                        Ok(found) => found,
                        Err(error) => (false, format!("the check crashed: {error}")),
                    }
                }
            };
            reports.push(CheckReport {
                index,
                passed,
                evidence: preview(&evidence, 400).into(),
            });
        }
        ChecksEnd::Made(reports)
    }

    fn quick(&self, check: &Check, since: UtcMillis) -> (bool, String) {
        match check {
            Check::ExitCode { equals } => match self.last_exit_code() {
                Some(code) => (code == i64::from(*equals), format!("exit code {code}")),
                None => (false, "no program was run".to_owned()),
            },
            Check::File { path, fresh, bytes_min } => self.file(path, fresh.then_some(since), *bytes_min),
            Check::Regex {
                target,
                pattern,
                absent,
            } => self.regex(target, pattern, *absent),
            Check::Schema { pointer, schema } => self.schema(pointer, schema),
            Check::Command { .. } => (false, "a command is not made here".to_owned()),
        }
    }

    /// The code of the attempt's last program; for a step done by a skill it may be in its output.
    fn last_exit_code(&self) -> Option<i64> {
        let in_output = || match &*self.output {
            Value::String(text) => serde_json::from_str::<Value>(text).ok()?.get("exit_code")?.as_i64(),
            value => value.get("exit_code")?.as_i64(),
        };
        self.exit_code.map(i64::from).or_else(in_output)
    }

    fn folder(&self) -> Result<Dir, String> {
        let opened = open_without_links(&self.workspace);
        let opened = opened.map_err(|error| format!("cannot open the workspace: {error}"))?;
        Ok(Dir::from_std_file(opened.into()))
    }

    fn file(&self, path: &str, since: Option<UtcMillis>, bytes_min: u64) -> (bool, String) {
        let found = self
            .folder()
            .and_then(|folder| folder.metadata(path).map_err(|error| format!("{path}: {error}")));
        let metadata = match found {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return (false, format!("{path} is not a file")),
            Err(reason) => return (false, reason),
        };
        if metadata.len() < bytes_min {
            return (
                false,
                format!("{path} has {} bytes, fewer than {bytes_min}", metadata.len()),
            );
        }
        if let Some(since) = since {
            let modified = metadata.modified().ok().map(cap_std::time::SystemTime::into_std);
            let modified = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let modified = UtcMillis(modified.map_or(0, |since| since.as_millis() as u64));
            if modified.plus_ms(CLOCK_SLACK_MS) < since {
                let age = since.since(modified);
                return (false, format!("{path} was last written {age} ms before the work began"));
            }
        }
        (true, format!("{path} has {} bytes", metadata.len()))
    }

    fn text_of(&self, target: &CheckTarget) -> Result<String, String> {
        match target {
            CheckTarget::File(path) => {
                let folder = self.folder()?;
                let size = folder
                    .metadata(&**path)
                    .map_err(|error| format!("{path}: {error}"))?
                    .len();
                if size > FILE_BYTES_MAX {
                    return Err(format!("{path} has {size} bytes, more than {FILE_BYTES_MAX}"));
                }
                let bytes = folder.read(&**path).map_err(|error| format!("{path}: {error}"))?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            CheckTarget::Output(pointer) => match self.output.pointer(pointer) {
                Some(Value::String(text)) => Ok(text.clone()),
                Some(value) => Ok(value.to_string()),
                None => Err(format!("the output has nothing at {pointer}")),
            },
        }
    }

    fn regex(&self, target: &CheckTarget, pattern: &str, absent: bool) -> (bool, String) {
        let expression = match regex::RegexBuilder::new(pattern)
            .multi_line(true)
            .size_limit(1 << 20)
            .build()
        {
            Ok(expression) => expression,
            Err(error) => return (false, format!("the expression cannot be used: {error}")),
        };
        match self.text_of(target) {
            Err(reason) => (false, reason),
            Ok(text) => match expression.find(&text) {
                Some(found) => (!absent, format!("found `{}`", preview(found.as_str(), 80))),
                None => (absent, format!("no match in {} bytes", text.len())),
            },
        }
    }

    fn schema(&self, pointer: &str, schema: &Arc<Value>) -> (bool, String) {
        let Some(value) = self.output.pointer(pointer) else {
            return (false, format!("the output has nothing at {pointer}"));
        };
        match compile(schema) {
            Err(reason) => (false, reason),
            Ok(validator) => match validator.validate(value) {
                Ok(()) => (true, "it matches".to_owned()),
                Err(error) if error.instance_path().as_str().is_empty() => (false, error.to_string()),
                Err(error) => (false, format!("{}: {error}", error.instance_path())),
            },
        }
    }

    async fn command(&self, index: u32, argv: &[Arc<str>], timeout_ms: u64, repeatable: bool) -> Commanded {
        let name = SkillName::new(COMMAND_SKILL).expect("a valid name");
        let refused = |reason: &str| Commanded::Refused(reason.to_owned());
        let catalogue = self.skills.catalogue();
        // A check is declared by the plan, which a model may have made: it opens no way around the policy.
        let Some(default) = catalogue.manifest(&name).map(|of| of.approval) else {
            return refused("this installation runs no commands");
        };
        match self.approvals.decide(self.agent.as_ref(), &name, default) {
            Approval::Auto => {}
            Approval::Ask => {
                return refused(
                    "not run: a person must agree to each call of exec.run, and checks ask nobody; make the command a \
                     call of the step and check its exit code",
                );
            }
            Approval::Deny => return refused("not run: the operator does not allow exec.run here"),
        }
        let arguments = command_arguments(argv, timeout_ms);
        let needs = self.skills.needs(&name, &arguments, &self.workspace);
        let bounds: Vec<&CapabilitySet> = self.bounds.iter().chain([&needs]).collect();
        let granted = effective(&bounds);
        let missing: Vec<String> = needs.missing_from(&granted).map(ToString::to_string).collect();
        if !missing.is_empty() {
            let code = code::CAPABILITY_DENIED.id;
            return Commanded::Refused(format!("not run: {} is not granted here [{code}]", missing.join(", ")));
        }
        let ordinal = CHECK_ORDINALS + index;
        let order = CallOrder {
            key: EffectKey::derive(self.run, &self.attempt.step, self.attempt.number, ordinal),
            run: self.run,
            step: self.attempt.step.clone(),
            arguments,
            workspace: self.workspace.clone(),
            granted: common(&self.bounds).map(Arc::new),
            agreed: false,
            deadline: Duration::from_millis(timeout_ms).saturating_add(TURN_MAX),
        };
        let call = CheckCall {
            attempt: &self.attempt,
            ordinal,
            skill: name,
            order,
            repeatable,
        };
        call.make(&self.skills, &self.journal).await
    }
}

/// Whether a command ended as it should, and what was seen.
fn judge(outcome: &CallOutcome, equals: i32) -> (bool, String) {
    match outcome.exit_code {
        Some(code) => (code == equals, format!("exit code {code}: {}", outcome.content)),
        None => (false, outcome.content.to_string()),
    }
}
