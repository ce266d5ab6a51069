//! The one definition of every command and flag; help texts come from the comments here.

mod care;
mod cron;
mod trust;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use super::check::parse_check;
use super::duration::{Moment, parse_moment, parse_ms};
use crate::domain::id::RunId;
use crate::domain::money::MicroUsd;
use crate::domain::name::{AgentName, ModelAlias, PackageName, ServerName, SkillName};

pub use care::{BackupCommand, HealthArguments, IncidentCommand, StoreCommand};
pub use cron::{CronAddArguments, CronCommand};
pub use trust::{AuditArguments, KeyCommand, SecretCommand, SecurityCommand, TlsCommand};

/// An operating system for AI agents that you can leave running.
#[derive(Debug, Parser)]
#[command(name = "openclaw", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print JSON for programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// Keep configuration and state under this folder [env: OPENCLAW_HOME].
    #[arg(long, global = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Address of the gateway; found by itself when the daemon runs on this home [env: OPENCLAW_URL].
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// API key; the operator's own key when not given. Other users can see flags: prefer the variable
    /// [env: OPENCLAW_KEY].
    #[arg(long, global = true, value_name = "KEY")]
    pub key: Option<String>,
    /// No colours [env: NO_COLOR].
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Show more; twice shows all.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the home: configuration, folders and a key. Harmless when it is there.
    Init(InitArguments),
    /// Set up, start, review this folder as a first task, show the result, keep serving.
    Quickstart(QuickstartArguments),
    /// Run the daemon in the foreground (this is what systemd runs).
    Start(StartArguments),
    /// Make the daemon a service of systemd, or undo that.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Stop the running daemon; accepted runs go on at the next start.
    Stop(StopArguments),
    /// End the daemon and start it again: as a service by its manager, else here in the foreground.
    Restart(StopArguments),
    /// Show the daemon's log lines, from `log.dir` or from the journal of the service.
    Logs(LogsArguments),
    /// Take no new runs; those under way go on.
    Drain(DrainArguments),
    /// Show whether the daemon runs and how it is.
    Status,
    /// Show the tree of supervised actors.
    Tree(TreeArguments),
    /// Show what the daemon does right now: its actors that are busy or in trouble, and its runs.
    Top(TopArguments),
    /// End, suspend or resume a part of the tree.
    #[command(subcommand)]
    Actor(ActorCommand),
    /// Give the daemon a task.
    Run(Box<RunArguments>),
    /// Look at runs and change their course.
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Define agents and look at them.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Look at budgets and set them.
    #[command(subcommand)]
    Budget(BudgetCommand),
    /// Check this installation and say what to do: 0 good, 1 findings, 2 something could not be checked.
    Doctor(DoctorArguments),
    /// Look at skills, add and remove packages, make one call.
    #[command(subcommand)]
    Skill(SkillCommand),
    /// Servers of the Model Context Protocol whose tools are skills.
    #[command(subcommand)]
    Mcp(McpCommand),
    /// Keep texts and find them again, by key and by meaning.
    #[command(subcommand)]
    Memory(MemoryCommand),
    /// Start work by the clock, and see what became of each slot.
    #[command(subcommand)]
    Cron(CronCommand),
    /// Make, list, rotate and revoke API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// The internal authority: issue, show, rotate and revoke certificates.
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Values that are kept sealed and named in the configuration.
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Whether nothing is open that should not be.
    #[command(subcommand)]
    Security(SecurityCommand),
    /// Show what was changed of trust and configuration; --verify checks that the log still holds.
    Audit(AuditArguments),
    /// Faults and repairs, and who has seen them.
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// Check every part of the running daemon now: 0 good, 1 findings.
    Health(HealthArguments),
    /// Make, check and restore backups.
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Look after the store.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Read and change the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// `openclaw service …`.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Write the units, make the user, switch them on.
    Install(ServiceArguments),
    /// Switch them off and remove them; configuration and state stay.
    Uninstall(ServiceArguments),
}

