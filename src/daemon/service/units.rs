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
    /// The service would not see the program.
    #[error("start `{program}` as a service: its unit hides {folder} from it ({why}=)")]
    Hidden {
        /// The program's path.
        program: String,
        /// What is hidden.
        folder: &'static str,
        /// The setting of the unit that hides it.
        why: &'static str,
    },
}

/// Folders that a service does not see as they are, with the setting of our unit that hides them; `systemd.exec(5)`.
const HIDDEN: &[(&str, &str)] = &[
    ("/home", "ProtectHome"),
    ("/root", "ProtectHome"),
    ("/run/user", "ProtectHome"),
    ("/tmp", "PrivateTmp"),
    ("/var/tmp", "PrivateTmp"),
    ("/dev", "PrivateDevices"),
];

/// Where the files of the service are, on the machine.
pub const PATHS: [&str; 4] = [
    "/etc/systemd/system/openclaw.service",
    "/etc/systemd/system/openclaw.socket",
    "/etc/sysusers.d/openclaw.conf",
    "/etc/tmpfiles.d/openclaw.conf",
];

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
    if let Some((folder, why)) = HIDDEN.iter().find(|(folder, _)| program.starts_with(folder)) {
        return Err(UnitError::Hidden {
            program: shown,
            folder,
            why,
        });
    }
    let service = include_str!("../../../ops/systemd/openclaw.service").replace(PROGRAM, &shown);
    let socket = include_str!("../../../ops/systemd/openclaw.socket").replace(ADDRESS, &gateway.to_string());
    let texts = [
        service,
        socket,
        include_str!("../../../ops/systemd/openclaw.sysusers").to_owned(),
        include_str!("../../../ops/systemd/openclaw.tmpfiles").to_owned(),
    ];
    let files = PATHS.into_iter().zip(texts);
    Ok(files.map(|(path, text)| UnitFile { path, text }).collect())
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

    #[test]
    fn a_program_that_its_unit_would_hide_is_refused_and_the_unit_hides_what_is_said() {
        let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let check = |path: &str, hidden: Option<&str>| {
            let found = match files(Path::new(path), address) {
                Err(UnitError::Hidden { why, .. }) => Some(why),
                Ok(_) => None,
                Err(error) => panic!("{path}: {error}"),
            };
            assert_eq!(found, hidden, "{path}");
        };
        check("/tmp/openclaw", Some("PrivateTmp"));
        check("/var/tmp/x/openclaw", Some("PrivateTmp"));
        check("/home/ada/bin/openclaw", Some("ProtectHome"));
        check("/root/openclaw", Some("ProtectHome"));
        check("/run/user/1000/openclaw", Some("ProtectHome"));
        check("/dev/shm/openclaw", Some("PrivateDevices"));
        check("/homestead/openclaw", None);
        check("/opt/tmp/openclaw", None);
        let unit = include_str!("../../../ops/systemd/openclaw.service");
        for (folder, why) in HIDDEN {
            assert!(unit.contains(&format!("\n{why}=yes\n")), "{folder}");
        }
    }

    #[test]
    fn a_program_that_is_ended_for_want_of_memory_does_not_end_the_daemon() {
        let unit = include_str!("../../../ops/systemd/openclaw.service");
        assert_eq!(unit.matches("\nOOMPolicy=continue\n").count(), 1);
    }
}
