//! Another implementation of the three dialects: LiteLLM's proxy between our client and our server side.
//!
//! It reads what our client writes and writes what our client reads, and it is itself a client of the other side
//! (`dialect::serve`). `tests/litellm.sh` installs it; without it the test says that it is skipped.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openclaw::domain::approval::Approval;
use openclaw::domain::conversation::{Message, ModelRequest};
use openclaw::domain::effect::EffectClass;
use openclaw::domain::name::{ModelAlias, SkillName};
use openclaw::domain::skill::SkillManifest;
use openclaw::llm::client::{Connections, RemoteModel};
use openclaw::llm::config::{ModelConfig, Provider, Secret};
use openclaw::llm::model::{Asking, Model};
use openclaw::llm::offline;
use serde_json::json;

use crate::support::fault_server::{FaultServer, Wire};

const KEY: &str = "sk-litellm-test";

/// The proxy's program, if it is installed.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("OPENCLAW_LITELLM").map(PathBuf::from);
    let usual = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/litellm/bin/litellm");
    named.or(Some(usual)).filter(|path| path.is_file())
}

struct Proxy {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Proxy {
    fn start(program: &PathBuf, behind: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "model_list:\n  - model_name: offline\n    litellm_params:\n      model: hosted_vllm/offline\n      \
             api_base: {behind}/v1\n      api_key: none\nlitellm_settings:\n  drop_params: true\n\
             general_settings:\n  master_key: {KEY}\n"
        );
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, config).expect("written");
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address").port()
        };
        let child = Command::new(program)
            .args(["--host", "127.0.0.1", "--telemetry", "False", "--port", &port.to_string(), "--config"])
            .arg(&file)
            .current_dir(folder.path())
            // Prices come with the program; nothing is fetched.
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the proxy starts");
        let mut proxy = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            _folder: folder,
        };
        let bound = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(proxy.child.try_wait().expect("a child").is_none(), "the proxy ended");
            assert!(Instant::now() < bound, "the proxy does not listen on {port}");
            std::thread::sleep(Duration::from_millis(100));
        }
        proxy
    }
}

fn request() -> ModelRequest {
    let manifest = |name: &str| SkillManifest {
        name: SkillName::new(name).expect("valid"),
        description: "does it".into(),
        input_schema: Arc::new(json!({ "type": "object", "properties": { "path": { "type": "string" } } })),
        class: EffectClass::Read,
        timeout_ms: 1000,
        output_bytes_max: 1000,
        concurrency: 1,
        approval: Approval::Auto,
        resources: std::sync::Arc::new([]),
        undo: None,
        examples: Arc::new([]),
    };
    ModelRequest {
        model: ModelAlias::new("offline").expect("valid"),
        system: "You are x, the executor agent.".into(),
        messages: vec![Message::User("Summarise README.md".into())].into(),
        skills: vec![manifest("fs.read"), manifest("fs.list")].into(),
        output_schema: None,
        output_tokens_max: 500,
        options: None,
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
fn all_dialects_are_understood_by_another_implementation() {
    let Some(program) = program() else {
        eprintln!("SKIPPED: LiteLLM is not installed; run tests/litellm.sh or set OPENCLAW_LITELLM");
        return;
    };
    let behind = FaultServer::start(Wire::Http1);
    let proxy = Proxy::start(&program, &behind.url);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for provider in [Provider::OpenAiChat, Provider::Anthropic, Provider::OpenAiResponses] {
        for stream in [false, true] {
            let mut config = ModelConfig::new(ModelAlias::new("m").expect("valid"), provider, "offline");
            config.base_url = Some(format!("{}/v1", proxy.url).into());
            config.api_key = Secret::new(KEY);
            config.stream = stream;
            let model = RemoteModel::new(config, Connections::new());
            // A turn with a call, then its result, then the answer in words.
            let mut request = request();
            for turn in 0..2 {
                let told = format!("{provider:?}, stream: {stream}, turn {turn}");
                let expected = offline::answer(&request);
                let asked = model.ask(request.clone(), Asking::quietly(Duration::from_secs(60)));
                let answer = runtime
                    .block_on(asked)
                    .unwrap_or_else(|error| panic!("{told}: {error:?}"));
                assert_eq!(answer.text, expected.text, "{told}");
                let calls = |answer: &openclaw::domain::conversation::ModelAnswer| -> Vec<_> {
                    let calls = answer.calls.iter();
                    calls.map(|call| (call.skill.clone(), call.arguments.clone())).collect()
                };
                assert_eq!(calls(&answer), calls(&expected), "{told}");
                assert_eq!(answer.calls.is_empty(), turn == 1, "{told}: {answer:?}");
                let results = answer
                    .calls
                    .iter()
                    .map(|call| openclaw::domain::conversation::CallResult {
                        id: call.id.clone(),
                        content: "# Demo\n\nA small project that greets 😀.\n".into(),
                        is_error: false,
                    });
                let messages = Arc::make_mut(&mut request.messages);
                messages.push(Message::Assistant {
                    text: answer.text.clone(),
                    kept: answer.kept.clone(),
                    calls: answer.calls.clone(),
                });
                messages.push(Message::Results(results.collect()));
            }
        }
    }
}
