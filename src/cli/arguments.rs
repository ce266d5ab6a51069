//! The one definition of every command and flag; help texts come from the comments here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use super::check::parse_check;
use super::duration::parse_ms;
use crate::domain::id::RunId;
use crate::domain::name::{AgentName, ModelAlias};

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
    /// Stop the running daemon; accepted runs go on at the next start.
    Stop(StopArguments),
    /// Show whether the daemon runs and how it is.
    Status,
    /// Check this installation: 0 good, 1 findings, 2 something could not be checked.
    Doctor,
    /// Show the tree of supervised actors.
    Tree,
    /// Give the daemon a task.
    Run(Box<RunArguments>),
    /// Look at runs and change their course.
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Define agents and look at them.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Read and change the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
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
    /// A plan document (JSON) instead of one made by the planner.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Names the submission: sent twice, it is accepted once.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
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
}

/// `openclaw config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the value of a key that is in force.
    Get {
        /// The key, such as gateway.timeout.
        key: String,
    },
    /// Change a key in openclaw.toml; comments stay.
    Set {
        /// The key, such as gateway.timeout.
        key: String,
        /// The value.
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Print every key with value, default and origin.
    List,
    /// Check every file of the configuration.
    Validate,
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
            "openclaw quickstart",
            "openclaw quickstart --once --port 0",
            "openclaw start --home /srv/claw",
            "openclaw --home /srv/claw start",
            "openclaw stop --timeout 5s",
            "openclaw status --url http://127.0.0.1:8080 --key ocl_1_2",
            "openclaw tree --json --no-color -q",
            "openclaw run review --follow --agent reviewer -vv",
            "openclaw run one two three --file a.rs --file b.rs --workspace . --deadline 10m",
            "openclaw run x --check file:REVIEW.md:200 --check exit:0 --model offline --idempotency-key k --wait 30s",
            "openclaw runs list --status failed --limit 5 --json",
            "openclaw agent create alma --model gpt --role coder --prompt-file p.md",
            "openclaw agent list",
            "openclaw agent show planner",
        ] {
            check(line);
        }
        for sub in ["show", "watch", "cancel", "retry"] {
            check(&format!("openclaw runs {sub} {run}"));
        }
        check(&format!("openclaw runs cancel {run} --reason late"));
        check(&format!("openclaw runs retry {run} --follow"));
        check(&format!("openclaw runs show {run} --timeline"));
    }

    #[test]
    fn what_is_not_documented_is_a_usage_error() {
        for line in [
            "openclaw",
            "openclaw run",
            "openclaw runs show run_1",
            "openclaw run x --deadline 10",
            "openclaw run x --check nonsense",
            "openclaw run x --wait 1s --follow",
            "openclaw agent create Planner --model gpt",
            "openclaw agent create planner",
            "openclaw init --port 70000",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
