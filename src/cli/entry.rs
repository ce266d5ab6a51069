//! From arguments to exit code: parse, surroundings, one command, its error.

use std::any::Any;
use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser as _;

use super::arguments::{Arguments, Command, MemoryCommand, StartArguments};
use super::command;
use super::command::restart::Again;
use super::context::Context;
use super::error::{CliError, Exit};
use super::in_this_process::InThisProcess;
use super::output::Output;
use super::seam::DaemonSeam;
use crate::daemon::config::{Home, Overrides};
use crate::domain::code;
use crate::runtime::panicking::{keep_places, text_of, was_in_the_store};

/// Runs the command line of this process to its end.
pub fn process_main() -> ExitCode {
    keep_places();
    main(std::env::args_os(), &InThisProcess)
}

/// Runs one command line to its end.
pub fn main(arguments: impl IntoIterator<Item = OsString>, daemon: &impl DaemonSeam) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let json_wanted = arguments.iter().any(|argument| argument == "--json");
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if json_wanted && error.use_stderr() => {
            let text = error.render().to_string();
            let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            let error = CliError::usage(line, "`--help` shows what is possible");
            return ExitCode::from(fail(&mut Output::of_process(true, false, 0, false), &error) as u8);
        }
        Err(error) => {
            // Help and version come this way too, with 0 and on the standard output.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let global = &arguments.global;
    let output = Output::of_process(global.json, global.quiet, global.verbose, !global.no_color);
    ExitCode::from(run(arguments, Overrides::of_process(), output, daemon) as u8)
}

/// Runs a parsed command line in given surroundings.
pub fn run(arguments: Arguments, overrides: Overrides, mut output: Output, daemon: &impl DaemonSeam) -> Exit {
    let home = match Home::find(arguments.global.home.as_deref(), &overrides.environment) {
        Ok(home) => home,
        Err(error) => return fail(&mut output, &error.into()),
    };
    let mut global = arguments.global;
    if matches!(arguments.command, Command::Memory(MemoryCommand::Put { .. })) {
        // There `--key` names the entry, and the parser cannot tell two flags of one name apart. The API key comes
        // from the environment or from the home.
        global.key = None;
    }
    let mut context = Context {
        home,
        overrides,
        global,
        output,
    };
    // Only the daemon has work for more than one thread.
    let serves = matches!(
        arguments.command,
        Command::Start(_) | Command::Restart(_) | Command::Quickstart(_)
    );
    let runtime = if serves {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(source) => {
            let error = CliError::Io {
                verb: "start",
                what: "the threads of this program".into(),
                source,
            };
            return fail(&mut context.output, &error);
        }
    };
    let dispatched = AssertUnwindSafe(|| runtime.block_on(dispatch(&mut context, arguments.command, daemon)));
    match std::panic::catch_unwind(dispatched) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => fail(&mut context.output, &error),
        Err(panic) => fail(&mut context.output, &panicked(&*panic)),
    }
}

/// What a panic of the command itself is to people; its backtrace has been printed.
fn panicked(panic: &(dyn Any + Send)) -> CliError {
    let source = text_of(panic).into();
    if was_in_the_store() {
        return CliError::Daemon {
            step: "read the store",
            code: code::STORE_CORRUPT,
            hint: Some("its file is damaged: copy the state folder away, then restore a backup".into()),
            source,
        };
    }
    CliError::Daemon {
        step: "go on",
        code: code::BUG,
        hint: Some("this is a fault of the program: report what stands above".into()),
        source,
    }
}

async fn dispatch(context: &mut Context, command: Command, daemon: &impl DaemonSeam) -> Result<Exit, CliError> {
    match command {
        Command::Init(arguments) => command::init::run(context, daemon, &arguments),
        Command::Quickstart(arguments) => command::quickstart::run(context, daemon, &arguments).await,
        Command::Start(arguments) => command::start::run(context, daemon, &arguments).await,
        Command::Service(sub) => command::service::run(context, sub),
        Command::Drain(arguments) => command::drain::run(context, &arguments).await,
        Command::Stop(arguments) => command::stop::run(context, &arguments).await,
        Command::Restart(arguments) => match command::restart::by_manager(context)? {
            Again::Manager => Ok(Exit::Done),
            again => {
                if again == Again::AfterStop {
                    command::stop::run(context, &arguments).await?;
                }
                let start = StartArguments {
                    port: None,
                    log_level: None,
                };
                command::start::run(context, daemon, &start).await
            }
        },
        Command::Logs(arguments) => command::logs::run(context, &arguments),
        Command::Status => command::status::run(context).await,
        Command::Tree(arguments) => command::tree::run(context, &arguments).await,
        Command::Top(arguments) => command::top::run(context, &arguments).await,
        Command::Actor(sub) => command::actor::run(context, sub).await,
        Command::Run(arguments) => command::run::run(context, *arguments).await,
        Command::Runs(sub) => command::runs::run(context, sub).await,
        Command::Agent(sub) => command::agent::run(context, sub).await,
        Command::Budget(sub) => command::budget::run(context, sub).await,
        Command::Doctor(arguments) => command::doctor::run(context, &arguments).await,
        Command::Skill(sub) => command::skill::run(context, sub).await,
        Command::Mcp(sub) => command::mcp::run(context, sub).await,
        Command::Memory(MemoryCommand::Upkeep(sub)) => command::memory_upkeep::run(context, sub).await,
        Command::Memory(sub) => command::memory::run(context, sub).await,
        Command::Cron(sub) => command::cron::run(context, sub).await,
        Command::Key(sub) => command::key::run(context, sub).await,
        Command::Tls(sub) => command::tls::run(context, sub).await,
        Command::Secret(sub) => command::secret::run(context, sub).await,
        Command::Security(sub) => command::security::run(context, sub).await,
        Command::Audit(arguments) => command::audit::run(context, &arguments).await,
        Command::Incident(sub) => command::incident::run(context, sub).await,
        Command::Health(arguments) => command::health::run(context, arguments.last).await,
        Command::Backup(sub) => command::backup::run(context, sub).await,
        Command::Store(sub) => command::store::run(context, &sub).await,
        Command::Config(sub) => command::config::run(context, sub).await,
    }
}

fn fail(output: &mut Output, error: &CliError) -> Exit {
    output.error(&error.to_text(), &error.to_json());
    error.exit()
}

#[cfg(test)]
mod tests;
