//! The daemon as a service of a real systemd: a container of systemd-nspawn with the machine's own `/usr`.
//!
//! Needs root and systemd-nspawn; `.ci/run` installs it and sets `OPENCLAW_SYSTEMD_NEEDED`, so that nothing is skipped
//! there.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::migration;
use crate::support::wait::until_each;

/// A machine shares `/usr` and the processor with the tests beside it.
const BOOT_MAX: Duration = Duration::from_secs(120);
/// Longest wait for a service to come up, or to be found stuck.
const SERVICE_MAX: Duration = Duration::from_secs(90);
/// Between two looks, each of which starts programs in the machine.
const PAUSE: Duration = Duration::from_millis(200);
/// What programs of the sandbox need of the container's own filter.
const SANDBOX_CALLS: &str = "landlock_create_ruleset landlock_add_rule landlock_restrict_self";

/// One machine at a time.
static MACHINES: Mutex<()> = Mutex::new(());

/// Whether a machine can be booted here; where it must be, it is an error that it cannot.
fn is_here() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && Path::new("/usr/bin/systemd-nspawn").exists() {
        return true;
    }
    assert!(
        std::env::var_os("OPENCLAW_SYSTEMD_NEEDED").is_none(),
        "systemd-nspawn and root are needed here"
    );
    let skipped = "SKIPPED: a real systemd needs root and systemd-nspawn";
    writeln!(std::io::stderr(), "{skipped}").ok();
    false
}

struct Machine {
    nspawn: Child,
    init: u32,
    _only: MutexGuard<'static, ()>,
}

