//! Programs under the real shim: what they may do, and that nothing of them outlives its call or the daemon.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openclaw::domain::effect::EffectKey;
use openclaw::skills::process::end::{Ended, ProgramEnd, Rendering};
use openclaw::skills::process::orphans::shim_name;
use openclaw::skills::process::runner::{ProcessError, ProcessRunner, ProgramOrder};
use openclaw::skills::sandbox::policy::{Confinement, SandboxMode, SandboxSettings};
use openclaw::skills::spool::Spool;

/// Set for the copy of this test program that plays the daemon.
const DAEMON_FOLDER: &str = "OPENCLAW_TEST_DAEMON_FOLDER";

fn runner(folder: &Path) -> Arc<ProcessRunner> {
    let spool = Spool::open(folder.join("spool")).expect("spool");
    ProcessRunner::with_launcher(env!("CARGO_BIN_EXE_openclaw"), Some(spool))
}

pub fn key() -> EffectKey {
    EffectKey(uuid::Uuid::from_u128(fastrand::u128(..)))
}

/// A shell script as an order; the key is in its environment, by which its processes are found.
fn script(folder: &Path, key: EffectKey, text: &str) -> ProgramOrder {
    ProgramOrder {
        key,
        program: "/bin/sh".into(),
        argv: ["sh", "-c", text].map(str::to_owned).to_vec(),
        cwd: folder.to_owned(),
        env: vec![
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("OPENCLAW_EFFECT_KEY".to_owned(), key.to_string()),
        ],
        stdin: String::new(),
        limit: Duration::from_secs(30),
        output_bytes_max: 1000,
        spooled: true,
        rendering: Rendering::Json,
        confinement: Confinement::to_workspace(folder),
    }
}

/// The processes that have this key in their environment.
pub fn alive(key: EffectKey) -> Vec<u32> {
    let wanted = format!("OPENCLAW_EFFECT_KEY={key}");
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let mut variables = environment.split(|byte| *byte == 0);
            variables.any(|variable| variable == wanted.as_bytes()).then_some(pid)
        })
        .collect()
}

fn eventually<T: std::fmt::Debug>(what: &str, mut look: impl FnMut() -> T, good: impl Fn(&T) -> bool) -> T {
    let began = Instant::now();
    loop {
        let seen = look();
        if good(&seen) {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: last seen {seen:?}");
        std::thread::yield_now();
    }
}

fn run(order: ProgramOrder, runner: &Arc<ProcessRunner>) -> ProgramEnd {
    block_on(runner.run(order)).expect("the machinery works")
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("runtime").block_on(future)
}

#[test]
fn a_program_ends_as_it_says() {
    let folder = tempfile::tempdir().expect("folder");
    let runner = runner(folder.path());
    let check = |text: &str, ended: Ended, stdout: &str, stderr: &str| {
        let end = run(script(folder.path(), key(), text), &runner);
        assert_eq!(
            (&end.ended, &*end.stdout, &*end.stderr),
            (&ended, stdout, stderr),
            "{text}"
        );
        assert!(!end.truncated && !end.from_spool, "{text}");
    };
    check("echo out; echo err >&2", Ended::Exited { code: 0 }, "out\n", "err\n");
    check("exit 7", Ended::Exited { code: 7 }, "", "");
    check("kill -9 $$", Ended::Signaled { signal: 9 }, "", "");
    check(
        "pwd",
        Ended::Exited { code: 0 },
        &format!("{}\n", folder.path().display()),
        "",
    );
    check(
        "echo ${HOME-none} ${CARGO_MANIFEST_DIR-none}",
        Ended::Exited { code: 0 },
        "none none\n",
        "",
    );
    check("ulimit -c", Ended::Exited { code: 0 }, "0\n", "");
    check("ulimit -n", Ended::Exited { code: 0 }, "1024\n", "");
    let order = ProgramOrder {
        stdin: "in".to_owned(),
        ..script(folder.path(), key(), "cat")
    };
    assert_eq!(run(order, &runner).stdout, "in");
}

#[test]
fn a_file_that_is_no_program_is_said_not_to_have_started() {
    let folder = tempfile::tempdir().expect("folder");
    let runner = runner(folder.path());
    let check = |program: &str, cwd: &str| {
        let order = ProgramOrder {
            program: program.into(),
            cwd: cwd.into(),
            ..script(folder.path(), key(), "true")
        };
        let end = run(order, &runner);
        assert!(matches!(end.ended, Ended::NotStarted { .. }), "{program}: {end:?}");
    };
    check("/no/such/program", "/");
    check("/etc/passwd", "/");
    check("/bin/sh", "/no/such/folder");
}

#[test]
fn a_flood_of_output_is_cut_and_does_not_stop_the_program() {
    let folder = tempfile::tempdir().expect("folder");
    let text = "echo first; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo last";
    let end = run(script(folder.path(), key(), text), &runner(folder.path()));
    assert_eq!(end.ended, Ended::Exited { code: 0 });
    assert!(end.truncated && end.stdout.len() < 1100, "{}", end.stdout.len());
    assert!(
        end.stdout.starts_with("first\nx") && end.stdout.ends_with("x\nlast\n"),
        "{}",
        end.stdout
    );
}

/// Starts what is hardest to end: deaf to the request, away from the group, without its parent.
const STUBBORN: &str = "trap '' TERM; (trap '' TERM; setsid sleep 600 & setsid sh -c 'sleep 600 & sleep 600' &) ; \
                        sleep 600 & touch ready; sleep 600";

#[test]
fn nothing_outlives_the_time_limit() {
    let folder = tempfile::tempdir().expect("folder");
    let key = key();
    let order = ProgramOrder {
        limit: Duration::from_millis(1500),
        ..script(folder.path(), key, STUBBORN)
    };
    let end = run(order, &runner(folder.path()));
    assert_eq!(end.ended, Ended::TimedOut { limit_ms: 1500 });
    assert!(folder.path().join("ready").exists());
    assert_eq!(alive(key), Vec::<u32>::new());
}

#[test]
fn nothing_outlives_the_program_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let key = key();
    let end = run(
        script(folder.path(), key, "sleep 600 & setsid sleep 600 & echo done"),
        &runner(folder.path()),
    );
    assert_eq!((end.ended, &*end.stdout), (Ended::Exited { code: 0 }, "done\n"));
    assert_eq!(alive(key), Vec::<u32>::new());
}