/// `openclaw actor …`; `openclaw tree` shows the paths.
#[derive(Debug, Subcommand)]
pub enum ActorCommand {
    /// End an actor as a crash would.
    Kill {
        /// Its path, such as root/health/checker.
        path: String,
    },
    /// Let an actor end its message, and start it again.
    Restart {
        /// Its path, such as root/health/checker.
        path: String,
    },
    /// Stop a part with everything below it until it is resumed.
    Suspend {
        /// Its path, such as root/automation.
        path: String,
    },
    /// Start what was suspended.
    Resume {
        /// Its path, such as root/automation.
        path: String,
    },
}

/// Flags of `openclaw service …`.
#[derive(Debug, Args)]
pub struct ServiceArguments {
    /// Write below this folder, as for an image, and start nothing.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// `openclaw init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// Write the gateway's address into the configuration, so that it is seen and can be edited.
    #[arg(long)]
    pub gateway: bool,
    /// Port of the gateway.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
}

/// `openclaw quickstart`.
#[derive(Debug, Args)]
pub struct QuickstartArguments {
    /// End after the task.
    #[arg(long)]
    pub once: bool,
    /// Port of the gateway, for this start only; 0 takes any free one.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
}

/// `openclaw start`.
#[derive(Debug, Args)]
pub struct StartArguments {
    /// Port of the gateway, for this start only; 0 takes any free one.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Level of the log, for this start only.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// `openclaw stop`.
#[derive(Debug, Args)]
pub struct StopArguments {
    /// How long to wait for the end, such as 30s.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_ms)]
    pub timeout: u64,
}

/// `openclaw logs`.
#[derive(Debug, Args)]
pub struct LogsArguments {
    /// Go on with new lines until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Only lines that name this agent.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<AgentName>,
    /// How many of the last lines.
    #[arg(long, short = 'n', value_name = "N", default_value = "100", value_parser = lines)]
    pub lines: usize,
}

/// Lines that are shown at once: at most a hundred thousand.
fn lines(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=100_000).contains(number));
    number.ok_or_else(|| "a whole number from 1 to 100000 is needed".to_owned())
}

/// `openclaw tree`.
#[derive(Debug, Args)]
pub struct TreeArguments {
    /// Go on with a new picture until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,
    /// How often there is a new picture.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_ms, requires = "watch")]
    pub every: u64,
}

/// `openclaw top`.
#[derive(Debug, Args)]
pub struct TopArguments {
    /// How often there is a new picture; Ctrl-C ends it.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_ms)]
    pub every: u64,
    /// One picture, and no more.
    #[arg(long)]
    pub once: bool,
    /// Actors that are shown, and runs.
    #[arg(long, short = 'n', value_name = "N", default_value = "15", value_parser = rows)]
    pub rows: usize,
}

/// Rows of a picture: at most as many runs as a page has.
fn rows(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=100).contains(number));
    number.ok_or_else(|| "a whole number from 1 to 100 is needed".to_owned())
}

/// `openclaw drain`.
#[derive(Debug, Args)]
pub struct DrainArguments {
    /// Take new runs again.
    #[arg(long)]
    pub off: bool,
}

