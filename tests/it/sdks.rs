//! The official clients of OpenAI and Anthropic, unchanged, against a real daemon.
//!
//! `tests/sdks.sh` installs their newest versions. Without them the tests say loudly that they are skipped; where
//! `OPENCLAW_SDKS_NEEDED` is set, which the gate does after it has installed them, that is a failure.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::support::daemon::{TestDaemon, TestHome};

/// The Python that has the clients.
#[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
fn python() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/sdks/bin/python");
    let has_them = path.is_file()
        && Command::new(&path)
            .args(["-c", "import openai, anthropic"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if has_them {
        return Some(path);
    }
    let needed = std::env::var_os("OPENCLAW_SDKS_NEEDED").is_some();
    assert!(
        !needed,
        "the vendors' clients are needed here and cannot be used; see tests/sdks.sh"
    );
    eprintln!("SKIPPED: the vendors' clients are not installed; run tests/sdks.sh");
    None
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sdks").join(name)
}

/// The model that answers; it ends with the test.
struct ScriptedModel {
    child: Child,
    port: u16,
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl ScriptedModel {
    fn start(python: &PathBuf) -> Self {
        let mut child = Command::new(python)
            .arg(script("model.py"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the model starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("its port");
        Self {
            port: line.trim().parse().expect("a port"),
            child,
        }
    }

    /// A home whose agents ask it.
    fn home(&self) -> TestHome {
        let port = self.port;
        let home = TestHome::new(&format!(
            "[gateway]\ntimeout = 2000\nkeepalive = 200\nmaxBodyBytes = 1048576\n\
             [agent]\nmaxRetries = 0\n\
             [models.scripted]\nprovider = \"openai\"\nid = \"test\"\nbaseUrl = \"http://127.0.0.1:{port}/v1\"\n\
             apiKey = \"${{TEST_MODEL_KEY}}\"\n"
        ));
        let agents = home.path().join("agents");
        std::fs::create_dir_all(&agents).expect("a folder");
        let helper = "role = \"executor\"\nmodel = \"scripted\"\nskills = []\n";
        let lister = "role = \"executor\"\nmodel = \"scripted\"\nskills = [\"fs.list\"]\n";
        std::fs::write(agents.join("helper.toml"), helper).expect("written");
        std::fs::write(agents.join("lister.toml"), lister).expect("written");
        home
    }
}

fn start(home: &TestHome) -> TestDaemon {
    home.start_with(&[("TEST_MODEL_KEY", "sk-test")])
}

fn run(python: &PathBuf, name: &str, arguments: &[&str], daemon: &TestDaemon) {
    let output = Command::new(python)
        .arg(script(name))
        .args(arguments)
        .env("OPENCLAW_TEST_URL", &daemon.url)
        .env("OPENCLAW_TEST_KEY", &daemon.key)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("OPENAI_API_KEY")
        .env_remove("ANTHROPIC_API_KEY")
        .env("NO_PROXY", "*")
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("all good"),
        "{name}: {said}\n{errors}"
    );
}

#[test]
fn the_official_client_of_openai_chats_unchanged() {
    let Some(python) = python() else { return };
    let model = ScriptedModel::start(&python);
    let home = model.home();
    run(&python, "chat.py", &[], &start(&home));
}

#[test]
fn the_official_client_of_anthropic_works_unchanged() {
    let Some(python) = python() else { return };
    let model = ScriptedModel::start(&python);
    let home = model.home();
    run(&python, "messages.py", &[], &start(&home));
}

#[test]
fn the_official_client_of_openai_uses_responses_unchanged() {
    let Some(python) = python() else { return };
    let model = ScriptedModel::start(&python);
    let home = model.home();
    run(&python, "responses.py", &[], &start(&home));
}

#[test]
fn a_response_is_read_on_from_any_number_after_a_kill() {
    let Some(python) = python() else { return };
    let model = ScriptedModel::start(&python);
    let home = model.home();
    let file = home.ledger_folder().with_file_name("seen.json");
    let file = file.to_str().expect("a path in text");
    let daemon = start(&home);
    run(&python, "responses.py", &["begin", file], &daemon);
    daemon.kill();
    run(&python, "responses.py", &["resume", file], &start(&home));
}
