//! Schedules: against another implementation, through the daemon, and killed.

mod croniter;
mod daemon;
mod kill;