impl Machine {
    /// Boots. Its state is a folder of this machine, or its own.
    fn boot(state: Option<&Path>) -> Self {
        let only = MACHINES.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("a folder");
        let told = UnixDatagram::bind(folder.path().join("notify")).expect("a socket for what the machine tells");
        told.set_read_timeout(Some(BOOT_MAX)).expect("a bound");
        let nspawn = Command::new("systemd-nspawn")
            .args(["-q", "--volatile=yes", "-D", "/", "--register=no", "--keep-unit"])
            .args(["-M", &format!("oc-it-{}", std::process::id())])
            .args(["--private-network", "--notify-ready=yes"])
            .arg(format!("--system-call-filter={SANDBOX_CALLS}"))
            .arg(format!(
                "--bind-ro={}:/opt/openclaw/openclaw",
                env!("CARGO_BIN_EXE_openclaw")
            ))
            .args(state.map(|state| format!("--bind={}:/var/lib/openclaw", state.display())))
            .args(["--boot", "--console=pipe", "systemd.unit=multi-user.target"])
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("systemd-nspawn starts");
        let mut machine = Self {
            nspawn,
            init: 0,
            _only: only,
        };
        let mut is_ready = false;
        while !is_ready || machine.init == 0 {
            let mut bytes = [0; 4096];
            let length = told.recv(&mut bytes).expect("the machine boots in time");
            for line in String::from_utf8_lossy(&bytes[..length]).lines() {
                is_ready |= line == "READY=1";
                if let Some(pid) = line.strip_prefix("X_NSPAWN_LEADER_PID=") {
                    machine.init = pid.parse().expect("a process");
                }
            }
        }
        machine
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

    /// The machine with the service in it, its state on this machine's folder or its own; its watchdog bites after
    /// four seconds.
    fn with_service(config: &str, state: Option<&Path>) -> Self {
        let machine = Self::boot(state);
        machine.must("mkdir -p /etc/openclaw /etc/systemd/system/openclaw.service.d");
        machine.write("/etc/openclaw/openclaw.toml", config);
        machine.write(
            "/etc/systemd/system/openclaw.service.d/fast.conf",
            "[Service]\nWatchdogSec=4\nTimeoutAbortSec=2\n",
        );
        machine.must("/opt/openclaw/openclaw service install");
        machine.serves();
        machine
    }

    fn write(&self, path: &str, text: &str) {
        assert!(!text.contains("EOF"), "it would end the text");
        self.must(&format!("cat > {path} <<'EOF'\n{text}\nEOF"));
    }

    fn serves(&self) {
        until_each(PAUSE, "the service serves", SERVICE_MAX, || self.is_serving());
    }

    /// Has systemd count the starts of the service anew: three faults within five minutes, on a slow machine with a start
    /// too many for one of them, come near the limit that is there for a service that cannot start.
    fn forgets_starts(&self) {
        self.must("systemctl reset-failed openclaw.service");
    }

    /// Waits until systemd has ended and started the service once more than `before`.
    fn is_restarted(&self, before: u32) {
        until_each(PAUSE, "the service is restarted", SERVICE_MAX, || {
            let restarts = self.restarts();
            (restarts > before).then_some(()).ok_or((restarts, self.journal()))
        });
        self.serves();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.init != 0 {
            self.run("systemctl poweroff --force --force");
        }
        self.nspawn.kill().ok();
        self.nspawn.wait().ok();
    }
}

/// A file system of its own that can be frozen; it is thawed and gone when this is dropped.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Self { folder };
        let image = disk.folder.path().join("image");
        std::fs::File::create(&image)
            .and_then(|file| file.set_len(256 << 20))
            .expect("an image");
        std::fs::create_dir(disk.mounted()).expect("a folder");
        command("mkfs.ext4", &["-q".as_ref(), image.as_os_str()]);
        command(
            "mount",
            &[
                "-o".as_ref(),
                "loop".as_ref(),
                image.as_os_str(),
                disk.mounted().as_os_str(),
            ],
        );
        disk
    }

    fn mounted(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn freeze(&self) {
        command("fsfreeze", &["-f".as_ref(), self.mounted().as_os_str()]);
    }

    fn thaw(&self) {
        command("fsfreeze", &["-u".as_ref(), self.mounted().as_os_str()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What waits in a frozen file system cannot be ended. It may be thawed, or never have been mounted.
        for (program, first) in [("fsfreeze", "-u"), ("umount", "-l")] {
            Command::new(program).arg(first).arg(self.mounted()).output().ok();
        }
    }
}

fn command(program: &str, arguments: &[&OsStr]) {
    let ended = Command::new(program).args(arguments).output().expect(program);
    assert!(ended.status.success(), "{program} {arguments:?}: {ended:?}");
}

/// A step that cannot be repeated, one that is under way for seconds, and one that needs both.
const CONFIG: &str = r#"
[skills]
writePaths = ["/var/lib/openclaw/marks"]
[skills.commands.pay]
class = "once"
argv = ["sh", "-c", "echo paid >> /var/lib/openclaw/marks"]
[skills.commands.wait]
class = "idempotent"
argv = ["sh", "-c", "echo begun >> /var/lib/openclaw/marks; sleep 3"]
"#;

const RUN: &str = r#"{"task": "pay and wait", "plan": {"goal": "paid", "result": "wait", "steps": [
  {"id": "pay", "skill": "pay", "inputs": {}},
  {"id": "wait", "skill": "wait", "inputs": {}, "needs": ["pay"]}]}}"#;

/// With a credential in the manager's store that is the key of the secrets; without one the state keeps a file.
fn keeps_secrets_under_a_credential(machine: &Machine) {
    let sets = || machine.must("printf very-secret | /opt/openclaw/openclaw secret set token");
    machine.must("install -d -m 700 /etc/credstore && head -c 32 /dev/urandom >/etc/credstore/openclaw-secret-key");
    machine.must("systemctl restart openclaw");
    machine.serves();
    sets();
    machine.must("test ! -e /var/lib/openclaw/secret.key");
    machine.must("rm -r /etc/credstore && systemctl restart openclaw");
    machine.serves();
    sets();
    machine.must("test -e /var/lib/openclaw/secret.key && /opt/openclaw/openclaw secret remove token");
}

