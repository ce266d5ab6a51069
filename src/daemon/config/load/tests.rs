//! The layers together, on files in a temporary home.

use std::path::Path as FilePath;

use super::super::edit;
use super::super::kind::Kind;
use super::*;
use crate::daemon::config::model::Stored;
use crate::domain::agent::Role;
use crate::domain::budget::Limit;
use crate::domain::effect::EffectClass;
use crate::domain::money::{MicroUsd, Price};

struct House {
    folder: tempfile::TempDir,
    home: Home,
}

fn house(files: &[(&str, &str)]) -> House {
    let folder = tempfile::tempdir().expect("temporary folder");
    let home = Home::under(folder.path());
    home.create().expect("made");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    House { folder, home }
}

impl House {
    fn load(&self) -> Result<Loaded, ConfigError> {
        load(&self.home, &Overrides::default())
    }

    fn config(&self) -> Config {
        self.load().expect("loads").config
    }

    /// The text of the error with the folder left out.
    fn refusal(&self) -> String {
        let error = self.load().expect_err("refused").to_string();
        error.replace(&format!("{}/", self.folder.path().display()), "")
    }

    fn warnings(&self) -> Vec<String> {
        let warnings = self.load().expect("loads").warnings;
        let folder = format!("{}/", self.folder.path().display());
        warnings
            .iter()
            .map(|warning| warning.to_string().replace(&folder, ""))
            .collect()
    }
}

#[test]
fn a_home_without_files_gives_the_documented_defaults() {
    let config = house(&[]).config();
    assert!(config.gateway.bind.is_loopback());
    assert_eq!(
        (
            config.gateway.port,
            config.gateway.timeout_ms,
            config.gateway.keepalive_ms
        ),
        (8080, 120_000, 10_000)
    );
    assert_eq!(
        (
            config.agent.retries_max,
            config.agent.timeout_ms,
            config.agent.turns_max
        ),
        (3, 600_000, 24)
    );
    assert_eq!((config.steps_concurrent_max, config.memory.gc_interval_s), (128, 3600));
    let names: Vec<&str> = config.agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, ["coder", "debugger", "executor", "planner", "reviewer"]);
    assert!(config.agents.iter().all(|agent| agent.model.as_str() == "offline"));
    let aliases: Vec<&str> = config.models.keys().map(ModelAlias::as_str).collect();
    assert_eq!(
        aliases,
        ["claude-haiku", "claude-opus", "claude-sonnet", "gpt", "offline"]
    );
}

/// A value that each kind allows and that is not a default.
fn sample(kind: Kind) -> String {
    match kind {
        Kind::Integer { min, .. } => (min + 1).to_string(),
        Kind::Address => "::1".into(),
        Kind::Text { .. } => "some text".into(),
        Kind::Word(words) => words[1].into(),
        Kind::Texts { .. } => "[\"one\", \"two, with a comma\"]".into(),
        Kind::HostPorts => "[\"db:5432\"]".into(),
        Kind::Url => "http://127.0.0.1:1".into(),
        Kind::Secret => "${A_KEY}".into(),
        Kind::Schema => "{ type = \"object\" }".into(),
        Kind::Flag => "false".into(),
        Kind::Number | Kind::Usd => "0.25".into(),
        Kind::Zone => "Europe/Berlin".into(),
    }
}

#[test]
fn every_key_round_trips_through_the_file() {
    for key in KEYS {
        let house = house(&[]);
        let dotted = key
            .path
            .replace("<alias>", "\"my.model\"")
            .replace("<name>", "\"my.tool\"")
            .replace("<variable>", "A_NAME")
            .replace("<tool>", "\"its tool\"");
        let file = house.home.config_file();
        edit::set(&file, &dotted, &sample(key.kind)).expect("set");
        let path = key::parse_path(&dotted).expect("a path");
        // A model or program with one key alone is not complete, so the layers are looked at, not the whole.
        let mut bad = Vec::new();
        let settings = layers(&house.home, &Overrides::default(), &mut bad, &mut Vec::new()).expect("reads");
        assert_eq!(bad, vec![], "{dotted}");
        let segments: Vec<&str> = path.iter().map(String::as_str).collect();
        let setting = settings.get(&segments).expect("in force");
        assert_eq!(
            Some(&setting.value),
            key.kind.parse(&sample(key.kind)).as_ref(),
            "{dotted}"
        );
        assert!(
            matches!(&setting.origin, Place::File { path, .. } if *path == file),
            "{dotted}"
        );
    }
}

