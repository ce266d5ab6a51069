//! A record that a disk has changed: it is put aside, and everything else goes on.

use std::time::Duration;

use redb::{Database, ReadableTable, TableDefinition};
use serde_json::json;

use crate::support::daemon::TestHome;
use crate::support::rim::Rim;
use crate::support::wait::until;

const ENTRIES: TableDefinition<'_, &[u8; 12], &[u8]> = TableDefinition::new("memory-entries-1");

/// Changes bytes of the first entries in the store's file.
fn damage(home: &TestHome, count: usize) {
    let database = Database::open(home.store_file()).expect("no daemon has it open");
    let transaction = database.begin_write().expect("begins");
    {
        let mut entries = transaction.open_table(ENTRIES).expect("opens");
        let rows: Vec<([u8; 12], Vec<u8>)> = entries
            .iter()
            .expect("readable")
            .take(count)
            .map(|row| {
                row.map(|(row, value)| (*row.value(), value.value().to_vec()))
                    .expect("readable")
            })
            .collect();
        for (row, mut bytes) in rows {
            let middle = bytes.len() / 2;
            bytes.truncate(middle);
            entries.insert(&row, bytes.as_slice()).expect("writes");
        }
    }
    transaction.commit().expect("commits");
}

#[test]
fn a_damaged_record_is_put_aside_and_everything_else_goes_on() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    let path = |key: &str| format!("/v1/memory/project/{key}?project=/srv/a");
    for key in ["one", "two", "three", "four"] {
        let body = json!({ "text": format!("the {key} kettle is blue") }).to_string();
        assert_eq!(rim.ask("PUT", &path(key), &[], &body).status, 200);
    }
    assert!(daemon.terminate().success());
    damage(&home, 3);

    let daemon = home.start();
    let rim = Rim::of(&daemon);
    // Each of the ways in which it can be met.
    let read = rim.get(&path("one"));
    assert_eq!((read.status, read.code()), (500, "OC-8006"), "{read:?}");
    assert_eq!(rim.get(&path("one")).code(), "OC-8001", "it is out of the way");
    let body = json!({ "text": "anew" }).to_string();
    assert_eq!(rim.ask("PUT", &path("two"), &[], &body).status, 200);
    let asked = json!({ "scope": "project", "project": "/srv/a", "query": "blue kettle" });
    let found = rim.post("/v1/memory/query", &asked);
    assert_eq!(found.status, 200, "{found:?}");
    let found = found.body.to_string();
    assert!(
        found.contains("the four kettle") && !found.contains("the three"),
        "{found}"
    );
    let verified = until(
        "the last damaged record to be put aside",
        Duration::from_secs(20),
        || {
            let verified = rim.post("/v1/memory/verify", &json!({})).body;
            if verified["clean"] == true {
                Ok(verified)
            } else {
                Err(verified)
            }
        },
    );
    assert_eq!(verified["parts"][0]["quarantined"], 3, "{verified}");
    assert_eq!(rim.get(&path("two")).body["text"], "anew");
    assert_eq!(rim.get(&path("four")).body["text"], "the four kettle is blue");
    let incidents = rim.get("/v1/incidents").body;
    let told = incidents["incidents"].as_array().expect("a list").iter();
    let told = told.filter(|incident| {
        incident["what"]
            .as_str()
            .is_some_and(|what| what.contains("cannot be read"))
    });
    assert_eq!(told.count(), 3, "{incidents}");
    daemon.kill();
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    assert_eq!(rim.get(&path("three")).code(), "OC-8001");
    assert_eq!(rim.post("/v1/memory/verify", &json!({})).body["clean"], true);
}