/// `systemctl reload` answers whether the files were taken, and the service goes on in any case.
fn reloads(machine: &Machine) {
    let pid = machine.show("MainPID");
    let config = format!("[gateway]\nmaxBodyBytes = 2000\n{CONFIG}");
    machine.write("/etc/openclaw/openclaw.toml", &config);
    machine.must("systemctl reload openclaw");
    assert_eq!(machine.show("StatusText"), "serving at http://127.0.0.1:8080");
    let large = "head -c 3000 /dev/zero | tr '\\0' x | curl -s -o /dev/null -w '%{http_code}' -m 20 \
                 -H \"Authorization: Bearer $(cat /var/lib/openclaw/operator.key)\" \
                 -H 'Content-Type: application/json' --data-binary @- http://127.0.0.1:8080/v1/runs";
    assert_eq!(machine.must(large), "413", "the new bound is in force");
    machine.write(
        "/etc/openclaw/openclaw.toml",
        &format!("[gateway]\nmaxBodyBytes = \"much\"\n{CONFIG}"),
    );
    let (told, went_well) = machine.run("systemctl reload openclaw");
    assert!(!went_well, "{told}");
    let status = machine.show("StatusText");
    assert!(
        status.contains("the configuration was not taken: OC-6") && status.contains("maxBodyBytes"),
        "{status}"
    );
    assert_eq!(machine.show("ActiveState"), "active");
    assert_eq!(machine.must(large), "413", "the last good one stays");
    machine.write("/etc/openclaw/openclaw.toml", CONFIG);
    machine.must("systemctl kill --signal=HUP --kill-who=main openclaw");
    until_each(PAUSE, "the files are taken on a signal", SERVICE_MAX, || {
        let status = machine.show("StatusText");
        (!status.contains("not taken")).then_some(()).ok_or(status)
    });
    assert_eq!((machine.show("MainPID"), machine.restarts()), (pid, 0));
}

/// The service may not write to the operator's folder, and root's commands do it in its place: files keep their owner and
/// mode, and are taken without a restart.
fn takes_what_the_operator_changes(machine: &Machine) {
    let openclaw = "/opt/openclaw/openclaw";
    machine.must("chown root:openclaw /etc/openclaw/openclaw.toml && chmod 640 /etc/openclaw/openclaw.toml");
    let as_service = "setpriv --reuid openclaw --regid openclaw --clear-groups";
    machine.must(&format!(
        "{as_service} test -r /etc/openclaw/openclaw.toml && ! {as_service} test -w /etc/openclaw"
    ));
    let told = machine.must(&format!("{openclaw} config set agent.maxRetries 4"));
    assert!(told.contains("→ 4") && told.contains("config reload"), "{told}");
    let stat = machine.must("stat -c '%U:%G %a' /etc/openclaw/openclaw.toml");
    assert_eq!(stat.trim(), "root:openclaw 640");
    let told = machine.must(&format!("{openclaw} config reload"));
    assert!(told.contains("agent.maxRetries"), "{told}");
    let (told, went_well) = machine.run(&format!("{openclaw} config set agent.maxRetries many"));
    assert!(!went_well && told.contains("OC-6002"), "{told}");

    machine.must(&format!("{openclaw} cron add yearly '0 0 1 1 *' --skill pay"));
    let (told, went_well) = machine.run(&format!("{openclaw} cron add broken '61 * * * *' --skill pay"));
    assert!(!went_well && told.contains("61"), "{told}");
    let listed = machine.must(&format!("{openclaw} cron list && ls /etc/openclaw/schedules"));
    assert!(listed.contains("yearly.toml") && !listed.contains("broken"), "{listed}");
    machine.must(&format!("{openclaw} cron show yearly"));
    machine.must(&format!(
        "{openclaw} cron remove yearly && test ! -e /etc/openclaw/schedules/yearly.toml"
    ));
    machine.must(&format!(
        "{openclaw} agent create zoe --model offline && {openclaw} config reload"
    ));
    machine.must(&format!("{openclaw} agent show zoe"));

    let (pid, restarts) = (machine.show("MainPID"), machine.restarts());
    machine.must(&format!("{openclaw} restart"));
    machine.serves();
    assert!(machine.show("MainPID") != pid && machine.restarts() == restarts);
    let lines = machine.must(&format!("{openclaw} logs -n 20"));
    assert!(lines.contains("ready gateway="), "{lines}");
}

