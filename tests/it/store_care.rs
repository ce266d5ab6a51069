//! Backups of a daemon that works, and a disk that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use openclaw::storage::batch::{Batch, Op};
use openclaw::storage::record::secret::SecretRecord;
use openclaw::storage::store::Store;
use openclaw::storage::writer::Writer;
use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::disk::SmallDisk;
use crate::support::rim::{RUN_MAX, Rim};
use crate::support::wait::until;

/// Longest time from a change of the disk until the daemon acts on it.
const NOTICED_MAX: Duration = Duration::from_secs(20);

/// Runs one command line, and its answer as JSON.
fn claw(home: &TestHome, line: &[&str], exit: i32) -> Value {
    let mut command = home.command();
    let Output { status, stdout, stderr } = command.arg("--json").args(line).output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        status.code(),
        Some(exit),
        "{line:?}\n{}\n{}",
        text(&stdout),
        text(&stderr)
    );
    let said = if stdout.is_empty() { stderr } else { stdout };
    serde_json::from_slice(&said).unwrap_or_else(|error| panic!("{line:?}: {error}: {}", text(&said)))
}

fn write_file(text: &str) -> Value {
    json!([{ "id": "write", "skill": "fs.write", "inputs": { "path": "out", "content": text } }])
}

/// A run whose one program ends when `leave` is there, and a step after it.
fn waiting_plan() -> Value {
    const PROGRAM: &str = "echo 1 > begun; n=0; while [ ! -f leave ] && [ $n -lt 1200 ]; do sleep 0.05; n=$((n+1)); done; \
                           echo done >> ledger";
    json!([
        { "id": "effect", "skill": "exec.run", "inputs": { "argv": ["sh", "-c", PROGRAM] }, "retries": 0 },
        { "id": "after", "skill": "fs.read", "needs": ["effect"], "inputs": { "path": "ledger" } },
    ])
}

