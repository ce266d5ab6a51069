//! Commands about schedules.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::domain::name::{AgentName, ScheduleName, SkillName};

/// `openclaw cron …`.
#[derive(Debug, Subcommand)]
pub enum CronCommand {
    /// Save a schedule: writes schedules/NAME.toml and shows the next slots.
    Add(Box<CronAddArguments>),
    /// List the schedules with their next slots.
    List,
    /// Show one schedule, its environment and its next slots.
    Show {
        /// The schedule.
        name: ScheduleName,
        /// How many slots ahead.
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=100))]
        next: u32,
    },
    /// Run it now, beside its slots.
    Run {
        /// The schedule.
        name: ScheduleName,
    },
    /// Skip its slots until it is resumed.
    Pause {
        /// The schedule.
        name: ScheduleName,
        /// Why, for the ledger.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Go on with a paused schedule.
    Resume {
        /// The schedule.
        name: ScheduleName,
    },
    /// Remove a schedule and its file; its ledger stays.
    Remove {
        /// The schedule.
        name: ScheduleName,
    },
    /// Show what became of its slots, the newest first.
    Slots {
        /// The schedule.
        name: ScheduleName,
        /// Only those in this state.
        #[arg(long, value_parser = ["queued", "running", "ran", "late", "failed", "skipped", "missed"])]
        state: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Show what was missed or failed; 1 when there is something.
    Missed {
        /// The schedule; all when not given.
        name: Option<ScheduleName>,
    },
    /// Run the slots of a time that were missed, skipped or failed.
    Backfill {
        /// The schedule.
        name: ScheduleName,
        /// From when on: 2030-01-31T09:00:00Z, or a while ago such as 12h.
        #[arg(long, value_name = "TIME", default_value = "24h")]
        from: String,
        /// Until when; now when not given.
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
    },
}

/// `openclaw cron add`.
#[derive(Debug, Args)]
pub struct CronAddArguments {
    /// Its name.
    pub name: ScheduleName,
    /// When: "30 2 * * *", "*/10 * * * * *" with seconds first, "@daily", "@every 90s", "@once 2030-01-31T09:00".
    #[arg(value_name = "CRON", required_unless_present = "file")]
    pub expression: Option<String>,
    /// A file with the schedule (TOML), as in schedules/; flags take precedence.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// IANA name of its zone; cron.timezone when not given.
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// A task for the planner, or for --agent.
    #[arg(long, value_name = "TEXT")]
    pub task: Option<String>,
    /// The agent that does the task alone.
    #[arg(long, value_name = "NAME", requires = "task")]
    pub agent: Option<AgentName>,
    /// A skill to call.
    #[arg(long, value_name = "NAME")]
    pub skill: Option<SkillName>,
    /// The skill's arguments, a JSON object.
    #[arg(long, value_name = "JSON", requires = "skill")]
    pub args: Option<String>,
    /// A pipeline to run.
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    /// A variable of the command (repeatable).
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// A file that is sourced by sh before the command.
    #[arg(long, value_name = "FILE")]
    pub profile: Option<String>,
    /// The command's PATH; the daemon's own when not given.
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// The folder of its runs; the daemon's own when not given.
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// A file or pattern that each run must write (repeatable); a run without it has failed.
    #[arg(long, value_name = "PATH")]
    pub expect: Vec<String>,
    /// What a slot does while an earlier one runs: skip when not given.
    #[arg(long, value_parser = ["skip", "queue", "allow", "cancel"])]
    pub overlap: Option<String>,
    /// What becomes of slots of a downtime; cron.catchUp when not given.
    #[arg(long, value_parser = ["all", "last", "skip"])]
    pub catch_up: Option<String>,
    /// Put each start off by up to this, the same for each slot, such as 5m.
    #[arg(long, value_name = "TIME")]
    pub jitter: Option<String>,
    /// How long a run may take, such as 2h.
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,
    /// Show what would be saved, and save nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Program and arguments, after `--`.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