#[test]
fn as_a_service_it_is_hardened_confines_programs_refuses_no_connection_and_resumes_after_a_kill() {
    if !is_here() {
        return;
    }
    let machine = Machine::with_service(CONFIG, None);
    assert_eq!(machine.show("StatusText"), "serving at http://127.0.0.1:8080");
    let journal = machine.journal();
    assert!(journal.contains("programs are confined"), "{journal}");
    machine.must("systemd-analyze security openclaw.service --threshold=20 >/dev/null");
    keeps_secrets_under_a_credential(&machine);

    reloads(&machine);
    takes_what_the_operator_changes(&machine);

    machine.must("install -o openclaw -g openclaw /dev/null /var/lib/openclaw/marks");
    machine.write("/run/order.json", RUN);
    let accepted = machine.must(
        "curl -s -m 20 -H \"Authorization: Bearer $(cat /var/lib/openclaw/operator.key)\" \
         -H 'Content-Type: application/json' -d @/run/order.json http://127.0.0.1:8080/v1/runs",
    );
    let accepted: serde_json::Value = serde_json::from_str(&accepted).expect(&accepted);
    let run = accepted["id"].as_str().expect("an id");
    until_each(PAUSE, "the second step is under way", SERVICE_MAX, || {
        let marks = machine.must("cat /var/lib/openclaw/marks");
        marks.contains("begun").then_some(()).ok_or(marks)
    });

    // Connections that come while the daemon is away wait in the manager's socket.
    let pid = machine.show("MainPID");
    let asked = machine.must(&format!(
        "kill -9 {pid}; for n in 1 2 3 4 5; do curl -s -m 60 -o /dev/null -w '%{{http_code}} ' http://127.0.0.1:8080/livez; done"
    ));
    assert_eq!(asked.trim(), "200 200 200 200 200", "{}", machine.journal());
    assert_eq!(machine.restarts(), 1);
    assert_ne!(machine.show("MainPID"), pid);
    until_each(PAUSE, "the run has ended", SERVICE_MAX, || {
        let shown = machine.must(&format!("/opt/openclaw/openclaw runs show {run} --json"));
        let shown: serde_json::Value = serde_json::from_str(&shown).expect(&shown);
        (shown["run"]["status"] == "succeeded").then_some(()).ok_or(shown)
    });
    let marks = machine.must("cat /var/lib/openclaw/marks");
    assert_eq!(marks.matches("paid").count(), 1, "{marks}");
    assert_eq!(marks.matches("begun").count(), 2, "{marks}");

    // A daemon that was told to stop is not started again by whoever waits for its end.
    let before = machine.restarts();
    machine.must("/opt/openclaw/openclaw stop");
    assert_eq!(machine.show("ActiveState"), "inactive", "{}", machine.journal());
    assert_eq!(machine.restarts(), before);
    machine.must("systemctl stop openclaw.socket openclaw.service");
    assert_eq!(machine.show("Result"), "success", "{}", machine.journal());
    machine.must("/opt/openclaw/openclaw service uninstall");
    assert!(!machine.run("systemctl cat openclaw.service").1, "the unit is gone");
    machine.must("test -e /var/lib/openclaw/openclaw.redb");
}

/// A scheduler that does not look at the clock for a minute counts as stuck; the watchdog needs three rounds of its own.
const STUCK_MAX: Duration = Duration::from_secs(150);