#[test]
fn nothing_outlives_a_dropped_call() {
    let folder = tempfile::tempdir().expect("folder");
    let (runner, key) = (runner(folder.path()), key());
    block_on(async {
        let mut call = Box::pin(runner.run(script(folder.path(), key, STUBBORN)));
        let ready = folder.path().join("ready");
        while !ready.exists() {
            let step = tokio::time::timeout(Duration::from_millis(5), &mut call).await;
            assert!(step.is_err(), "ended before it was cancelled: {step:?}");
        }
        drop(call);
        runner.settled(key).await;
    });
    assert_eq!(alive(key), Vec::<u32>::new());
    let spool = runner.spool().expect("spool");
    assert_eq!(spool.find(key).expect("readable"), None, "nobody knows how far it came");
}

#[test]
fn nothing_outlives_a_killed_shim() {
    let folder = tempfile::tempdir().expect("folder");
    let (runner, key) = (runner(folder.path()), key());
    let script = script(folder.path(), key, &format!("{STUBBORN}; true"));
    let ended = block_on(async {
        let call = runner.run(script);
        let kill = async {
            while !folder.path().join("ready").exists() {
                tokio::task::yield_now().await;
            }
            let shim = parent_of_first(key);
            let killed = Command::new("kill")
                .args(["-9", &shim.to_string()])
                .status()
                .expect("kill");
            assert!(killed.success());
        };
        tokio::join!(call, kill).0
    });
    assert!(matches!(ended, Err(ProcessError::BadReport { .. })), "{ended:?}");
    assert_eq!(alive(key), Vec::<u32>::new());
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a number");
    rustix::process::kill_process(pid, signal).expect("it is there");
}

#[test]
fn a_killed_launcher_costs_no_program_that_runs_and_another_one_follows() {
    let folder = tempfile::tempdir().expect("folder");
    let (runner, key) = (runner(folder.path()), key());
    let text = "touch ready; while [ ! -e go ]; do sleep 0.01; done; echo done >> effect; echo done";
    let end = block_on(async {
        let call = runner.run(script(folder.path(), key, text));
        let kill = async {
            while !folder.path().join("ready").exists() {
                tokio::task::yield_now().await;
            }
            signal(parent_of(parent_of_first(key)), rustix::process::Signal::KILL);
            // The next program finds it gone, and what runs still runs.
            let end = runner.run(script(folder.path(), self::key(), "echo next")).await;
            assert_eq!(end.expect("the machinery works").stdout, "next\n");
            std::fs::write(folder.path().join("go"), "").expect("written");
        };
        tokio::join!(call, kill).0.expect("the machinery works")
    });
    assert_eq!((end.ended, &*end.stdout), (Ended::Exited { code: 0 }, "done\n"));
    assert_eq!(
        std::fs::read_to_string(folder.path().join("effect")).expect("there"),
        "done\n"
    );
}