/// How far each step is.
fn phases(run: &Value) -> Vec<String> {
    let steps = run["steps"].as_array().expect("steps").iter();
    steps
        .map(|step| step["status"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn begun(folder: &Path) {
    until("the program to begin", RUN_MAX, || {
        folder.join("begun").exists().then_some(()).ok_or("it has not")
    });
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn a_backup_under_load_is_whole_and_a_restored_home_goes_on_from_it() {
    let home = TestHome::new("[store]\nbackupKeep = 2\n");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let folder = home.workspace();
    let ended = rim.submit_plan(&folder, &write_file("one"));
    assert_eq!(rim.ended(&ended)["status"], "succeeded");
    let active = rim.submit_plan(&folder, &waiting_plan());
    begun(&folder);

    // While it is copied, others are accepted.
    let made = std::thread::scope(|scope| {
        let making = scope.spawn(|| {
            (0..3)
                .map(|_| claw(&home, &["backup", "create"], 0))
                .collect::<Vec<_>>()
        });
        while !making.is_finished() {
            rim.submit_plan(&folder, &write_file("load"));
        }
        making.join().expect("made")
    });
    let listed = claw(&home, &["backup", "list"], 0);
    let names: Vec<&str> = listed["backups"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names.len(), 2, "the oldest went: {listed}");
    let name = made[2]["name"].as_str().expect("a name").to_owned();
    assert_eq!(names[1], name);
    assert_eq!(claw(&home, &["backup", "verify", &name], 0)["sound"], true);
    let after = rim.submit_plan(&folder, &write_file("after"));
    assert_eq!(claw(&home, &["store", "verify"], 0)["sound"], true);

    let refused = claw(&home, &["backup", "restore", &name, "--yes"], 4);
    assert_eq!(refused["error"]["code"], "OC-3001", "a daemon runs: {refused}");
    fs::write(folder.join("leave"), "").expect("written");
    rim.ended(&active);
    assert!(daemon.terminate().success());

    let shown = claw(&home, &["backup", "restore", &name], 1);
    assert_eq!(shown["restored"], false);
    let replaced: Vec<&str> = shown["replaces"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(
        replaced.iter().any(|path| path.ends_with("state/openclaw.redb")),
        "{replaced:?}"
    );
    assert!(
        !Path::new(shown["kept_in"].as_str().expect("a path")).exists(),
        "nothing was done"
    );

    let done = claw(&home, &["backup", "restore", &name, "--yes"], 0);
    assert!(done["parked"].as_u64() >= Some(1), "{done}");
    let kept = PathBuf::from(done["kept_in"].as_str().expect("a path"));
    assert!(kept.join("openclaw.redb").is_file(), "what was replaced is kept");

    let daemon = home.start();
    let rim = Rim::of(&daemon);
    assert_eq!(rim.run(&ended)["status"], "succeeded");
    assert_eq!(rim.run(&active)["status"], "parked", "nobody knows how far it came");
    assert_eq!(
        rim.get(&format!("/v1/runs/{after}")).status,
        404,
        "it came after the backup"
    );
    assert_eq!(
        rim.ended(&rim.submit_plan(&folder, &write_file("new")))["status"],
        "succeeded"
    );
    assert_eq!(claw(&home, &["audit", "--verify"], 0)["sound"], true);
    assert_eq!(claw(&home, &["store", "verify"], 0)["sound"], true);
    assert!(claw(&home, &["store", "compact"], 0)["bytes_after"].as_u64() > Some(0));
    assert!(daemon.terminate().success());
    let verified = claw(&home, &["store", "verify"], 0);
    assert_eq!((&verified["sound"], &verified["pages"]), (&json!(true), &json!(true)));

    flip_a_byte(&PathBuf::from(made[2]["path"].as_str().expect("a path")).join("state/openclaw.redb"));
    let damaged = claw(&home, &["backup", "verify", &name], 1);
    assert_eq!(damaged["error"]["code"], "OC-2022", "{damaged}");
    let damaged = claw(&home, &["backup", "restore", &name, "--yes"], 1);
    assert_eq!(damaged["error"]["code"], "OC-2022", "{damaged}");
}

#[test]
fn a_restore_that_was_interrupted_keeps_the_daemon_from_starting() {
    let home = TestHome::new("");
    assert!(home.start().terminate().success());
    claw(&home, &["backup", "create"], 0);
    let listed = claw(&home, &["backup", "list"], 0);
    let name = listed["backups"][0]["name"].as_str().expect("a name").to_owned();
    fs::create_dir(home.path().join("state/restoring")).expect("made");
    let refused = claw(&home, &["start", "--port", "0"], 4);
    assert_eq!(refused["error"]["code"], "OC-2025", "{refused}");
    claw(&home, &["backup", "restore", &name, "--yes"], 0);
    assert!(home.start().terminate().success());
}

#[test]
fn a_disk_that_is_full_of_what_the_store_has_let_go_has_room_again() {
    let home = TestHome::new("[store]\nminFreeBytes = 73400320\n");
    let Some(_disk) = SmallDisk::mount(&home.path().join("state"), 128) else {
        return;
    };
    // What came and went, but for one at the end: the file keeps the room of the others.
    let store = Store::open(&home.store_file(), 1 << 20).expect("opens");
    let mut writer = Writer::new(store).expect("a writer");
    let secret = |number: u32| {
        Op::SecretPut(
            format!("s{number}"),
            SecretRecord {
                key_id: [0; 8],
                sealed: vec![7; 500_000],
                set_at: 0,
            },
        )
    };
    writer
        .commit(&[Batch::ops((0..100).map(secret).collect())])
        .expect("commits");
    let gone = (0..99).map(|number| Op::SecretRemove(format!("s{number}")));
    writer.commit(&[Batch::ops(gone.collect())]).expect("commits");
    drop(writer);
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let plan = json!({ "task": "a test", "workspace": home.workspace(), "plan": { "steps": write_file("x") } });
    let refused = rim.post("/v1/runs", &plan);
    assert_eq!((refused.status, refused.code()), (507, "OC-2020"), "{}", refused.body);
    until("room for new work", RUN_MAX, || {
        let taken = rim.post("/v1/runs", &plan);
        (taken.status == 202).then_some(()).ok_or(taken.body)
    });
    assert!(home.words().contains("the store was made smaller"), "{}", home.words());
}

#[test]
fn a_full_disk_refuses_new_work_parks_what_runs_and_all_goes_on_when_there_is_room() {
    let home = TestHome::new("[store]\nminFreeBytes = 4194304\n");
    let Some(disk) = SmallDisk::mount(&home.path().join("state"), 24) else {
        return;
    };
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let folder = home.workspace();
    let is_full = |rim: &Rim, wanted: bool| {
        until("the daemon to see the disk", NOTICED_MAX, || {
            let status = rim.get("/v1/status").body["disk"].clone();
            (status["full"] == wanted).then_some(()).ok_or(status)
        });
    };
    let active = rim.submit_plan(&folder, &waiting_plan());
    begun(&folder);
    disk.fill_but(2 << 20);
    is_full(&rim, true);
    let plan = json!({ "task": "a test", "workspace": folder, "plan": { "steps": write_file("x") } });
    let refused = rim.post("/v1/runs", &plan);
    assert_eq!((refused.status, refused.code()), (507, "OC-2020"), "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    let put = rim.ask("PUT", "/v1/memory/global/k", &[], r#"{"text":"x"}"#);
    assert_eq!((put.status, put.code()), (507, "OC-2020"), "{}", put.body);

    // To the last byte: what is under way is committed all the same, and nothing new starts.
    disk.fill_but(0);
    fs::write(folder.join("leave"), "").expect("written");
    until("the first step to be done", RUN_MAX, || {
        let phases = phases(&rim.run(&active));
        (phases[0] == "done").then_some(()).ok_or(phases)
    });
    let check_parked = |rim: &Rim| {
        let run = rim.run(&active);
        assert_eq!(run["status"], "active", "{run}");
        assert_eq!(phases(&run), ["done", "ready"], "{run}");
        let refused = rim.post("/v1/runs", &plan);
        assert_eq!((refused.status, refused.code()), (507, "OC-2020"), "{}", refused.body);
    };
    check_parked(&rim);

    // A process that starts on a full disk takes nothing up either.
    daemon.kill();
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    is_full(&rim, true);
    check_parked(&rim);

    disk.empty();
    is_full(&rim, false);
    let run = rim.ended(&active);
    assert_eq!(
        (&run["status"], &run["result"]),
        (&json!("succeeded"), &json!("done\n")),
        "{run}"
    );
    assert_eq!(
        fs::read_to_string(folder.join("ledger")).expect("the effect"),
        "done\n",
        "once"
    );
    assert_eq!(rim.ended(&rim.submit(&plan))["status"], "succeeded");
    // One incident from the beginning to the end, also over the kill.
    let told = rim.get("/v1/incidents").body;
    let all = told["incidents"].as_array().expect("a list").iter();
    let of_disk: Vec<_> = all.filter(|one| one["of"] == "disk:state").collect();
    assert_eq!(of_disk.len(), 1, "{told}");
    assert_eq!(of_disk[0]["what"], "the disk of the state folder is full", "{told}");
    let how = of_disk[0]["resolved"]["how"].as_str();
    assert!(how.is_some_and(|how| how.starts_with("there is room again")), "{told}");
    assert_eq!(claw(&home, &["store", "verify"], 0)["sound"], true);
    assert!(daemon.terminate().success());
}

#[test]
fn a_backup_that_is_due_is_made_by_itself_and_one_that_cannot_be_is_an_incident_until_it_can() {
    let home = TestHome::new("[store]\nbackupEvery = 86400\n");
    let folder = home.path().join("state/backups");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let backups = || {
        let found = claw(&home, &["backup", "list"], 0);
        found["backups"].as_array().expect("backups").len()
    };
    until("the first backup", RUN_MAX, || {
        let found = backups();
        (found == 1).then_some(()).ok_or(found)
    });
    daemon.terminate();
    // The next life knows that the next one is due tomorrow; what lies in the way is no reason to end.
    let daemon = home.start();
    let second = Rim::of(&daemon);
    assert_eq!(second.get("/livez").status, 200);
    assert_eq!(backups(), 1);
    daemon.terminate();
    fs::remove_dir_all(&folder).expect("gone");
    fs::write(&folder, "in the way").expect("a file where the folder should be");
    let daemon = home.start();
    let rim = Rim {
        address: Rim::of(&daemon).address,
        ..rim
    };
    let incident = until("the incident", RUN_MAX, || {
        let found = rim.get("/v1/incidents").body;
        let all = found["incidents"].as_array().expect("incidents").iter();
        let mut own = all.filter(|incident| incident["of"] == "backup:scheduled");
        own.next().cloned().ok_or_else(|| found.to_string())
    });
    assert_eq!(
        (&incident["open"], &incident["severity"]),
        (&json!(true), &json!("error")),
        "{incident}"
    );
    daemon.terminate();
    fs::remove_file(&folder).expect("out of the way");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let id = incident["id"].as_str().expect("an id");
    until("the incident to end", RUN_MAX, || {
        let found = rim.get(&format!("/v1/incidents/{id}")).body;
        (found["open"] == false).then_some(()).ok_or(found)
    });
    assert_eq!(backups(), 1);
    daemon.terminate();
}