#[test]
fn a_scheduler_that_is_stuck_is_ended_by_the_watchdog_and_its_runs_go_on() {
    if !is_here() {
        return;
    }
    let config = format!("[admin]\nchaos = true\n{CONFIG}");
    let machine = Machine::with_service(&config, None);
    machine.must("install -o openclaw -g openclaw /dev/null /var/lib/openclaw/marks");
    // The service itself may not write to the operator's folder.
    machine.must("mkdir -p /etc/openclaw/schedules");
    machine.write(
        "/etc/openclaw/schedules/tick.toml",
        "cron = \"@every 1s\"\nskill = \"pay\"\noverlap = \"skip\"",
    );
    machine.must("systemctl restart openclaw");
    machine.serves();
    let marks = || machine.must("cat /var/lib/openclaw/marks").lines().count();
    until_each(PAUSE, "slots to run", SERVICE_MAX, || {
        let found = marks();
        (found >= 2).then_some(()).ok_or(found)
    });
    machine.must(
        "state=/var/lib/openclaw; admin=$(sed -n 's/.*\"admin\":\"\\([^\"]*\\).*/\\1/p' $state/daemon.json); \
         curl -sS --fail-with-body -m 20 --cacert $state/tls/internal.pem --cert $state/tls/operator.pem \
         -H \"Authorization: Bearer $(cat $state/operator.key)\" -H 'Content-Type: application/json' \
         -d '{\"path\": \"root/automation/schedules/tick\", \"seconds\": 600}' $admin/admin/v1/chaos/stall",
    );
    until_each(PAUSE, "the stuck scheduler is found", STUCK_MAX, || {
        let restarts = machine.restarts();
        (restarts == 1).then_some(()).ok_or((restarts, machine.journal()))
    });
    machine.must("journalctl -u openclaw --no-pager -o cat | grep -q 'schedules: `tick` was not looked after'");
    machine.serves();
    let before = marks();
    until_each(PAUSE, "slots to run again", SERVICE_MAX, || {
        let found = marks();
        (found > before).then_some(()).ok_or((before, found))
    });
}

#[test]
fn a_gateway_a_store_and_a_process_that_hang_are_ended_by_the_watchdog() {
    if !is_here() {
        return;
    }
    let disk = Disk::new();
    let machine = Machine::with_service("", Some(&disk.mounted()));
    machine.must("ip link set lo down");
    until_each(PAUSE, "the watchdog bites", SERVICE_MAX, || {
        let restarts = machine.restarts();
        (restarts > 0).then_some(()).ok_or((restarts, machine.journal()))
    });
    machine.must("ip link set lo up");
    machine.serves();

    machine.forgets_starts();
    let before = machine.restarts();
    machine.must("kill -STOP $(systemctl show openclaw -P MainPID)");
    machine.is_restarted(before);

    machine.forgets_starts();
    let before = machine.restarts();
    disk.freeze();
    // It cannot be ended before its write returns, so only the verdict is waited for.
    until_each(PAUSE, "the watchdog bites a third time", SERVICE_MAX, || {
        let state = machine.show("Result");
        (state == "watchdog").then_some(()).ok_or((state, machine.journal()))
    });
    disk.thaw();
    machine.is_restarted(before);
}

/// The service with the store of an earlier program, of which this machine has the bytes.
fn puts_earlier_store(machine: &Machine, disk: &Disk) {
    machine.must("systemctl stop openclaw.socket openclaw.service && rm -rf /var/lib/openclaw/*");
    migration::put_earlier_state(&disk.mounted());
    machine.must("chown -R openclaw:openclaw /var/lib/openclaw");
}

/// Stores of the earlier layout beside the store.
fn kept_stores(disk: &Disk) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(disk.mounted()).expect("a folder").flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().contains("openclaw.redb.layout-1-"))
        .collect()
}