#[test]
fn an_order_that_a_launcher_took_to_its_grave_is_carried_out_once() {
    let folder = tempfile::tempdir().expect("folder");
    let (runner, first) = (runner(folder.path()), key());
    let launcher = block_on(async {
        // Dropped while it runs: its shim takes no other order.
        let call = runner.run(script(folder.path(), first, "touch ready; sleep 30"));
        let look = async {
            while !folder.path().join("ready").exists() {
                tokio::task::yield_now().await;
            }
            parent_of(parent_of_first(first))
        };
        tokio::select! {
            end = call => panic!("it ended: {end:?}"),
            launcher = look => launcher,
        }
    });
    signal(launcher, rustix::process::Signal::STOP);
    let end = block_on(async {
        let mut call = Box::pin(runner.run(script(folder.path(), key(), "echo x >> effect; echo done")));
        // The order is with the launcher, which does nothing.
        let step = tokio::time::timeout(Duration::from_millis(300), &mut call).await;
        assert!(step.is_err(), "who carried it out? {step:?}");
        signal(launcher, rustix::process::Signal::KILL);
        call.await.expect("the machinery works")
    });
    assert_eq!((end.ended, &*end.stdout), (Ended::Exited { code: 0 }, "done\n"));
    assert_eq!(
        std::fs::read_to_string(folder.path().join("effect")).expect("there"),
        "x\n"
    );
}

/// The parent of the program, which is the first of its processes.
fn parent_of_first(key: EffectKey) -> u32 {
    let pids = alive(key);
    parent_of(*pids.iter().min().expect("it runs"))
}

fn parent_of(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after_name = stat.rsplit_once(')').expect("a name").1;
    after_name
        .split_whitespace()
        .nth(1)
        .expect("a parent")
        .parse()
        .expect("a pid")
}

#[test]
fn one_shim_carries_out_one_order_after_the_other_and_whoever_finds_it_gone_asks_for_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let runner = runner(folder.path());
    let parent = || -> u32 {
        let end = run(script(folder.path(), key(), "echo $PPID"), &runner);
        end.stdout.trim().parse().unwrap_or_else(|_| panic!("{end:?}"))
    };
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let first = parent();
    assert_eq!(parent(), first, "a copy for each program");
    assert_eq!(
        name(first),
        "openclaw-shim\n",
        "it bears the name of a call that is over"
    );
    signal(first, rustix::process::Signal::KILL);
    let second = parent();
    assert_ne!(second, first);
    drop(runner);
    let stat = || std::fs::read_to_string(format!("/proc/{second}/stat")).unwrap_or_default();
    eventually("the shim to end with its daemon", stat, |stat| {
        stat.is_empty() || stat.contains(") Z")
    });
}

/// Programs that sleep for this long.
pub fn sleeping(seconds: &str) -> Vec<u32> {
    let wanted = format!("sleep\0{seconds}\0");
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let numbered = processes.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())));
    let found = numbered
        .filter(|(_, folder)| std::fs::read(folder.join("cmdline")).is_ok_and(|line| line == wanted.as_bytes()));
    found.map(|(pid, _)| pid).collect()
}

#[test]
fn what_a_program_started_under_no_name_of_ours_goes_with_its_shim() {
    // Without the sandbox there is no control group, and the launcher alone sees what is left.
    for mode in [SandboxMode::On, SandboxMode::Off] {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = SandboxSettings {
            mode,
            ..SandboxSettings::default()
        };
        let spool = Spool::open(folder.path().join("spool")).expect("spool");
        let runner = ProcessRunner::with(env!("CARGO_BIN_EXE_openclaw").into(), Some(spool), settings);
        let seconds = format!("6{}", fastrand::u32(10_000_000..99_999_999));
        let text = format!("env -i setsid sleep {seconds} & echo $PPID > shim.new; mv shim.new shim; sleep 600");
        let order = script(folder.path(), key(), &text);
        let ended = std::thread::spawn({
            let runner = Arc::clone(&runner);
            move || block_on(runner.run(order))
        });
        eventually("the stranger", || sleeping(&seconds), |pids| pids.len() == 1);
        let shim = || std::fs::read_to_string(folder.path().join("shim")).unwrap_or_default();
        eventually("the shim's number", shim, |text| !text.is_empty());
        signal(shim().trim().parse().expect("a number"), rustix::process::Signal::KILL);
        let ended = ended.join().expect("no panic");
        assert!(matches!(ended, Err(ProcessError::BadReport { .. })), "{ended:?}");
        if block_on(runner.sandbox()).cgroup.is_some() {
            assert_eq!(
                sleeping(&seconds),
                Vec::<u32>::new(),
                "nothing is left when the end is told"
            );
        }
        eventually("the stranger to be gone", || sleeping(&seconds), Vec::is_empty);
    }
}