/// `openclaw run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The task in words; `-` reads it from the standard input.
    #[arg(required = true, value_name = "TEXT")]
    pub text: Vec<String>,
    /// The agent that does it alone; without it the planner splits the task.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<AgentName>,
    /// Show the steps as they go on, then the result; the exit code is the run's outcome.
    #[arg(long, short)]
    pub follow: bool,
    /// A file or folder of the workspace that the task is about (repeatable).
    #[arg(long, value_name = "F")]
    pub file: Vec<PathBuf>,
    /// What must hold at the end (repeatable): JSON, or file:PATH[:MIN_BYTES], regex:PATH:PATTERN, exit:CODE,
    /// command:PROGRAM ARGUMENTS.
    #[allow(
        rustdoc::broken_intra_doc_links,
        reason = "the brackets mean \"optional\" in the help"
    )]
    #[arg(long, value_name = "CHECK", value_parser = parse_check)]
    pub check: Vec<Value>,
    /// What its calls may touch (repeatable), such as fs.write:out or exec:git; without it whatever its agents may.
    #[arg(long, value_name = "KIND:SCOPE")]
    pub capability: Vec<String>,
    /// The run expires after this time, such as 90s, 10m, 2h.
    #[arg(long, value_name = "TIME", value_parser = parse_ms)]
    pub deadline: Option<u64>,
    /// A model for all agents of this run.
    #[arg(long, value_name = "ALIAS")]
    pub model: Option<ModelAlias>,
    /// The folder that the run's file skills may touch; this folder when not given.
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Tokens that the run may use.
    #[arg(long, value_name = "N")]
    pub tokens_max: Option<u64>,
    /// US dollars that the run may cost, such as 0.25.
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    pub max_cost: Option<MicroUsd>,
    /// A plan document (JSON) instead of one made by the planner.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Names the submission: sent twice, it is accepted once.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Write what the models were asked and answered into this file at the run's end; follows the run.
    #[arg(long, value_name = "FILE", conflicts_with = "wait")]
    pub record: Option<PathBuf>,
    /// Answer every model request of the run from this file, which --record wrote; no model is asked.
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Wait this long for the end without showing steps, such as 30s.
    #[arg(long, value_name = "TIME", conflicts_with = "follow", value_parser = parse_ms)]
    pub wait: Option<u64>,
}

/// `openclaw runs …`.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, the newest first.
    List {
        /// Only those with this status.
        #[arg(long, value_parser = ["active", "parked", "succeeded", "failed", "cancelled", "expired", "unknown"])]
        status: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Go on where an earlier list ended.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one run with its steps and result.
    Show {
        /// The run.
        id: RunId,
        /// Its time line as well.
        #[arg(long)]
        timeline: bool,
    },
    /// Follow a run to its end; the exit code is its outcome.
    Watch {
        /// The run.
        id: RunId,
    },
    /// End a run as soon as its work has ended.
    Cancel {
        /// The run.
        id: RunId,
        /// Why, for the journal.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Write the cassette of a run that was recorded.
    Cassette {
        /// The run.
        id: RunId,
        /// The file; the standard output when not given.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Agree to a call that waits for it, or refuse it; shows what it would do.
    Approve {
        /// The run.
        id: RunId,
        /// The step; may be left out when one call waits.
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
        /// The call of the step.
        #[arg(long, value_name = "N")]
        call: Option<u32>,
        /// Say no.
        #[arg(long)]
        deny: bool,
        /// Why, or the answer to a question.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// The hash of what was shown; needed to agree, but for a person at a terminal, who is shown it and asked.
        #[arg(long, value_name = "HASH")]
        hash: Option<String>,
    },
    /// Say what became of a call when the machine cannot know; the run goes on from there.
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Resolve {
        /// The run.
        id: RunId,
        /// The step; may be left out when one call is unknown.
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
        /// The call of the step.
        #[arg(long, value_name = "N")]
        call: Option<u32>,
        /// It happened: the session goes on with the output.
        #[arg(long, group = "what")]
        happened: bool,
        /// What the call gave back.
        #[arg(long, value_name = "TEXT", conflicts_with_all = ["not_happened", "abandon"])]
        output: Option<String>,
        /// It did not happen: it is made again, under the same key.
        #[arg(long, group = "what")]
        not_happened: bool,
        /// Nobody will know: the step fails.
        #[arg(long, group = "what")]
        abandon: bool,
    },
    /// Submit an ended run again, as a new run that knows what failed.
    Retry {
        /// The run.
        id: RunId,
        /// Follow the new run.
        #[arg(long, short)]
        follow: bool,
    },
}

/// `openclaw agent …`.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Define an agent: writes agents/NAME.toml.
    Create {
        /// Its name; a role's name also gives the role.
        name: AgentName,
        /// Alias of the model that it asks.
        #[arg(long, value_name = "M")]
        model: ModelAlias,
        /// What it is for.
        #[arg(long, value_parser = ["planner", "coder", "reviewer", "debugger", "executor"])]
        role: Option<String>,
        /// A file with its prompt.
        #[arg(long, value_name = "FILE")]
        prompt_file: Option<PathBuf>,
    },
    /// List the agents.
    List,
    /// Show one agent with its prompt.
    Show {
        /// The agent.
        name: AgentName,
    },
    /// Show what agents used, how long their work took and how often it succeeded.
    Stats {
        /// One agent, with its prompts and models.
        name: Option<AgentName>,
    },
}

/// `openclaw budget …`.
#[derive(Debug, Subcommand)]
pub enum BudgetCommand {
    /// Show limits, and what is left of this UTC day.
    Show {
        /// One agent.
        agent: Option<AgentName>,
    },
    /// Set limits, of all agents or of one; the others stay.
    Set(BudgetSetArguments),
}

/// `openclaw budget set`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("limits").required(true).multiple(true)
    .args(["daily_tokens", "per_run_tokens", "daily_cost", "per_run_cost"]))]
