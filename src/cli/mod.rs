//! The commands: a client of the gateway, and the few that work on the operator's files alone.
//!
//! - [`entry`]: from arguments to exit code. [`arguments`]: the one definition of every command and flag.
//! - [`client`]: requests to the gateway; [`events`]: its event streams; [`view`]: the parts of its answers that
//!   people see.
//! - [`output`]: lines for people or JSON for programs; [`progress`] and [`follow`]: a run as it goes on.
//! - `screen`: a picture that is drawn again and again.
//! - `prompt`: questions of a run that is followed, answered at the terminal.
//! - [`cassette`]: recorded model traffic as files.
//! - [`model_check`]: whether configured models answer; `found`: what checks come to.
//! - `service_manager`: systemd, as commands use it.
//! - `operator_files`: what a command writes itself where the daemon may not.
//! - [`seam`]: what the daemon does for a command in this process; `in_this_process`: the real one.
//! - `command`: one file per command; they never import each other.
//!
//! What it refuses to know: the store, the actors, and everything else that only the daemon touches.

mod answers;
pub mod arguments;
pub mod cassette;
pub mod check;
pub mod client;
mod command;
pub mod context;
pub mod duration;
pub mod entry;
pub mod error;
pub mod events;
#[cfg(test)]
mod fake;
pub mod follow;
mod found;
mod home_check;
mod in_this_process;
pub mod memory_part;
pub mod model_check;
pub mod offline;
mod operator_files;
pub mod output;
pub mod progress;
mod prompt;
mod screen;
pub mod seam;
mod service_manager;
pub mod set_up;
pub mod view;

pub use entry::{main, process_main};
pub use error::CliError;
pub use seam::{DaemonSeam, KeyMade};
