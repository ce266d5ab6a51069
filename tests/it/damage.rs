//! A damaged store: the daemon says what it found with a code of its own, or serves what is whole.

use std::io::{Seek as _, SeekFrom, Write as _};

use fastrand::Rng;
use serde_json::Value;

use crate::support::daemon::TestHome;

/// Places that are damaged, one at a time.
const PLACES: u64 = 24;
/// Bytes that are damaged: less than a page.
const BYTES: usize = 64;

#[test]
fn a_store_that_is_damaged_anywhere_is_named_or_served_and_never_ends_the_program_in_a_panic() {
    let home = TestHome::new("[log]\nlevel = \"error\"\n");
    home.start().terminate();
    let whole = std::fs::read(home.store_file()).expect("the store");
    let mut random = Rng::with_seed(0x0c1a_55e5);
    let mut refused = 0;
    for place in 0..PLACES {
        std::fs::write(home.store_file(), &whole).expect("the store as it was");
        // The first place is the header of the file, which every start has to read.
        let at = place * (whole.len() as u64 - BYTES as u64) / PLACES;
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(BYTES).collect();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(home.store_file())
            .expect("the store");
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.write_all(&bytes))
            .expect("damaged");
        std::fs::write(home.words_file(), "").expect("no words yet");
        let mut process = home.spawn(&[]);
        if let Err(status) = process.wait_listening() {
            refused += 1;
            let words = home.words();
            assert_eq!(status.code(), Some(1), "at {at}: {words}");
            assert!(words.contains("OC-300"), "at {at}: {words}");
        }
    }
    assert!(refused > 0, "none of these places was ever read");
}

/// The checks of `openclaw doctor` by their names, and how it ended.
fn doctor(home: &TestHome) -> (Value, Option<i32>) {
    let ended = home
        .command()
        .args(["doctor", "--json"])
        .output()
        .expect("the binary runs");
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    let value: Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told} {ended:?}"));
    let checks = value["checks"].as_array().expect("checks").iter();
    let named = checks.map(|check| (check["name"].as_str().expect("a name").to_owned(), check.clone()));
    (Value::Object(named.collect()), ended.status.code())
}

#[test]
fn doctor_finds_a_store_that_is_none_any_more_and_calls_one_that_a_kill_left_good() {
    let home = TestHome::new("[log]\nlevel = \"error\"\n");
    home.start().kill();
    let (checks, _) = doctor(&home);
    assert_eq!(checks["store"]["state"], "good", "the next start repairs it: {checks}");
    home.start().terminate();
    let whole = std::fs::read(home.store_file()).expect("the store");
    let check = |what: &str, bytes: &[u8], state: &str| {
        std::fs::write(home.store_file(), bytes).expect("written");
        let (checks, exit) = doctor(&home);
        let store = &checks["store"];
        assert_eq!(store["state"], state, "{what}: {checks}");
        if state == "finding" {
            assert!(matches!(exit, Some(1 | 2)), "{what}: {exit:?}");
            assert!(
                store["hint"]
                    .as_str()
                    .is_some_and(|hint| hint.contains("backup restore")),
                "{what}: {store}"
            );
        }
    };
    let mut random = Rng::with_seed(0x0c1a_55e5);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(8192).collect();
    check("noise", &noise, "finding");
    check("an empty file", &[], "finding");
    check("a file that was cut in half", &whole[..whole.len() / 2], "finding");
    check("a file that was cut in its head", &whole[..100], "finding");
    check("the store as it was", &whole, "good");
}

#[test]
fn doctor_makes_every_check_that_it_can_whatever_is_wrong_with_the_home_or_its_configuration() {
    let check = |home: &TestHome, name: &str, state: &str, said: &str| {
        let (checks, exit) = doctor(home);
        assert_eq!(checks[name]["state"], state, "{checks}");
        let found = checks[name]["found"].to_string();
        assert!(found.contains(said), "{found}");
        for every in ["config", "sandbox", "home", "disk", "store"] {
            assert!(checks[every].is_object(), "`{every}` was made: {checks}");
        }
        assert!(matches!(exit, Some(1 | 2)), "{exit:?}");
    };
    let wrong = TestHome::new("[gateway]\nport = 99999\n");
    check(&wrong, "config", "finding", "openclaw.toml:2");
    check(&TestHome::new("[gateway\n"), "config", "finding", "openclaw.toml:1");
    let missing = TestHome::new("");
    std::fs::remove_dir_all(missing.path()).expect("removed");
    check(&missing, "home", "finding", "there is none at");
}
