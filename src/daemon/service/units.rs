//! The files that make the daemon a service of systemd, as they are written to a machine: pure.

use std::net::SocketAddr;
use std::path::Path;

/// Where the unit of the repository says that the program is.
const PROGRAM: &str = "/usr/local/bin/openclaw";
/// Where the unit of the repository says that the gateway listens.
const ADDRESS: &str = "127.0.0.1:8080";

/// One file of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFile {
    /// Absolute path on the machine.
    pub path: &'static str,
    /// Its text.
    pub text: String,
}

/// Says why no unit can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// systemd would read the path as something else.
    #[error("start `{0}` as a service: its path needs to be absolute, without blanks, quotes, `%`, `$` and `\\`")]
    Program(String),
}

/// The files for a program at this path whose gateway listens on this address.
pub fn files(program: &Path, gateway: SocketAddr) -> Result<Vec<UnitFile>, UnitError> {
    let shown = program.display().to_string();
    let is_plain = program.to_str().is_some_and(|path| {
        path.starts_with('/')
            && !path.contains(|char: char| char.is_whitespace() || char.is_control() || "\"'%$\\".contains(char))
    });
    if !is_plain {
        return Err(UnitError::Program(shown));
    }
    let service = include_str!("../../../ops/systemd/openclaw.service").replace(PROGRAM, &shown);
    let socket = include_str!("../../../ops/systemd/openclaw.socket").replace(ADDRESS, &gateway.to_string());
    Ok(vec![
        UnitFile {
            path: "/etc/systemd/system/openclaw.service",
            text: service,
        },
        UnitFile {
            path: "/etc/systemd/system/openclaw.socket",
            text: socket,
        },
        UnitFile {
            path: "/etc/sysusers.d/openclaw.conf",
            text: include_str!("../../../ops/systemd/openclaw.sysusers").to_owned(),
        },
        UnitFile {
            path: "/etc/tmpfiles.d/openclaw.conf",
            text: include_str!("../../../ops/systemd/openclaw.tmpfiles").to_owned(),
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_start_this_program_and_keep_the_configured_address() {
        let address: SocketAddr = "[::1]:9090".parse().expect("an address");
        let files = files(Path::new("/opt/oc/openclaw"), address).expect("plain");
        let text = |name: &str| {
            let file = files.iter().find(|file| file.path.ends_with(name)).expect("there");
            file.text.as_str()
        };
        assert!(text("openclaw.service").contains("\nExecStart=/opt/oc/openclaw start\n"));
        assert!(!text("openclaw.service").contains(PROGRAM));
        assert!(text("openclaw.socket").contains("\nListenStream=[::1]:9090\n"));
        assert!(!text("openclaw.socket").contains(ADDRESS));
    }

    #[test]
    fn a_path_that_systemd_reads_otherwise_is_refused() {
        let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let check = |path: &str| {
            let refused = files(Path::new(path), address);
            assert_eq!(refused, Err(UnitError::Program(path.to_owned())));
        };
        check("openclaw");
        check("/opt/my programs/openclaw");
        check("/opt/%h/openclaw");
        check("/opt/$HOME/openclaw");
        check("/opt/a\nExecStartPre=/bin/x/openclaw");
    }
}