#[test]
fn a_program_that_takes_its_forerunners_place_migrates_its_store_or_leaves_it_and_is_not_tried_again() {
    if !is_here() {
        return;
    }
    let disk = Disk::new();
    let machine = Machine::with_service("", Some(&disk.mounted()));
    machine.must("mkdir -p /opt/live && cp /opt/openclaw/openclaw /opt/live/ && /opt/live/openclaw service install");
    machine.must("systemctl restart openclaw");
    machine.serves();
    let program = || machine.must("readlink /proc/$(systemctl show openclaw -P MainPID)/exe");
    assert_eq!(program().trim(), "/opt/live/openclaw");
    machine.must("cp /opt/openclaw/openclaw /opt/live/next && mv /opt/live/next /opt/live/openclaw");
    assert_eq!(
        program().trim(),
        "/opt/live/openclaw (deleted)",
        "the forerunner goes on until the restart"
    );

    // No room for the copy: the store stays the forerunner's, and nobody starts it in a loop.
    puts_earlier_store(&machine, &disk);
    machine.must(
        "free=$(df -B1 --output=avail /var/lib/openclaw | tail -1); \
         fallocate -l $((free - 2097152)) /var/lib/openclaw/filler",
    );
    let (told, went_well) = machine.run("systemctl start openclaw");
    assert!(!went_well, "{told}");
    assert_eq!(machine.show("ActiveState"), "failed", "{}", machine.journal());
    assert_eq!((machine.show("ExecMainStatus").as_str(), machine.restarts()), ("4", 0));
    let journal = machine.journal();
    assert!(journal.contains("OC-3010"), "{journal}");
    let store = std::fs::read(disk.mounted().join("openclaw.redb")).expect("there");
    assert_eq!(store.len(), migration::golden().len());
    assert!(store == migration::golden(), "not one byte is another one");
    assert_eq!(kept_stores(&disk), Vec::<PathBuf>::new());

    // With room it is migrated, also when it is killed on its way.
    machine.must("rm /var/lib/openclaw/filler; systemctl reset-failed openclaw");
    machine.must(
        "systemctl start --no-block openclaw; pid=0; \
         while [ $pid -eq 0 ]; do pid=$(systemctl show openclaw -P MainPID); done; kill -9 $pid",
    );
    machine.is_restarted(0);
    assert_eq!(program().trim(), "/opt/live/openclaw");
    let kept = kept_stores(&disk);
    assert!(!kept.is_empty(), "{}", machine.journal());
    for back in kept {
        assert!(
            std::fs::read(back).expect("there") == migration::golden(),
            "the way back is the forerunner's store"
        );
    }
    let runs = machine.must(
        "curl -sf -m 20 -H \"Authorization: Bearer $(cat /var/lib/openclaw/operator.key)\" http://127.0.0.1:8080/v1/runs",
    );
    let runs: serde_json::Value = serde_json::from_str(&runs).expect(&runs);
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(5), "{runs}");
    machine.must("/opt/live/openclaw store verify --json | grep -q '\"sound\": *true'");
    restores_as_root(&machine);
}

/// Root cares for the store of a stopped service without a word on where it is, and the service can still use it.
fn restores_as_root(machine: &Machine) {
    let created = |machine: &Machine| {
        let told = machine.must("/opt/live/openclaw backup create --json");
        let told: serde_json::Value = serde_json::from_str(&told).expect(&told);
        told["name"].as_str().expect("a name").to_owned()
    };
    machine.must("systemctl stop openclaw.socket openclaw.service");
    let name = created(machine);
    machine.must(&format!("/opt/live/openclaw backup restore {name} --yes"));
    let roots = machine.must("find /var/lib/openclaw/ -mindepth 1 -not -name lost+found -not -user openclaw");
    assert_eq!(roots, "");
    machine.must("systemctl start openclaw.socket openclaw.service");
    machine.serves();
    assert_ne!(created(machine), name);
}