#[test]
fn every_key_refuses_a_wrong_value_with_file_line_key_found_and_allowed() {
    for key in KEYS {
        let dotted = key.path.replace("<alias>", "m").replace("<name>", "t");
        let dotted = dotted.replace("<variable>", "v").replace("<tool>", "u");
        let file = FilePath::new("openclaw.toml");
        let wrong = if key.kind == Kind::Flag { "-1" } else { "false" };
        let source = Source::parse(file, format!("# first line\n{dotted} = {wrong}\n")).expect("TOML");
        let reading = source.settings(KEYS);
        let bad: Vec<String> = reading.bad.iter().map(ToString::to_string).collect();
        let found = if key.kind == Kind::Secret {
            "something that is not a reference (not shown, it may be a secret)"
        } else {
            wrong
        };
        let allowed = key.kind.allowed();
        assert_eq!(
            bad,
            [format!(
                "openclaw.toml:2: {dotted}: found {found}; allowed is {allowed}"
            )]
        );
    }
}

#[test]
fn a_later_layer_wins_and_each_value_knows_its_origin() {
    let house = house(&[("openclaw.toml", "\n[gateway]\nport = 1\ntimeout = 2\nkeepalive = 500\n")]);
    let variables = [("OPENCLAW_GATEWAY_PORT", "10"), ("OPENCLAW_GATEWAY_TIMEOUT", "20")];
    let overrides = Overrides {
        environment: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        flags: vec![("--port".into(), "gateway.port".into(), "100".into())],
    };
    let loaded = load(&house.home, &overrides).expect("loads");
    let check = |key: &str, value: u64, origin: &str| {
        let setting = loaded.settings.get(&["gateway", key]).expect("in force");
        let shown = setting.origin.to_string();
        assert_eq!(setting.value.as_u64(), Some(value), "{key}");
        assert!(shown.ends_with(origin), "{key}: {shown}");
    };
    check("port", 100, "--port");
    check("timeout", 20, "environment OPENCLAW_GATEWAY_TIMEOUT");
    check("keepalive", 500, "openclaw.toml:5");
    check("maxConnections", 1024, "default");
    let wrong = Overrides {
        environment: [("OPENCLAW_AGENT_MAX_RETRIES".to_owned(), "many".to_owned())].into(),
        flags: Vec::new(),
    };
    insta::assert_snapshot!(
        load(&house.home, &wrong).expect_err("refused"),
        @r#"environment OPENCLAW_AGENT_MAX_RETRIES: agent.maxRetries: found "many"; allowed is a whole number from 0 to 100"#
    );
}

