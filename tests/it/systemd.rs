//! The daemon as a service of a real systemd: a container of systemd-nspawn with the machine's own `/usr`.
//!
//! Needs root and systemd-nspawn; `.ci/run` installs it and sets `OPENCLAW_SYSTEMD_NEEDED`, so that nothing is skipped
//! there.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::support::wait::until;

/// A machine shares `/usr` and the processor with the tests beside it.
const BOOT_MAX: Duration = Duration::from_secs(120);
/// Longest wait for a service to come up, or to be found stuck.
const SERVICE_MAX: Duration = Duration::from_secs(90);
/// What programs of the sandbox need of the container's own filter.
const SANDBOX_CALLS: &str = "landlock_create_ruleset landlock_add_rule landlock_restrict_self";

/// One machine at a time.
static MACHINES: Mutex<()> = Mutex::new(());

struct Machine {
    nspawn: Child,
    init: u32,
    _only: MutexGuard<'static, ()>,
}

impl Machine {
    /// Boots; none where it cannot be tried.
    fn boot() -> Option<Self> {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if !is_root || !Path::new("/usr/bin/systemd-nspawn").exists() {
            assert!(
                std::env::var_os("OPENCLAW_SYSTEMD_NEEDED").is_none(),
                "systemd-nspawn and root are needed here"
            );
            writeln!(
                std::io::stderr(),
                "SKIPPED: a real systemd needs root and systemd-nspawn"
            )
            .ok();
            return None;
        }
        let only = MACHINES.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("oc-it-{}", std::process::id());
        let nspawn = Command::new("systemd-nspawn")
            .args([
                "-q",
                "--volatile=yes",
                "-D",
                "/",
                "--register=no",
                "--keep-unit",
                "-M",
                &name,
            ])
            .arg("--private-network")
            .arg(format!("--system-call-filter={SANDBOX_CALLS}"))
            .arg(format!(
                "--bind-ro={}:/opt/openclaw/openclaw",
                env!("CARGO_BIN_EXE_openclaw")
            ))
            .args(["--boot", "--console=pipe", "systemd.unit=multi-user.target"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("systemd-nspawn starts");
        let children = format!("/proc/{0}/task/{0}/children", nspawn.id());
        let init = until("the machine's init", BOOT_MAX, || {
            let children = std::fs::read_to_string(&children).unwrap_or_default();
            children.trim().parse::<u32>().map_err(|_| children)
        });
        let machine = Self {
            nspawn,
            init,
            _only: only,
        };
        until("the machine has booted", BOOT_MAX, || {
            let state = machine.run("systemctl is-system-running").0;
            ["running", "degraded"]
                .contains(&state.trim())
                .then_some(())
                .ok_or(state)
        });
        Some(machine)
    }

    /// Runs a line of the shell in the machine; gives its output and whether it went well.
    fn run(&self, line: &str) -> (String, bool) {
        let ended = Command::new("nsenter")
            .args(["-t", &self.init.to_string(), "-a", "sh", "-c", line])
            .stdin(Stdio::null())
            .output()
            .expect("nsenter starts");
        let text = [ended.stdout, ended.stderr].concat();
        (String::from_utf8_lossy(&text).into_owned(), ended.status.success())
    }

    fn must(&self, line: &str) -> String {
        let (text, went_well) = self.run(line);
        assert!(went_well, "{line}: {text}\n{}", self.journal());
        text
    }

    fn journal(&self) -> String {
        self.run("journalctl -u openclaw -n 40 --no-pager -o cat").0
    }

    fn show(&self, property: &str) -> String {
        let line = format!("systemctl show openclaw -P {property}");
        self.must(&line).trim().to_owned()
    }

    fn restarts(&self) -> u32 {
        self.show("NRestarts").parse().expect("a count")
    }

    fn is_serving(&self) -> Result<(), String> {
        let state = self.show("ActiveState");
        let (health, answers) = self.run("curl -sf -m 2 http://127.0.0.1:8080/readyz");
        (state == "active" && answers)
            .then_some(())
            .ok_or(format!("{state}, {health}"))
    }

    /// The machine with the service in it; its watchdog bites after four seconds.
    fn with_service() -> Option<Self> {
        let machine = Self::boot()?;
        machine.must("mkdir -p /etc/systemd/system/openclaw.service.d");
        machine.must(
            "printf '[Service]\\nWatchdogSec=4\\nTimeoutAbortSec=2\\n' > /etc/systemd/system/openclaw.service.d/fast.conf",
        );
        machine.must("/opt/openclaw/openclaw service install");
        until("the service serves", SERVICE_MAX, || machine.is_serving());
        Some(machine)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.run("systemctl poweroff --force --force");
        self.nspawn.kill().ok();
        self.nspawn.wait().ok();
    }
}

#[test]
fn as_a_service_it_is_hardened_confines_programs_refuses_no_connection_and_resumes_after_a_kill() {
    let Some(machine) = Machine::with_service() else { return };
    assert_eq!(machine.show("StatusText"), "serving at http://127.0.0.1:8080");
    let journal = machine.journal();
    assert!(journal.contains("programs are confined"), "{journal}");
    machine.must("systemd-analyze security openclaw.service --threshold=20 >/dev/null");

    // Connections that come while the daemon is away wait in the manager's socket.
    let pid = machine.show("MainPID");
    let asked = machine.must(&format!(
        "kill -9 {pid}; for n in 1 2 3 4 5; do curl -s -m 60 -o /dev/null -w '%{{http_code}} ' http://127.0.0.1:8080/livez; done"
    ));
    assert_eq!(asked.trim(), "200 200 200 200 200", "{}", machine.journal());
    assert_eq!(machine.restarts(), 1);
    assert_ne!(machine.show("MainPID"), pid);

    machine.must("systemctl stop openclaw.socket openclaw.service");
    assert_eq!(machine.show("Result"), "success", "{}", machine.journal());
    machine.must("/opt/openclaw/openclaw service uninstall");
    assert!(!machine.run("systemctl cat openclaw.service").1, "the unit is gone");
    machine.must("test -e /var/lib/openclaw/openclaw.redb");
}

#[test]
fn a_gateway_that_cannot_be_reached_and_a_process_that_hangs_are_ended_by_the_watchdog() {
    let Some(machine) = Machine::with_service() else { return };
    machine.must("ip link set lo down");
    until("the watchdog bites", SERVICE_MAX, || {
        let restarts = machine.restarts();
        (restarts > 0).then_some(()).ok_or((restarts, machine.journal()))
    });
    machine.must("ip link set lo up");
    until("it serves again", SERVICE_MAX, || machine.is_serving());

    let before = machine.restarts();
    machine.must("kill -STOP $(systemctl show openclaw -P MainPID)");
    until("the watchdog bites again", SERVICE_MAX, || {
        let restarts = machine.restarts();
        (restarts > before).then_some(()).ok_or((restarts, machine.journal()))
    });
    until("it serves again", SERVICE_MAX, || machine.is_serving());
}
