//! Naughty strings through files and programs: the bytes on the disk are the bytes that were given.

use serde_json::{Value, json};

use super::naughty::NAUGHTY;
use crate::support::daemon::TestHome;
use crate::support::rim::Rim;

#[test]
fn files_hold_what_was_written_and_programs_get_what_was_given() {
    let home = TestHome::new("");
    let daemon = home.start();
    let rim = Rim::of(&daemon);
    for (number, (name, text)) in NAUGHTY.iter().enumerate() {
        let file = format!("file-{number}.txt");
        let argv = json!(["printf", "%s", text]);
        let id = rim.submit_plan(
            &home.workspace(),
            &json!([
                { "id": "write", "skill": "fs.write", "inputs": { "path": file, "content": text } },
                { "id": "read", "skill": "fs.read", "needs": ["write"], "inputs": { "path": file } },
            ]),
        );
        let run = rim.ended(&id);
        assert_eq!(run["status"], "succeeded", "{name}: {run}");
        let bytes = std::fs::read(home.workspace().join(&file)).expect("written");
        assert_eq!(bytes, text.as_bytes(), "{name}");
        let is_value = serde_json::from_str::<Value>(text).is_ok();
        if !text.contains('\0') && !is_value {
            assert_eq!(run["result"], *text, "{name}");
        }
        let id = rim.submit_plan(
            &home.workspace(),
            &json!([{ "id": "say", "skill": "exec.run", "inputs": { "argv": argv } }]),
        );
        let run = rim.ended(&id);
        if text.contains('\0') {
            // No program can be given such an argument.
            assert_eq!(run["status"], "failed", "{name}: {run}");
        } else {
            assert_eq!(run["status"], "succeeded", "{name}: {run}");
            let shown = run["result"]["stdout"].as_str();
            assert_eq!(shown, Some(*text), "{name}: {run}");
        }
    }
}