pub struct BudgetSetArguments {
    /// Only this agent: writes agents/NAME.toml instead of openclaw.toml.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<AgentName>,
    /// Tokens of one agent per UTC day.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub daily_tokens: Option<u64>,
    /// Tokens of one agent per run.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub per_run_tokens: Option<u64>,
    /// US dollars of one agent per UTC day, such as 2.50.
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    pub daily_cost: Option<MicroUsd>,
    /// US dollars of one agent per run, such as 0.25.
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    pub per_run_cost: Option<MicroUsd>,
}

/// `openclaw doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Ask each configured model once, which may cost a few tokens, with the keys of this shell.
    #[arg(long)]
    pub models: bool,
    /// Mend what can be mended; each fix is shown before it is made.
    #[arg(long)]
    pub fix: bool,
}

/// `openclaw skill …`.
#[derive(Debug, Subcommand)]
pub enum SkillCommand {
    /// List the skills and packages of the running daemon.
    List {
        /// A folder whose packages (in its .agents/skills) are listed too, with what is wrong with them.
        #[arg(long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
    /// Show one skill or package.
    Show {
        /// Its name.
        name: String,
    },
    /// Check packages without a daemon; 1 when one cannot be used.
    Check {
        /// A folder, an archive, or a package of the home; all packages when not given.
        package: Option<String>,
        /// A folder whose packages (in its .agents/skills) are checked too.
        #[arg(long, value_name = "DIR", conflicts_with = "package")]
        workspace: Option<PathBuf>,
    },
    /// Add a package, or a changed one again: pins it by its hash in skills.lock.
    Add {
        /// A folder or an archive (.zip, .tar.gz), which is copied into the home's skills/, or a package that is there.
        package: String,
        /// What its scripts may touch (repeatable), such as exec or net:docs.rs:443, or none; when not given what an earlier
        /// `add` granted, at first nothing.
        #[arg(long, value_name = "CAPABILITY")]
        capability: Vec<String>,
    },
    /// Remove a package from skills.lock and from the home's skills/.
    Remove {
        /// The package.
        name: PackageName,
        /// Leave its files where they are.
        #[arg(long)]
        keep_files: bool,
    },
    /// Make one real call through the daemon and print what came of it.
    Call {
        /// The skill.
        name: SkillName,
        /// The arguments, a JSON object.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        args: String,
        /// The folder that it works in; this folder when not given.
        #[arg(long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
}

/// `openclaw mcp …`.
#[derive(Debug, Subcommand)]
pub enum McpCommand {
    /// Add a server to openclaw.toml; comments stay.
    Add {
        /// Its name; its tools become mcp.NAME.TOOL.
        name: ServerName,
        /// Address of a server that answers to Streamable HTTP.
        #[arg(
            long,
            value_name = "URL",
            required_unless_present = "command",
            conflicts_with = "command"
        )]
        url: Option<String>,
        /// Where its token is: ${ENV} or file:PATH.
        #[arg(long, value_name = "REFERENCE", requires = "url")]
        bearer: Option<String>,
        /// What its tools do to the world.
        #[arg(long, value_parser = ["read", "idempotent", "once"])]
        class: Option<String>,
        /// A tool to take (repeatable); all when not given.
        #[arg(long, value_name = "TOOL")]
        tool: Vec<String>,
        /// Program and arguments, after `--`.
        #[arg(last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// List the servers and how they are.
    List,
    /// Start a server, list its tools and stop it again; 1 when it does not work.
    Test {
        /// The server.
        name: ServerName,
    },
    /// Have the daemon start a server again, also one that was given up.
    Restart {
        /// The server.
        name: ServerName,
    },
}

/// Which part of the memory.
#[derive(Debug, Clone, Args)]
pub struct MemoryPart {
    /// How far entries reach.
    #[arg(long, default_value = "project", value_parser = ["session", "project", "global"])]
    pub scope: String,
    /// The project's folder; this folder when not given.
    #[arg(long, value_name = "DIR")]
    pub project: Option<PathBuf>,
    /// The session, for scope session: run and step, as in run_…/step.
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
}

/// `openclaw memory …`.
#[derive(Debug, Subcommand)]
pub enum MemoryCommand {
    /// Keep a text; under a key it takes the place of what was there.
    Put {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// The entry's key. An API key is given to this command by OPENCLAW_KEY alone.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// The text.
        #[arg(required = true, value_name = "TEXT")]
        text: Vec<String>,
        /// A word to filter by (repeatable).
        #[arg(long)]
        tag: Vec<String>,
        /// 0 to 100.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
        importance: u8,
        /// Where it comes from: file:, run:, step:, agent: or person: and a name; you when not given.
        #[arg(long, value_name = "KIND:NAME")]
        source: Option<String>,
        /// End it by itself after this time, such as 7d.
        #[arg(long, value_name = "TIME", value_parser = parse_ms)]
        expires: Option<u64>,
    },
    /// Print the text under a key.
    Get {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// The key.
        // An id of its own: that of the API key is `key`, and it holds for every command.
        #[arg(id = "entry", value_name = "KEY")]
        key: String,
        /// With the earlier texts of the key.
        #[arg(long)]
        history: bool,
    },
    /// Find what fits a question, best first.
    Query {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// The question.
        #[arg(required = true, value_name = "TEXT")]
        text: Vec<String>,
        /// How many.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// Only entries with this tag (repeatable).
        #[arg(long)]
        tag: Vec<String>,
        /// Only what comes from whom begins so, as in agent: or person:anna.
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
        /// Only what was put at or after this time: 2026-11-22, 2026-11-22T18:00:00Z, or 7d for a week ago.
        #[arg(long, value_name = "TIME", value_parser = parse_moment)]
        since: Option<Moment>,
        /// Only what was put before this time.
        #[arg(long, value_name = "TIME", value_parser = parse_moment)]
        until: Option<Moment>,
        /// The best that fit into so many tokens, of four bytes each.
        #[arg(long, value_name = "TOKENS")]
        tokens: Option<u64>,
        /// Show what each score is made of.
        #[arg(long)]
        explain: bool,
    },
    /// Remove an entry for good, with its history.
    Forget {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// The key.
        #[arg(
            id = "entry",
            value_name = "KEY",
            required_unless_present = "id",
            conflicts_with = "id"
        )]
        key: Option<String>,
        /// The number, for an entry without a key.
        #[arg(long, value_name = "ID")]
        id: Option<u64>,
    },
    /// List what is kept, oldest first.
    List {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// Go on after this number.
        #[arg(long, value_name = "ID")]
        after: Option<u64>,
        /// How many.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// Which ones.
        #[arg(long, default_value = "live", value_parser = ["live", "archived", "all"])]
        state: String,
    },
    /// Keep it in order.
    #[command(flatten)]
    Upkeep(MemoryUpkeepCommand),
}

