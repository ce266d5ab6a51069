//! `openclaw service`: makes the daemon a service of systemd, and undoes that.
//!
//! What it writes is shown; configuration and state are never removed.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::arguments::{ServiceArguments, ServiceCommand};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Exit};
use crate::cli::service_manager::{UNIT, tool};
use crate::daemon::config::{Home, Overrides, load};
use crate::daemon::service::units::{PATHS, UnitFile, files};

/// The units that are switched on; the socket comes first, so that nothing is refused meanwhile.
const UNITS: [&str; 2] = ["openclaw.socket", UNIT];

/// Runs the command.
pub fn run(context: &mut Context, command: ServiceCommand) -> Result<Exit, CliError> {
    match command {
        ServiceCommand::Install(arguments) => install(context, &arguments),
        ServiceCommand::Uninstall(arguments) => uninstall(context, &arguments),
    }
}

/// The socket has the address that the service reads in its own configuration: whoever installs it may have another one,
/// and the variables of their shell are not the service's.
fn units(root: &Path) -> Result<Vec<UnitFile>, CliError> {
    let program = std::env::current_exe().map_err(io_error("find", "the path of this program"))?;
    let gateway = load(&Home::of_service(root), &Overrides::default())?.config.gateway;
    files(&program, SocketAddr::new(gateway.bind, gateway.port)).map_err(|error| {
        CliError::usage(
            error.to_string(),
            "copy the program to /usr/local/bin, and start `service install` of that one",
        )
    })
}

fn install(context: &mut Context, arguments: &ServiceArguments) -> Result<Exit, CliError> {
    let units = units(arguments.root.as_deref().unwrap_or(Path::new("/")))?;
    let mut written = Vec::new();
    for unit in &units {
        let path = below(arguments.root.as_deref(), unit.path);
        let shown = path.display().to_string();
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).map_err(io_error("make", &folder.display().to_string()))?;
        std::fs::write(&path, &unit.text).map_err(io_error("write", &shown))?;
        context.output.note(&format!("wrote {shown}"));
        written.push(shown);
    }
    if arguments.root.is_none() {
        tool("systemd-sysusers", &["/etc/sysusers.d/openclaw.conf"])?;
        tool("systemd-tmpfiles", &["--create", "/etc/tmpfiles.d/openclaw.conf"])?;
        tool("systemctl", &["daemon-reload"])?;
        tool("systemctl", &["enable", "--now", UNITS[0], UNITS[1]])?;
    }
    let result = json!({ "written": written, "enabled": arguments.root.is_none() });
    context.output.result(&result, |_| {
        let state = if arguments.root.is_none() {
            "installed and started"
        } else {
            "written, not started"
        };
        format!("{state}; `systemctl status openclaw` shows it")
    });
    Ok(Exit::Done)
}

fn uninstall(context: &mut Context, arguments: &ServiceArguments) -> Result<Exit, CliError> {
    if arguments.root.is_none() {
        tool("systemctl", &["disable", "--now", UNITS[0], UNITS[1]])?;
    }
    let mut removed = Vec::new();
    for path in PATHS {
        let path = below(arguments.root.as_deref(), path);
        let shown = path.display().to_string();
        match std::fs::remove_file(&path) {
            Ok(()) => removed.push(shown),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("remove", &shown)(error)),
        }
    }
    if arguments.root.is_none() {
        tool("systemctl", &["daemon-reload"])?;
    }
    context.output.result(&json!({ "removed": removed }), |_| {
        "removed; /etc/openclaw and /var/lib/openclaw are as they were".into()
    });
    Ok(Exit::Done)
}

fn below(root: Option<&Path>, path: &str) -> PathBuf {
    match root {
        Some(root) => root.join(path.trim_start_matches('/')),
        None => PathBuf::from(path),
    }
}

fn io_error(verb: &'static str, what: &str) -> impl FnOnce(std::io::Error) -> CliError {
    let what = what.to_owned();
    move |source| CliError::Io { verb, what, source }
}