#[test]
fn all_wrong_values_are_named_at_once() {
    let house = house(&[
        (
            "openclaw.toml",
            "[gateway]\nport = 99999\n[models.mine]\nid = \"x\"\n[models.leaky]\nprovider = \"openai\"\napiKey = \"sk-1\"\n",
        ),
        ("agents/alma.toml", "model = \"nothing\"\n"),
        ("agents/bert.toml", "\nskills = [\"Not A Name\"]\n"),
        ("pipelines/p.toml", "match = \"(\"\n"),
        (
            "pipelines/q.toml",
            "[[steps]]\nid = \"a\"\n\n[[steps]]\nid = \"b\"\nskill = \"fs.list\"\nneeds = [\"a\", 3]\n",
        ),
    ]);
    insta::assert_snapshot!(house.refusal(), @r#"
    openclaw.toml:2: gateway.port: found 99999; allowed is a whole number from 0 to 65535
    openclaw.toml:7: models.leaky.apiKey: found something that is not a reference (not shown, it may be a secret); allowed is "${NAME}" (an environment variable), "file:path" or "secret:NAME"
    openclaw.toml:4: models.mine.provider: found nothing; allowed is one of offline, openai, openai-responses, anthropic
    agents/alma.toml:1: model: found "nothing"; allowed is an alias that is configured: claude-haiku, claude-opus, claude-sonnet, gpt, leaky, offline
    agents/bert.toml:2: skills: found "Not A Name"; allowed is names of 1 to 64 characters of a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit
    pipelines/p.toml:1: match: found "(" (unclosed group); allowed is a regular expression
    pipelines/p.toml:1: steps: found nothing (is missing); allowed is what the form of a plan has here
    pipelines/q.toml:1: steps.0: found {"id":"a"} (has neither `agent` nor `skill`); allowed is what the form of a plan has here
    pipelines/q.toml:1: steps.0.task: found nothing (is missing); allowed is what the form of a plan has here
    pipelines/q.toml:7: steps.1.needs.1: found 3 (expected an object, found a number); allowed is what the form of a plan has here
    "#);
}

#[test]
fn a_broken_file_is_refused_with_line_and_column() {
    insta::assert_snapshot!(house(&[("openclaw.toml", "[gateway]\nport = = 3\n")]).refusal(), @"openclaw.toml:2:8: extra `=`, expected nothing");
    insta::assert_snapshot!(house(&[("agents/x.toml", "role = coder\n")]).refusal(), @"agents/x.toml:1:8: string values must be quoted, expected literal string");
}

#[test]
fn unknown_keys_warn_with_the_nearest_name() {
    let house = house(&[
        ("openclaw.toml", "[gateway]\ntimout = 1\n[something]\nelse = 1\n"),
        ("agents/alma.toml", "promt = \"x\"\n"),
    ]);
    insta::assert_snapshot!(house.warnings().join("\n"), @r"
    openclaw.toml:2: unknown key `gateway.timout`; did you mean `gateway.timeout`?
    openclaw.toml:3: unknown key `something`
    agents/alma.toml:1: unknown key `promt`; did you mean `prompt`?
    ");
}

#[test]
fn an_agent_file_replaces_a_built_in_agent_and_fills_in_defaults() {
    let house = house(&[
        (
            "openclaw.toml",
            "[agent]\nmaxRetries = 7\ntokenBudget.daily = 1000\ncostBudget.daily = 2.5\n[skills.commands.build]\nargv = [\"make\"]\n",
        ),
        (
            "agents/planner.toml",
            "model = \"claude-sonnet\"\nmaxTurns = 3\ntokenBudget.perRun = 5\ncostBudget.perRun = \"0.10\"\n",
        ),
        (
            "agents/rust-coder.toml",
            "role = \"coder\"\npromptFile = \"prompts/shared.md\"\n",
        ),
        ("prompts/shared.md", "Write Rust.\n"),
        ("prompts/reviewer.md", "Be kind.\n"),
    ]);
    let config = house.config();
    let agent = |name: &str| {
        config
            .agents
            .iter()
            .find(|agent| agent.name.as_str() == name)
            .expect("there")
    };
    let planner = agent("planner");
    assert_eq!(
        (planner.role, planner.model.as_str(), planner.turns_max),
        (Role::Planner, "claude-sonnet", 3)
    );
    assert_eq!(
        (
            planner.retries_max,
            planner.daily_max.tokens,
            planner.per_run_max.tokens
        ),
        (7, Some(1000), Some(5))
    );
    assert_eq!(planner.daily_max.cost, Some(MicroUsd(2_500_000)));
    assert_eq!(planner.per_run_max.cost, Some(MicroUsd(100_000)));
    assert_eq!(agent("coder").per_run_max, Limit::default());
    assert_eq!(
        &*agent("rust-coder").prompt,
        "You are rust-coder, the coder agent.\n\nWrite Rust.\n"
    );
    assert_eq!(
        &*agent("reviewer").prompt,
        "You are reviewer, the reviewer agent.\n\nBe kind.\n"
    );
    assert!(agent("coder").skills.iter().any(|skill| skill.as_str() == "build"));
    assert!(!agent("planner").skills.iter().any(|skill| skill.as_str() == "build"));
    assert_eq!(config.agents.len(), 6);
}

#[test]
fn models_are_overridden_field_by_field_and_secrets_stay_references() {
    let house = house(&[
        (
            "openclaw.toml",
            "[models.claude-sonnet]\nbaseUrl = \"http://127.0.0.1:9/\"\n[models.local]\nprovider = \"openai\"\napiKey = \"file:key.txt\"\n",
        ),
        ("key.txt", " secret \n"),
    ]);
    let config = house.config();
    let model = |alias: &str| &config.models[&ModelAlias::new(alias).expect("valid")];
    assert_eq!(model("claude-sonnet").base_url, "http://127.0.0.1:9");
    assert_eq!(
        model("claude-sonnet")
            .api_key
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("${ANTHROPIC_API_KEY}")
    );
    assert_eq!(model("local").id, "local");
    let secret = model("local").api_key.as_ref().expect("set");
    assert_eq!(secret.resolve(|_| None, &Stored::default()).expect("read"), "secret");
    let unset = model("gpt")
        .api_key
        .as_ref()
        .expect("set")
        .resolve(|_| None, &Stored::default());
    assert!(unset.expect_err("refused").to_string().contains("OPENAI_API_KEY"));
}

#[test]
fn command_skills_are_once_until_they_say_otherwise() {
    let house = house(&[(
        "openclaw.toml",
        "[skills.commands.a]\nargv = [\"x\"]\n[skills.commands.b]\nargv = [\"y\"]\nclass = \"probe\"\nprobe = [\"z\"]\n\
         [skills.commands.b.schema]\ntype = \"object\"\nrequired = [\"p\"]\n",
    )]);
    let skills = house.config().command_skills;
    let classes: Vec<&str> = skills.iter().map(|skill| skill.class.as_str()).collect();
    assert_eq!(classes, ["once", "probe"]);
    assert_eq!(
        skills[1].schema,
        serde_json::json!({"type": "object", "required": ["p"]})
    );
    let wrong = [
        ("class = \"probe\"", "probe: found nothing"),
        ("probe = [\"z\"]", "probe: found a program"),
        ("class = \"local\"", "class: found \"local\""),
        ("undo = \"a\"", "undo: found \"a\""),
        ("undo = \"A b\"", "undo: found"),
    ];
    for (line, wanted) in wrong {
        let text = format!("[skills.commands.a]\nargv = [\"x\"]\n{line}\n");
        let refusal = self::house(&[("openclaw.toml", text.as_str())]).refusal();
        assert!(refusal.contains(wanted), "{refusal}");
    }
}

#[test]
fn a_pipeline_is_a_plan_with_a_name_and_the_tasks_it_fits() {
    let house = house(&[(
        "pipelines/release.toml",
        "match = \"(?i)^release\"\ngoal = \"release\"\n[[steps]]\nid = \"list\"\nskill = \"fs.list\"\ninputs = { path = \".\" }\n",
    )]);
    let pipelines = house.config().pipelines;
    assert_eq!((pipelines.len(), &*pipelines[0].name), (1, "release"));
    assert!(pipelines[0].pattern.as_ref().expect("given").is_match("Release 1.0"));
    assert_eq!(pipelines[0].plan.steps.len(), 1);
}

#[test]
fn private_addresses_are_written_back_as_they_were_read() {
    let house = house(&[(
        "openclaw.toml",
        "[skills]\nnetwork.allow = [\"db:5432\", \"[::1]:80\"]\n",
    )]);
    let shown: Vec<String> = house.config().network_allow.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["db:5432", "[::1]:80"]);
}

#[test]
fn a_model_has_a_price_waits_and_fallbacks() {
    let house = house(&[(
        "openclaw.toml",
        "[models.claude-opus]\nfallback = [\"claude-sonnet\", \"local\"]\nprice.output = 30\n\
         [models.claude-haiku]\nid = \"claude-haiku-9\"\n\
         [models.local]\nprovider = \"openai-responses\"\nbaseUrl = \"http://127.0.0.1:9/v1\"\nstream = false\n\
         timeout = 1000\nconnectTimeout = 20\nfirstByteTimeout = 300\nidleTimeout = 40\n\
         price = { input = 0.1, output = \"0.40\", cacheRead = 0 }\n",
    )]);
    let config = house.config();
    let model = |alias: &str| &config.models[&ModelAlias::new(alias).expect("valid")];
    let price = |[input, output, cache_read, cache_write]: [u64; 4]| {
        Some(Price {
            input,
            output,
            cache_read,
            cache_write,
        })
    };
    assert_eq!(
        model("claude-sonnet").price,
        price([3_000_000, 15_000_000, 300_000, 3_750_000])
    );
    // One part is corrected, the others stay.
    assert_eq!(
        model("claude-opus").price,
        price([5_000_000, 30_000_000, 500_000, 6_250_000])
    );
    // Another model under a built-in alias does not inherit its price.
    assert_eq!(model("claude-haiku").price, None);
    let local = model("local");
    assert_eq!(local.price, price([100_000, 400_000, 0, 100_000]));
    let waits = local.timeouts;
    assert_eq!(
        (
            waits.total_ms,
            waits.connect_ms,
            waits.first_byte_ms,
            waits.idle_ms,
            local.stream
        ),
        (1000, 20, 300, 40, false)
    );
    assert_eq!((model("offline").price, model("offline").stream), (None, true));
    let fallback: Vec<&str> = model("claude-opus").fallback.iter().map(ModelAlias::as_str).collect();
    assert_eq!(fallback, ["claude-sonnet", "local"]);
}

#[test]
fn a_model_that_cannot_work_as_written_is_refused_with_its_place() {
    let check = |text: &str, expected: &str| {
        let refusal = house(&[("openclaw.toml", text)]).refusal();
        assert!(refusal.contains(expected), "{text}\n{refusal}");
    };
    let model = "[models.m]\nprovider = \"openai\"\n";
    check(
        &format!("{model}fallback = [\"claude\"]\n"),
        "openclaw.toml:3: models.m.fallback: found \"claude\"; allowed is aliases that are configured: claude-haiku,",
    );
    check(
        &format!("{model}fallback = [\"m\"]\n"),
        "models.m.fallback: found \"m\"; allowed is other models than itself",
    );
    check(
        &format!("{model}fallback = [\"gpt\", \"gpt\"]\n"),
        "models.m.fallback: found \"gpt\"; allowed is each alias once",
    );
    check(
        &format!("{model}fallback = [\"gpt\"]\n[models.gpt]\nfallback = [\"offline\", \"m\"]\n"),
        "models.gpt.fallback: found a chain that comes back to it; allowed is models whose own fallbacks do not lead back",
    );
    check(
        &format!("{model}price.input = 1\n"),
        "openclaw.toml:3: models.m.price.output: found nothing; allowed is US dollars such as 3 or 0.25",
    );
    check(
        &format!("{model}price.input = -1\nprice.output = 1\n"),
        "openclaw.toml:3: models.m.price.input: found -1; allowed is US dollars",
    );
    check(
        "[metrics]\nbind = \"0.0.0.0\"\n",
        "openclaw.toml:2: metrics.bind: found \"0.0.0.0\"; allowed is a loopback address",
    );
}

#[test]
fn a_server_is_reached_in_one_way_and_what_is_said_of_it_is_kept() {
    let check = |text: &str, wanted: &[&str]| {
        let house = house(&[("openclaw.toml", text)]);
        match load(&house.home, &Overrides::default()) {
            Ok(loaded) => {
                assert!(wanted.is_empty(), "{text}: {wanted:?}");
                Some(loaded.config)
            }
            Err(error) => {
                let error = error.to_string();
                assert!(!wanted.is_empty(), "{text}: {error}");
                assert!(wanted.iter().all(|wanted| error.contains(wanted)), "{text}: {error}");
                None
            }
        }
    };
    check("[mcp.a]\nclass = \"read\"", &["neither command nor url"]);
    check(
        "[mcp.a]\ncommand = [\"x\"]\nurl = \"http://a\"",
        &["both command and url"],
    );
    check("[mcp.\"../a\"]\ncommand = [\"x\"]", &["1 to 24 characters"]);
    check(
        "[mcp.a]\ncommand = [\"x\"]\nbearer = \"${A}\"",
        &["a token for a program"],
    );
    check("[mcp.a]\nurl = \"http://a\"\nenv.A = \"b\"", &["variables for a url"]);
    check(
        "[mcp.a]\ncommand = [\"x\"]\nenv.OPENCLAW_HOME = \"b\"",
        &["does not begin with OPENCLAW_"],
    );
    check(
        "[mcp.a]\ncommand = [\"x\"]\nclass = \"probe\"",
        &["one of read, idempotent, once"],
    );
    let text = "[mcp.files]\ncommand = [\"npx\", \"x\"]\nenv.TOKEN = \"${A}\"\nclasses = { list = \"read\" }\n\
                trust = \"hints\"\ntools = [\"list\"]\nnetwork = [\"api.example.org:443\"]\n";
    let config = check(text, &[]).expect("loaded");
    let server = &config.mcp[0];
    assert_eq!(
        (server.class, server.trusts_hints, server.timeout_ms),
        (EffectClass::Once, true, 60_000)
    );
    assert_eq!(server.classes["list"], EffectClass::Read);
    assert_eq!(server.network[0].to_string(), "net:api.example.org:443");
    let coder = config
        .agents
        .iter()
        .find(|agent| agent.name.as_str() == "coder")
        .expect("there");
    let skills: Vec<&str> = coder.skills.iter().map(AsRef::as_ref).collect();
    assert!(
        skills.contains(&"mcp.files.") && skills.contains(&"skill.read"),
        "{skills:?}"
    );
}

#[test]
fn an_agent_has_the_capabilities_of_its_file_and_no_file_means_what_its_skills_need() {
    let capable = |text: &str| {
        let house = house(&[("agents/alma.toml", text)]);
        load(&house.home, &Overrides::default()).map(|loaded| {
            let alma = loaded
                .config
                .agents
                .into_iter()
                .find(|agent| agent.name.as_str() == "alma");
            let alma = alma.expect("there");
            (
                alma.capabilities
                    .map(|set| set.iter().map(ToString::to_string).collect::<Vec<_>>()),
                alma.skills,
            )
        })
    };
    assert_eq!(capable("role = \"coder\"").expect("loaded").0, None);
    assert_eq!(capable("capabilities = []").expect("loaded").0, Some(Vec::new()));
    let (set, skills) =
        capable("capabilities = [\"fs.read\", \"exec:cargo\"]\nskills = [\"mcp.files.*\", \"fs.read\"]")
            .expect("loaded");
    assert_eq!(set, Some(vec!["fs.read:*".to_owned(), "exec:cargo".to_owned()]));
    assert_eq!(skills[0].as_str(), "mcp.files.");
    let refused = capable("capabilities = [\"root\"]").expect_err("refused").to_string();
    assert!(
        refused.contains("capabilities") && refused.contains("fs.read, fs.write, net"),
        "{refused}"
    );
}