#[test]
fn recovery_ends_what_still_runs_under_a_key() {
    let folder = tempfile::tempdir().expect("folder");
    let (runner, key, other) = (runner(folder.path()), key(), key());
    let mut spared = Command::new("sleep")
        .arg("600")
        .env("OPENCLAW_EFFECT_KEY", other.to_string())
        .spawn()
        .expect("sleep");
    let mut left = Command::new("sh");
    left.args(["-c", "trap '' TERM; sleep 600 & sleep 600"])
        .env("OPENCLAW_EFFECT_KEY", key.to_string());
    let mut left = left.spawn().expect("sh");
    eventually("all its processes run", || alive(key), |pids| pids.len() >= 3);
    assert_eq!(block_on(runner.end_leftovers(vec![key])), 3);
    assert_eq!(alive(key), Vec::<u32>::new());
    assert_eq!(alive(other).len(), 1);
    left.wait().expect("ended");
    spared.kill().expect("killed");
    spared.wait().expect("ended");
}

#[test]
fn the_daemon_of_the_kill_test() {
    let Ok(folder) = std::env::var(DAEMON_FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let key = std::fs::read_to_string(folder.join("key")).expect("key");
    let key = EffectKey(uuid::Uuid::parse_str(&key).expect("key"));
    run(script(folder, key, STUBBORN), &runner(folder));
}

#[test]
fn nothing_outlives_a_killed_daemon() {
    let folder = tempfile::tempdir().expect("folder");
    let key = key();
    std::fs::write(folder.path().join("key"), key.to_string()).expect("written");
    let mut daemon = Command::new(std::env::current_exe().expect("this program"))
        .args(["process::the_daemon_of_the_kill_test", "--exact"])
        .env(DAEMON_FOLDER, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("daemon");
    let ready = folder.path().join("ready");
    eventually("the program runs", || ready.exists(), |there| *there);
    eventually("all its processes run", || alive(key), |pids| pids.len() >= 6);
    daemon.kill().expect("killed");
    daemon.wait().expect("ended");
    eventually("nothing is left", || alive(key), Vec::is_empty);
}

#[test]
fn a_program_with_a_report_in_the_spool_is_not_run_again() {
    let folder = tempfile::tempdir().expect("folder");
    let (runner, key) = (runner(folder.path()), key());
    let order = script(folder.path(), key, "echo x >> ledger; echo done; exit 3");
    let first = run(order.clone(), &runner);
    let second = run(order.clone(), &runner);
    assert_eq!((first.from_spool, second.from_spool), (false, true));
    assert_eq!((&first.ended, &first.stdout), (&second.ended, &second.stdout));
    let ledger = || std::fs::read_to_string(folder.path().join("ledger")).expect("ledger");
    assert_eq!(ledger(), "x\n");
    let spool = runner.spool().expect("spool");
    let outcome = spool.find(key).expect("readable").expect("there");
    assert_eq!(outcome, first.outcome(Rendering::Json));
    spool.remove(key).expect("removed");
    assert!(!run(order, &runner).from_spool);
    assert_eq!(ledger(), "x\nx\n");
}

#[test]
fn what_recovery_ends_includes_a_shim_that_has_not_come_to_its_program_yet() {
    let folder = tempfile::tempdir().expect("folder");
    let (runner, key) = (runner(folder.path()), key());
    let shims = || {
        let wanted = shim_name(key);
        let processes = std::fs::read_dir("/proc").expect("proc").flatten();
        let found = processes.filter_map(|entry| {
            let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // One that has ended keeps its name until it is reaped, and has no program.
            std::fs::read_link(entry.path().join("exe")).ok()?;
            (name.trim_end() == wanted).then_some(pid)
        });
        found.collect::<Vec<i32>>()
    };
    block_on(async {
        let order = script(folder.path(), key, "echo done >> effect");
        let run = tokio::spawn({
            let runner = Arc::clone(&runner);
            async move { runner.run(order).await }
        });
        while shims().is_empty() {
            tokio::task::yield_now().await;
        }
        for shim in shims() {
            let pid = rustix::process::Pid::from_raw(shim).expect("a number");
            // It may have come to its end already; the promise is the same.
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).ok();
        }
        // As when the daemon is killed: nobody holds the other end of the pipe.
        run.abort();
        run.await.ok();
        runner.end_leftovers(vec![key]).await;
    });
    assert_eq!((shims(), alive(key)), (vec![], vec![]), "its program may still begin");
}