/// The commands of `openclaw memory …` that keep it in order.
#[derive(Debug, Subcommand)]
pub enum MemoryUpkeepCommand {
    /// Archive what is of little value; archived entries can be restored for a while.
    Prune {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// Every project, session and the global part.
        #[arg(long)]
        all: bool,
        /// Only show what would go, and why.
        #[arg(long)]
        dry_run: bool,
    },
    /// Bring an archived entry back.
    Restore {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// Its number, as `memory list --state archived` shows it.
        id: u64,
    },
    /// Copy an entry of a session or project to where it stays.
    Promote {
        /// Where it is.
        #[command(flatten)]
        part: MemoryPart,
        /// Its number.
        id: u64,
        /// Where it goes: the project given with --to-project, or the global part.
        #[arg(long, value_parser = ["project", "global"], default_value = "project")]
        to: String,
        /// The project's folder; this folder when not given.
        #[arg(long, value_name = "DIR")]
        to_project: Option<PathBuf>,
    },
    /// Print how much is kept.
    Stats,
    /// Compare the store with itself and with every index.
    Verify {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// Every project, session and the global part.
        #[arg(long)]
        all: bool,
    },
    /// Write the live entries of a part, one JSON object a line.
    Export {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// The file; the standard output when not given.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take the entries of an export; the same again changes nothing.
    Import {
        /// Where.
        #[command(flatten)]
        part: MemoryPart,
        /// The file.
        file: PathBuf,
    },
}

/// `openclaw config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the value of a key that is in force.
    Get {
        /// The key, such as gateway.timeout.
        // An id of its own: that of the API key is `key`, and it holds for every command.
        #[arg(id = "setting", value_name = "KEY")]
        key: String,
    },
    /// Change a key in openclaw.toml; comments stay.
    Set {
        /// The key, such as gateway.timeout.
        // An id of its own: that of the API key is `key`, and it holds for every command.
        #[arg(id = "setting", value_name = "KEY")]
        key: String,
        /// The value.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Print every key with value, default and origin.
    List,
    /// Check every file of the configuration.
    Validate,
    /// Let the running daemon read its files again: what it can take is in force at once, the rest is named.
    Reload,
}

fn parse_usd(text: &str) -> Result<MicroUsd, String> {
    let wanted = "US dollars such as 3 or 0.25, with at most six digits after the point";
    MicroUsd::from_decimal(text).ok_or_else(|| format!("`{text}` is not {wanted}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_documented_line_is_understood() {
        let run = "run_01arz3ndektsv4rrffq69g5fav";
        let check = |line: &str| {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        };
        for line in [
            "openclaw init --gateway --port 8080",
            "openclaw agent create planner --model claude-sonnet",
            "openclaw config set gateway.timeout 120000",
            "openclaw config set agent.maxRetries 3",
            "openclaw config set memory.gcInterval 3600",
            "openclaw config set agent.maxRetries -1",
            "openclaw config get gateway.timeout --json",
            "openclaw config list",
            "openclaw config validate",
            "openclaw config reload --json",
            "openclaw quickstart",
            "openclaw quickstart --once --port 0",
            "openclaw start --home /srv/claw",
            "openclaw --home /srv/claw start",
            "openclaw stop --timeout 5s",
            "openclaw restart --timeout 5s",
            "openclaw logs",
            "openclaw logs --follow --agent planner -n 5 --json",
            "openclaw status --url http://127.0.0.1:8080 --key ocl_1_2",
            "openclaw tree --json --no-color -q",
            "openclaw run review --follow --agent reviewer -vv",
            "openclaw run x --max-cost 0.25",
            "openclaw run one two three --file a.rs --file b.rs --workspace . --deadline 10m",
            "openclaw run x --check file:REVIEW.md:200 --check exit:0 --model offline --idempotency-key k --wait 30s",
            "openclaw run x --record cassette.jsonl --replay other.jsonl --follow",
            "openclaw runs list --status failed --limit 5 --json",
            "openclaw agent create alma --model gpt --role coder --prompt-file p.md",
            "openclaw agent list",
            "openclaw agent show planner",
            "openclaw agent stats",
            "openclaw agent stats coder --json",
            "openclaw budget show",
            "openclaw budget show coder --json",
            "openclaw budget set --daily-cost 2.50",
            "openclaw budget set --agent coder --daily-tokens 100000 --per-run-tokens 5000 --per-run-cost 0.25",
            "openclaw doctor",
            "openclaw doctor --models --json",
            "openclaw skill list --json",
            "openclaw skill show fs.read",
            "openclaw skill check",
            "openclaw skill check ./pdf",
            "openclaw skill add ./pdf --capability exec --capability net:docs.rs:443",
            "openclaw skill remove pdf --keep-files",
            "openclaw skill call fs.list --args {} --workspace .",
            "openclaw mcp add files --class read --tool a --tool b -- npx server --root /srv",
            "openclaw mcp add web --url https://example.org/mcp --bearer ${TOKEN}",
            "openclaw mcp list",
            "openclaw mcp test files",
            "openclaw memory put --scope project --key auth-pattern tokens are rotated",
            "openclaw memory get --scope project auth-pattern",
            "openclaw memory query how are tokens rotated --explain --limit 3",
            "openclaw memory forget --scope global old",
            "openclaw memory list --scope global",
            "openclaw memory list --state archived",
            "openclaw memory forget --id 7",
            "openclaw memory put --source file:notes.md --expires 7d text",
            "openclaw memory prune --all --dry-run",
            "openclaw memory restore 7 --json",
            "openclaw memory promote 7 --scope session --session run_1/a --to global",
            "openclaw memory stats --json",
            "openclaw memory verify --all",
            "openclaw memory export --output m.jsonl",
            "openclaw memory import m.jsonl --scope global",
            "openclaw cron add nightly @daily --task tidy --agent coder --timezone Europe/Berlin --dry-run",
            "openclaw cron add nightly @daily --env A=b --profile /etc/profile --expect out/*.csv -- backup --all",
            "openclaw cron add nightly --file schedule.toml --overlap queue --catch-up all --jitter 5m",
            "openclaw cron add nightly @daily --skill fs.read --args {}",
            "openclaw cron list --json",
            "openclaw cron show nightly --next 10",
            "openclaw cron run nightly",
            "openclaw cron pause nightly --reason holidays",
            "openclaw cron resume nightly",
            "openclaw cron remove nightly",
            "openclaw cron slots nightly --state missed --limit 5",
            "openclaw cron missed",
            "openclaw cron missed nightly --json",
            "openclaw cron backfill nightly --from 12h --to 2030-01-31T09:00:00Z",
        ] {
            check(line);
        }
        for sub in ["show", "watch", "cancel", "retry"] {
            check(&format!("openclaw runs {sub} {run}"));
        }
        check(&format!("openclaw runs cancel {run} --reason late"));
        check(&format!("openclaw runs retry {run} --follow"));
        check(&format!("openclaw runs cassette {run} --output c.jsonl"));
        check(&format!("openclaw runs show {run} --timeline"));
        check(&format!("openclaw runs approve {run}"));
        check(&format!(
            "openclaw runs approve {run} --step a --call 1 --deny --reason no"
        ));
        check(&format!(
            "openclaw runs resolve {run} --step a --call 1 --happened --output done"
        ));
        check(&format!("openclaw runs resolve {run} --not-happened"));
        check(&format!("openclaw runs resolve {run} --abandon"));
    }

    #[test]
    fn what_is_not_documented_is_a_usage_error() {
        for line in [
            "openclaw",
            "openclaw run",
            "openclaw runs show run_1",
            "openclaw runs resolve run_01arz3ndektsv4rrffq69g5fav",
            "openclaw runs resolve run_01arz3ndektsv4rrffq69g5fav --happened --abandon",
            "openclaw runs resolve run_01arz3ndektsv4rrffq69g5fav --abandon --output x",
            "openclaw run x --deadline 10",
            "openclaw run x --max-cost 1e3",
            "openclaw budget set --agent coder",
            "openclaw budget set --daily-cost much",
            "openclaw budget set --daily-tokens 0",
            "openclaw run x --check nonsense",
            "openclaw run x --wait 1s --follow",
            "openclaw run x --wait 1s --record c.jsonl",
            "openclaw agent create Planner --model gpt",
            "openclaw agent create planner",
            "openclaw init --port 70000",
            "openclaw skill remove ../x",
            "openclaw skill call Bad",
            "openclaw mcp add x",
            "openclaw mcp add x --url http://a -- b",
            "openclaw mcp add ../x -- b",
            "openclaw cron add nightly",
            "openclaw cron add ../x @daily --task y",
            "openclaw cron slots nightly --state gone",
            "openclaw logs -n 0",
            "openclaw logs --agent Bad",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
