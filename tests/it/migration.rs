//! A home whose store an earlier program wrote, with the real binary: it is brought to this program, killed in the
//! middle, and refused with everything as it was.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::support::daemon::TestHome;
use crate::support::disk::SmallDisk;
use crate::support::rim::Rim;

/// The file that the last program of the first layout wrote.
const GOLDEN: &[u8] = include_bytes!("golden/store-layout-1.redb.gz");

/// What stands beside it: the key of its audit log, and the checkpoint of the log's last row.
const AUDIT_KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111\n";
const AUDIT_CHECKPOINTS: &str = include_str!("golden/store-layout-1.audit.checkpoints");

/// The store's bytes as that program left them.
pub fn golden() -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(GOLDEN).read_to_end(&mut bytes).expect("unpacks");
    bytes
}

/// Puts a state of that program into a folder.
pub fn put_earlier_state(folder: &Path) {
    std::fs::write(folder.join("openclaw.redb"), golden()).expect("written");
    std::fs::write(folder.join("audit.checkpoints"), AUDIT_CHECKPOINTS).expect("written");
    let mut key = OpenOptions::new();
    key.write(true).create(true).truncate(true).mode(0o600);
    let mut key = key.open(folder.join("audit.key")).expect("made");
    key.write_all(AUDIT_KEY.as_bytes()).expect("written");
}

fn earlier_home() -> TestHome {
    let home = TestHome::new("[log]\nlevel = \"info\"\n");
    std::fs::create_dir_all(home.path().join("state")).expect("a folder");
    put_earlier_state(&home.path().join("state"));
    home
}

/// Stores of earlier layouts beside the store.
fn kept(home: &TestHome) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home.path().join("state"))
        .expect("a folder")
        .flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.to_string_lossy().contains("openclaw.redb.layout-1-"))
        .collect()
}

fn claw(home: &TestHome, line: &[&str]) -> (Value, Option<i32>) {
    let mut command = home.command();
    let Output { status, stdout, stderr } = command.arg("--json").args(line).output().expect("the binary runs");
    let said = if stdout.is_empty() { stderr } else { stdout };
    let text = String::from_utf8_lossy(&said).into_owned();
    (
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
        status.code(),
    )
}

/// What the earlier program had is here: its runs, what was kept, the ledger of its schedule.
fn has_everything(home: &TestHome, rim: &Rim) {
    let runs = rim.get("/v1/runs").body;
    let runs = runs["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 5, "{runs:?}");
    for run in runs {
        let id = run["id"].as_str().expect("an id");
        let timeline = rim.get(&format!("/v1/runs/{id}/timeline")).body;
        assert!(
            timeline["entries"].as_array().is_some_and(|entries| entries.len() > 3),
            "{timeline}"
        );
    }
    let kept = rim.get("/v1/memory/global/auth-pattern").body;
    assert!(kept.to_string().contains("at the edge"), "{kept}");
    let (audit, code) = claw(home, &["audit", "--verify"]);
    assert_eq!(code, Some(0), "{audit}");
    let (verified, code) = claw(home, &["store", "verify"]);
    assert_eq!((code, &verified["sound"]), (Some(0), &json!(true)), "{verified}");
}

#[test]
fn a_home_of_an_earlier_program_is_migrated_at_the_start_with_everything_in_it() {
    let home = earlier_home();
    // A command that only reads does not migrate by the way, and says who does.
    let (refused, code) = claw(&home, &["store", "compact"]);
    assert_eq!(
        (code, &refused["error"]["code"]),
        (Some(4), &json!("OC-3012")),
        "{refused}"
    );
    let (planned, code) = claw(&home, &["store", "migrate", "--dry-run"]);
    assert_eq!(code, Some(0), "{planned}");
    assert_eq!(
        (&planned["from"], &planned["to"], &planned["done"]),
        (&json!(1), &json!(2), &json!(false))
    );
    assert_eq!(
        std::fs::read(home.store_file()).expect("there"),
        golden(),
        "a dry run does nothing"
    );
    let daemon = home.start();
    has_everything(&home, &Rim::of(&daemon));
    daemon.terminate();
    let back = kept(&home);
    assert_eq!(back.len(), 1);
    assert_eq!(
        std::fs::read(&back[0]).expect("there"),
        golden(),
        "the store as it was is kept byte for byte"
    );
    let (nothing, code) = claw(&home, &["store", "migrate"]);
    assert_eq!((code, &nothing["steps"]), (Some(0), &json!([])), "{nothing}");
}

#[test]
fn a_start_that_is_killed_at_any_moment_of_a_migration_leaves_a_store_that_the_next_one_opens() {
    let home = earlier_home();
    for ms in [2, 4, 6, 8, 10, 12, 15, 18, 22, 26, 30, 40, 50, 70, 90, 120, 160] {
        let mut command = home.command();
        let mut process = command
            .args(["store", "migrate"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(ms));
        process.kill().ok();
        process.wait().expect("ended");
        // Whatever was reached: there is one whole store, of the one layout or of the other.
        let (found, code) = claw(&home, &["store", "migrate", "--dry-run"]);
        assert_eq!(code, Some(0), "after {ms} ms: {found}");
        if found["steps"] == json!([]) {
            std::fs::write(home.store_file(), golden()).expect("written again");
        } else {
            assert_eq!(
                std::fs::read(home.store_file()).expect("there"),
                golden(),
                "after {ms} ms: not one byte is another one"
            );
        }
    }
    let daemon = home.start();
    has_everything(&home, &Rim::of(&daemon));
    daemon.terminate();
    assert!(kept(&home).len() <= 2, "{:?}", kept(&home));
}

#[test]
fn a_disk_without_room_for_the_copy_refuses_the_start_and_leaves_the_store_to_the_earlier_program() {
    let home = TestHome::new("[log]\nlevel = \"info\"\n");
    let Some(disk) = SmallDisk::mount(&home.path().join("state"), 24) else {
        return;
    };
    put_earlier_state(&home.path().join("state"));
    disk.fill_but(2 * 1024 * 1024);
    let refused = home.spawn(&[]).wait_ready();
    let status = refused.err().expect("it does not start");
    assert_eq!(
        status.code(),
        Some(4),
        "a service manager does not try again: {}",
        home.words()
    );
    assert!(home.words().contains("OC-3010"), "{}", home.words());
    assert_eq!(std::fs::read(home.store_file()).expect("there"), golden());
    assert_eq!(kept(&home), Vec::<PathBuf>::new());
    disk.empty();
    let daemon = home.start();
    has_everything(&home, &Rim::of(&daemon));
    daemon.terminate();
}
