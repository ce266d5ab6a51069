//! The one table of all configuration keys. Help, checks, defaults and the template are made from it.
//!
//! **Invariant**: every default is allowed by its own kind, and every key is read by something.

use serde_json::Value;

use super::kind::Kind;
use crate::domain::effect::EffectClass;
use crate::skills::sandbox::policy::SandboxMode;

/// One configuration key. A segment in angle brackets stands for any name.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted path, as people write it.
    pub path: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default as text; empty when there is none.
    pub default: &'static str,
    /// The unit, for people; empty when there is none.
    pub unit: &'static str,
    /// Whether a running daemon can take a change.
    pub live: bool,
    /// One line for people.
    pub doc: &'static str,
}

const MS_MAX: u64 = 7 * 24 * 3600 * 1000;
/// Not `local`: a program cannot take part in a transaction of the store.
const CLASSES: &[&str] = &["read", "idempotent", "probe", "once"];

/// Who agrees to a call.
const APPROVALS: &[&str] = &["auto", "ask", "deny"];

/// The words of `llm`'s providers; a test holds them against each other.
const PROVIDERS: &[&str] = &["offline", "openai", "openai-responses", "anthropic"];
/// A server's tool cannot be asked whether it happened.
const TOOL_CLASSES: &[&str] = &["read", "idempotent", "once"];

const fn integer(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max }
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: &'static str,
    unit: &'static str,
    live: bool,
    doc: &'static str,
) -> Key {
    Key {
        path,
        kind,
        default,
        unit,
        live,
        doc,
    }
}

/// The keys of `openclaw.toml`, in the order in which they are listed to people.
#[rustfmt::skip] // one row a line: it is read as a table
pub const KEYS: &[Key] = &[
    key("gateway.bind", Kind::Address, "127.0.0.1", "", false, "Address on which the gateway listens; loopback unless you put a TLS proxy in front."),
    key("gateway.port", integer(0, 65_535), "8080", "", false, "Port of the gateway; 0 takes any free one."),
    key("gateway.timeout", integer(1, MS_MAX), "120000", "ms", true, "Longest time that a request waits for a run; then it is answered 202 and the run goes on."),
    key("gateway.keepalive", integer(100, 600_000), "10000", "ms", true, "A comment is sent on idle event streams this often."),
    key("gateway.headTimeout", integer(100, 600_000), "30000", "ms", false, "A connection that sends no whole request head for this long is closed."),
    key("gateway.bodyTimeout", integer(100, 3_600_000), "30000", "ms", false, "Time for a request's body, from its head to its end."),
    key("gateway.maxHeaderBytes", integer(1024, 1 << 20), "65536", "bytes", false, "Largest head of a request."),
    key("gateway.maxBodyBytes", integer(1024, 256 << 20), "4194304", "bytes", true, "Largest request body."),
    key("gateway.maxConnections", integer(1, 65_535), "1024", "", false, "Connections at once; more wait or are refused."),
    key("gateway.maxConnectionsPerAddress", integer(1, 65_535), "512", "", false, "Connections of one address at once; an IPv6 /64 counts as one."),
    key("gateway.maxConnectionAge", integer(1_000, MS_MAX), "3600000", "ms", false, "Age at which a connection takes no further request."),
    key("gateway.drain", integer(100, 20_000), "5000", "ms", false, "Time for requests under way when the daemon stops."),
    key("gateway.trustedProxies", Kind::Texts { items_min: 0, items_max: 64 }, "[]", "", false, "Networks of proxies whose word on the client's address counts; forwarding headers of others are refused."),
    key("gateway.maxRequests", integer(1, 65_535), "1024", "", false, "Requests that are being answered at once; more are answered 503."),
    key("gateway.rateLimit.perKey", integer(1, 10_000_000), "", "requests/min", true, "Requests of one key a minute; unlimited when not set."),
    key("gateway.rateLimit.perAgent", integer(1, 10_000_000), "", "orders/min", true, "Orders that name an agent, to that one, a minute; unlimited when not set."),
    key("gateway.rateLimit.tokensPerKey", integer(1, 4_000_000_000), "", "tokens/min", true, "Tokens that one key orders a minute: bytes / 4 and the longest answer; unlimited when not set."),
    key("gateway.rateLimit.burst", integer(1, 10_000_000), "", "", true, "Requests of a key, or orders to an agent, at once; those of a minute when not set."),
    key("gateway.rateLimit.atOncePerKey", integer(1, 65_535), "", "", true, "Requests of one key under way, open streams included; unlimited when not set."),
    key("gateway.routes.<name>.agent", Kind::Text { bytes_max: 64 }, "", "", true, "The agent for requests that name none and are like this rule; rules count in the order of their names."),
    key("gateway.routes.<name>.path", Kind::Text { bytes_max: 256 }, "", "", true, "The path begins so."),
    key("gateway.routes.<name>.header", Kind::Text { bytes_max: 512 }, "", "", true, "This header is there (\"x-team\"), or has this value (\"x-team: red\")."),
    key("gateway.routes.<name>.contentType", Kind::Text { bytes_max: 128 }, "", "", true, "The content type begins so."),
    key("gateway.routes.<name>.minBytes", integer(0, 1 << 40), "", "bytes", true, "The body has at least so many bytes."),
    key("gateway.routes.<name>.maxBytes", integer(0, 1 << 40), "", "bytes", true, "The body has at most so many bytes."),
    key("gateway.tls.mode", Kind::Word(&["off", "internal", "files", "proxy"]), "off", "", false, "TLS of the gateway: none, by the daemon's own authority, by your files, or done by a proxy in front."),
    key("gateway.tls.certificate", Kind::Text { bytes_max: 4_096 }, "", "", false, "For mode files: the chain in PEM; a new one is shown from the next connection on."),
    key("gateway.tls.key", Kind::Text { bytes_max: 4_096 }, "", "", false, "For mode files: the certificate's key in PEM."),
    key("gateway.tls.names", Kind::Texts { items_min: 0, items_max: 16 }, "[]", "", false, "Further names and addresses that the gateway answers to; in mode internal its certificate has them."),
    key("gateway.tls.clients", Kind::Word(&["any", "known"]), "any", "", false, "Whether clients need a certificate of the daemon's own authority beside their key."),
    key("admin.bind", Kind::Address, "127.0.0.1", "", false, "Address of the operators' listener; another than a loopback one needs admin.allow."),
    key("admin.port", integer(0, 65_535), "8081", "", false, "Port of the operators' listener; any free one when the default is taken."),
    key("admin.allow", Kind::Texts { items_min: 1, items_max: 64 }, "[\"127.0.0.1/32\", \"::1/128\"]", "", false, "Networks that may come to the operators' listener."),
    key("admin.chaos", Kind::Flag, "false", "", false, "Whether this home is for tests: the faults of ops/chaos attack no other one."),
    key("agent.maxRetries", integer(0, 100), "3", "", true, "Further attempts after a failed one."),
    key("agent.timeout", integer(100, MS_MAX), "600000", "ms", true, "Deadline of one step when the plan does not say."),
    key("agent.maxTurns", integer(1, 1_000), "24", "", true, "Model calls of one session."),
    key("agent.maxOutputTokens", integer(1, 1_000_000), "4096", "tokens", true, "Ceiling of one answer."),
    key("agent.concurrency", integer(1, 1_024), "4", "", true, "Sessions of one agent at once."),
    key("agent.approvals.<name>", Kind::Word(APPROVALS), "", "", true, "Who agrees to calls of a skill (\"exec.run\", \"fs.*\", \"*\"): auto, ask, deny; a deny anywhere wins."),
    key("agent.approvalTimeout", integer(1_000, MS_MAX), "3600000", "ms", true, "How long a call waits for a person's yes; then it counts as a no."),
    key("agent.workspaces", Kind::Texts { items_min: 0, items_max: 256 }, "[]", "", true, "Folders in which alone runs may work, with all beneath; any but the daemon's own when empty."),
    key("agent.maxConcurrentSteps", integer(1, 10_000), "128", "", true, "Steps at once over all runs."),
    key("agent.compactAt", integer(1_000, 1 << 30), "", "tokens", true, "Length from which on a conversation is compacted; 3/4 of the model's when not set."),
    key("agent.memoryTokens", integer(0, 100_000), "1000", "tokens", true, "What memory tells an agent before its first turn, at most; 0: nothing, and it keeps no lessons."),
    key("agent.tokenBudget.daily", integer(1, 1 << 50), "", "tokens", true, "Tokens of one agent per UTC day; unlimited when not set."),
    key("agent.tokenBudget.perRun", integer(1, 1 << 50), "", "tokens", true, "Tokens of one agent per run; unlimited when not set."),
    key("agent.costBudget.daily", Kind::Usd, "", "USD", true, "Money of one agent per UTC day; unlimited when not set."),
    key("agent.costBudget.perRun", Kind::Usd, "", "USD", true, "Money of one agent per run; unlimited when not set."),
    key("models.<alias>.provider", Kind::Word(PROVIDERS), "", "", true, "Which protocol the model speaks."),
    key("models.<alias>.id", Kind::Text { bytes_max: 256 }, "", "", true, "The model's name at its provider; the alias when not set."),
    key("models.<alias>.baseUrl", Kind::Url, "", "", true, "Where the provider is; its public address when not set."),
    key("models.<alias>.apiKey", Kind::Secret, "", "", true, "Where the key is: \"${ENV}\" or \"file:path\"; never the key itself."),
    key("models.<alias>.contextTokens", integer(1_000, 1 << 30), "", "tokens", true, "Longest conversation that the model takes; 128000 when not set."),
    key("models.<alias>.timeout", integer(100, MS_MAX), "600000", "ms", true, "Longest time of one model call."),
    key("models.<alias>.connectTimeout", integer(10, MS_MAX), "5000", "ms", true, "Longest time for a connection."),
    key("models.<alias>.firstByteTimeout", integer(10, MS_MAX), "120000", "ms", true, "Longest time from the request to the first byte of the answer."),
    key("models.<alias>.idleTimeout", integer(10, MS_MAX), "60000", "ms", true, "Longest silence within an answer; a ping counts as life."),
    key("models.<alias>.stream", Kind::Flag, "true", "", true, "Whether answers come as a stream; some servers lose calls when they stream."),
    key("models.<alias>.fallback", Kind::Texts { items_min: 0, items_max: 16 }, "", "", true, "Aliases that are asked instead, in order, when this one cannot be had."),
    key("models.<alias>.price.input", Kind::Usd, "", "USD per million tokens", true, "What tokens of requests cost; needs price.output beside it."),
    key("models.<alias>.price.output", Kind::Usd, "", "USD per million tokens", true, "What tokens of answers cost; needs price.input beside it."),
    key("models.<alias>.price.cacheRead", Kind::Usd, "", "USD per million tokens", true, "What tokens read from the provider's cache cost; price.input when not set."),
    key("models.<alias>.price.cacheWrite", Kind::Usd, "", "USD per million tokens", true, "What tokens written to the provider's cache cost; price.input when not set."),
    key("skills.dirs", Kind::Texts { items_min: 0, items_max: 64 }, "[]", "", false, "Further folders with skill packages, relative to the configuration folder."),
    key("skills.sandbox", Kind::Word(SandboxMode::WORDS), "on", "", false, "Programs are confined: on, or none; permissive, as far as possible; off, not at all."),
    key("skills.readPaths", Kind::Texts { items_min: 0, items_max: 256 }, "[]", "", false, "Files and folders outside the workspace that programs read and run."),
    key("skills.writePaths", Kind::Texts { items_min: 0, items_max: 256 }, "[]", "", false, "Folders outside the workspace that programs write to."),
    key("skills.memoryBytes", integer(16 << 20, 1 << 44), "4294967296", "bytes", false, "Memory of a program together with all that it starts."),
    key("skills.processes", integer(1, 1 << 20), "1024", "", false, "Processes and threads of a program together with all that it starts."),
    key("skills.commands.<name>.argv", Kind::Texts { items_min: 1, items_max: 256 }, "", "", false, "Program and arguments; no shell."),
    key("skills.commands.<name>.class", Kind::Word(CLASSES), "once", "", false, "What the command does to the world; decides what recovery may do."),
    key("skills.commands.<name>.probe", Kind::Texts { items_min: 1, items_max: 256 }, "", "", false, "For class probe: program that ends with 0 when the effect has happened, 1 when not."),
    key("skills.commands.<name>.description", Kind::Text { bytes_max: 1024 }, "", "", false, "What it does and when to use it, for the model."),
    key("skills.commands.<name>.timeout", integer(100, MS_MAX), "60000", "ms", false, "Deadline of one call."),
    key("skills.commands.<name>.resources", Kind::Texts { items_min: 1, items_max: 16 }, "", "", false, "Arguments that name what a call works on: calls of any skill with the same value never run at the same time."),
    key("skills.commands.<name>.undo", Kind::Text { bytes_max: 64 }, "", "", false, "Skill that undoes a call when its run ends without success; called with the same arguments."),
    key("skills.commands.<name>.schema", Kind::Schema, "", "", false, "JSON Schema of the arguments; any object when not set."),
    key("skills.commands.<name>.network", Kind::HostPorts, "", "", false, "Hosts (host:port) that the command reaches through the daemon's proxy; none when not set."),
    key("skills.network.allow", Kind::HostPorts, "[]", "", false, "Private addresses (host:port) that skills may reach all the same."),
    key("skills.network.programs", Kind::HostPorts, "[]", "", false, "Hosts (host:port) that every program reaches through the daemon's proxy."),
    key("skills.secrets.<name>.server", Kind::Url, "", "", false, "Server whose requests by programs get a secret from the proxy."),
    key("skills.secrets.<name>.header", Kind::Text { bytes_max: 64 }, "", "", false, "Header that carries the secret; a bearer token in Authorization when not set."),
    key("skills.secrets.<name>.value", Kind::Secret, "", "", false, "Where the secret is: \"${ENV}\" or \"file:path\"; never the secret itself."),
    key("skills.search.url", Kind::Url, "", "", false, "The search service of web.search; {query} in it stands for the words, else they are sent as q."),
    key("skills.search.kind", Kind::Word(&["searxng", "json"]), "searxng", "", false, "How the search service answers."),
    key("skills.search.results", Kind::Text { bytes_max: 256 }, "/results", "", false, "For kind json: where the list of results is, as a JSON Pointer."),
    key("skills.search.title", Kind::Text { bytes_max: 256 }, "/title", "", false, "For kind json: a result's title."),
    key("skills.search.link", Kind::Text { bytes_max: 256 }, "/url", "", false, "For kind json: a result's address."),
    key("skills.search.snippet", Kind::Text { bytes_max: 256 }, "/content", "", false, "For kind json: some of a result's text."),
    key("cron.timezone", Kind::Zone, "UTC", "", false, "Zone of schedules that do not say; an IANA name."),
    key("cron.catchUp", Kind::Word(&["all", "last", "skip"]), "last", "", false, "Which slots of a downtime run later, for schedules that do not say."),
    key("metrics.bind", Kind::Address, "127.0.0.1", "", false, "Loopback address on which metrics are served."),
    key("metrics.port", integer(0, 65_535), "9464", "", false, "Port of the metrics; 0 takes any free one."),
    key("mcp.<name>.command", Kind::Texts { items_min: 1, items_max: 256 }, "", "", false, "Program and arguments of a server that speaks on its standard input and output."),
    key("mcp.<name>.url", Kind::Url, "", "", false, "Address of a server that answers to Streamable HTTP."),
    key("mcp.<name>.bearer", Kind::Secret, "", "", false, "Where the server's token is: \"${ENV}\" or \"file:path\"."),
    key("mcp.<name>.env.<variable>", Kind::Text { bytes_max: 32_768 }, "", "", false, "A variable of the program; \"${ENV}\" and \"file:path\" are looked up."),
    key("mcp.<name>.timeout", integer(100, MS_MAX), "60000", "ms", false, "Deadline of one call."),
    key("mcp.<name>.startTimeout", integer(100, 600_000), "30000", "ms", false, "Time until the server has told its tools."),
    key("mcp.<name>.tools", Kind::Texts { items_min: 1, items_max: 256 }, "", "", false, "The tools that are taken, by the server's own names; all when not set."),
    key("mcp.<name>.class", Kind::Word(TOOL_CLASSES), "once", "", false, "What its tools do to the world; decides what recovery may do."),
    key("mcp.<name>.classes.<tool>", Kind::Word(TOOL_CLASSES), "", "", false, "What one tool does to the world, by the server's own name for it."),
    key("mcp.<name>.trust", Kind::Word(&["none", "hints"]), "none", "", false, "With hints, a tool that the server calls read-only is of class read."),
    key("mcp.<name>.network", Kind::HostPorts, "[]", "", false, "Where the server connects to (host:port); its program reaches nothing else, and its callers need it too."),
    key("mcp.<name>.readPaths", Kind::Texts { items_min: 0, items_max: 256 }, "[]", "", false, "Files and folders that a server's program reads and runs, beside its own folder and paths in its command."),
    key("mcp.<name>.writePaths", Kind::Texts { items_min: 0, items_max: 256 }, "[]", "", false, "Folders that a server's program writes to beside its own."),
    key("mcp.<name>.concurrency", integer(1, 256), "4", "", false, "Calls of one tool at once."),
    key("mcp.<name>.protocol", Kind::Word(&["auto", "2026-07-28", "2025-11-25"]), "auto", "", false, "Revision of the protocol; the newest that both know when auto."),
    key("memory.gcInterval", integer(1, 30 * 24 * 3600), "3600", "s", false, "How often memory is collected: what has ended or is too much is archived, what was archived long ago goes."),
    key("memory.pruneSchedule", Kind::Word(&["off", "daily", "weekly", "monthly"]), "weekly", "", false, "How often entries of little value (by importance, uses and last use) are archived."),
    key("memory.archiveKeep", integer(1, 3650 * 24 * 3600), "2592000", "s", false, "How long archived entries can be restored before they are deleted."),
    key("memory.maxEntries", integer(1, 1 << 32), "2000000", "", false, "Entries of one part of the memory: a session, a project, or the global one."),
    key("memory.maxBytes", integer(1_024, 1 << 50), "8589934592", "bytes", false, "Text of all memory entries together."),
    key("memory.whenFull", Kind::Word(&["evict", "refuse"]), "evict", "", false, "At those limits the least valuable entries are archived to make room, or nothing more is taken."),
    key("memory.graph.kind", Kind::Word(&["compact", "hnsw_rs", "off"]), "compact", "", false, "Graph that finds near vectors in large parts: the program's own, that of hnsw_rs, or none (always a scan)."),
    key("memory.graph.fromEntries", integer(1_000, 1 << 32), "50000", "", false, "A part with fewer entries has no graph: an exact scan takes less than a question may."),
    key("memory.embedder.provider", Kind::Word(&["built-in", "openai"]), "built-in", "", false, "What makes the vectors of memory: the program itself, or a server that speaks the OpenAI form."),
    key("memory.embedder.baseUrl", Kind::Url, "http://127.0.0.1:11434/v1", "", false, "Where that server is, before /embeddings."),
    key("memory.embedder.model", Kind::Text { bytes_max: 128 }, "nomic-embed-text", "", false, "The model's name there; for another, entries get new vectors in the background."),
    key("memory.embedder.dimensions", integer(2, 8_192), "768", "", false, "Dimensions of the model's vectors; others are refused."),
    key("memory.embedder.apiKey", Kind::Secret, "", "", false, "Where the server's key is: \"${ENV}\", \"file:path\" or \"secret:name\"; never the key itself."),
    key("log.level", Kind::Word(&["error", "warn", "info", "debug", "trace"]), "info", "", true, "Least important line that is logged."),
    key("log.format", Kind::Word(&["text", "json"]), "text", "", false, "Form of the log lines."),
    key("log.dir", Kind::Text { bytes_max: 4_096 }, "", "", false, "Folder of log files, relative to the state; without it lines go to the standard error stream alone."),
    key("log.rotate", integer(65_536, 1 << 40), "16777216", "bytes", false, "A log file is put aside when it would be larger than this."),
    key("log.keep", integer(0, 10_000), "8", "", false, "Log files that were put aside and are kept."),
    key("otlp.endpoint", Kind::Url, "", "", false, "A collector of OpenTelemetry (OTLP/HTTP, JSON) that is told of runs and log lines: http://127.0.0.1:4318."),
    key("otlp.authorization", Kind::Secret, "", "", false, "Where the value of its Authorization header is: \"${ENV}\", \"file:path\" or \"secret:name\"."),
    key("health.interval", integer(5, 86_400), "300", "s", true, "How often every part is checked."),
    key("health.failures", integer(1, 100), "2", "", true, "Failures of a check in a row that are an incident."),
    key("health.severity", Kind::Word(&["warning", "error"]), "warning", "", false, "Incidents of less than this are told to nobody."),
    key("health.groupWait", integer(0, 3_600), "10", "s", false, "How long an incident waits for others before people are told of all at once."),
    key("health.repeatInterval", integer(60, 30 * 86_400), "14400", "s", false, "After how long people are told again of what nobody has acknowledged."),
    key("health.keepIncidents", integer(86_400, 100 * 365 * 86_400), "34560000", "s", false, "How long incidents are kept."),
    key("health.checks.<name>.url", Kind::Url, "", "", true, "A check of your own: this address answers."),
    key("health.checks.<name>.status", integer(100, 599), "", "", true, "The status that is good; any below 400 when not set."),
    key("health.checks.<name>.tcp", Kind::Text { bytes_max: 256 }, "", "", true, "A check of your own: this host:port accepts connections."),
    key("health.checks.<name>.command", Kind::Texts { items_min: 1, items_max: 256 }, "", "", true, "A check of your own: this program with its arguments ends with 0."),
    key("health.checks.<name>.metric", Kind::Text { bytes_max: 256 }, "", "", true, "A check of your own: this series of the daemon's metrics stays within bounds."),
    key("health.checks.<name>.above", Kind::Number, "", "", true, "The check fails when the metric is more than this number."),
    key("health.checks.<name>.below", Kind::Number, "", "", true, "The check fails when the metric is less than this number."),
    key("health.checks.<name>.timeout", integer(10, 600_000), "10000", "ms", true, "Longest wait for its answer."),
    key("health.checks.<name>.severity", Kind::Word(&["warning", "error"]), "error", "", true, "How bad it is when it fails."),
    key("health.alerts.<name>.url", Kind::Url, "", "", false, "People are told by a webhook at this address."),
    key("health.alerts.<name>.secret", Kind::Secret, "", "", false, "Where the secret is that signs the webhook (Standard Webhooks, whsec_…)."),
    key("health.alerts.<name>.command", Kind::Texts { items_min: 1, items_max: 256 }, "", "", false, "People are told by this program; it gets the message as JSON."),
    key("health.alerts.<name>.smtp", Kind::Text { bytes_max: 512 }, "", "", false, "People are told by e-mail over this server, such as smtps://mail.example.org."),
    key("health.alerts.<name>.username", Kind::Text { bytes_max: 256 }, "", "", false, "Name for the mail server."),
    key("health.alerts.<name>.password", Kind::Secret, "", "", false, "Where the password for the mail server is."),
    key("health.alerts.<name>.from", Kind::Text { bytes_max: 256 }, "", "", false, "Who writes the e-mail."),
    key("health.alerts.<name>.to", Kind::Texts { items_min: 1, items_max: 64 }, "", "", false, "To whom the e-mail goes."),
    key("store.cacheBytes", integer(1 << 20, 64 << 30), "8388608", "bytes", false, "Memory that the store may use as its cache."),
    key("store.minFreeBytes", integer(0, 1 << 50), "67108864", "bytes", false, "Room on the disk of the state below which new work is refused and runs start no further step."),
    key("store.keepRuns", integer(3_600, 100 * 365 * 24 * 3600), "7776000", "s", false, "How long runs are kept after their end; parked and unknown ones stay until somebody settles them."),
    key("store.keepBytes", integer(1 << 20, 1 << 50), "17179869184", "bytes", false, "Bytes of all kept runs together; the oldest go when there are more."),
    key("store.keepAudit", integer(86_400, 100 * 365 * 24 * 3600), "34560000", "s", false, "How long rows of the audit log are kept."),
    key("store.keepSlots", integer(3_600, 100 * 365 * 24 * 3600), "34560000", "s", false, "How long rows of the ledgers of schedules are kept; of one schedule the last 10000 at most."),
    key("store.backupEvery", integer(60, 366 * 86_400), "", "s", false, "How often a backup is made by itself; never when not set."),
    key("store.backupKeep", integer(1, 10_000), "7", "", true, "Backups that are kept; the oldest go when a new one was made."),
];

/// The keys of a file in `agents/`.
#[rustfmt::skip] // one row a line: it is read as a table
pub const AGENT_KEYS: &[Key] = &[
    key("name", Kind::Text { bytes_max: 64 }, "", "", true, "The agent's name; the file's name when not set."),
    key("role", Kind::Word(&["planner", "coder", "reviewer", "debugger", "executor"]), "", "", true, "What it is for; decides its default prompt and skills."),
    key("model", Kind::Text { bytes_max: 64 }, "offline", "", true, "Alias of the model it asks."),
    key("prompt", Kind::Text { bytes_max: 65_536 }, "", "", true, "The text of its prompt."),
    key("promptFile", Kind::Text { bytes_max: 4_096 }, "", "", true, "A file with its prompt, relative to the configuration folder."),
    key("skills", Kind::Texts { items_min: 0, items_max: 256 }, "", "", true, "The skills it may call; those of its role when not set."),
    key("approvals.<name>", Kind::Word(APPROVALS), "", "", true, "Who agrees to its calls of a skill; agent.approvals when not set."),
    key("capabilities", Kind::Texts { items_min: 0, items_max: 256 }, "", "", true, "What its calls may touch, such as net:docs.rs:443; what its skills need when not set."),
    key("concurrency", integer(1, 1_024), "", "", true, "Sessions at once; agent.concurrency when not set."),
    key("maxTurns", integer(1, 1_000), "", "", true, "Model calls of one session; agent.maxTurns when not set."),
    key("maxRetries", integer(0, 100), "", "", true, "Further attempts after a failed one; agent.maxRetries when not set."),
    key("timeout", integer(100, MS_MAX), "", "ms", true, "Deadline of one step; agent.timeout when not set."),
    key("maxOutputTokens", integer(1, 1_000_000), "", "tokens", true, "Ceiling of one answer; agent.maxOutputTokens when not set."),
    key("compactAt", integer(1_000, 1 << 30), "", "tokens", true, "Length from which on a conversation is compacted; agent.compactAt when not set."),
    key("memoryTokens", integer(0, 100_000), "", "tokens", true, "What memory tells it before its first turn, at most; agent.memoryTokens when not set."),
    key("tokenBudget.daily", integer(1, 1 << 50), "", "tokens", true, "Tokens per UTC day; agent.tokenBudget.daily when not set."),
    key("tokenBudget.perRun", integer(1, 1 << 50), "", "tokens", true, "Tokens per run; agent.tokenBudget.perRun when not set."),
    key("costBudget.daily", Kind::Usd, "", "USD", true, "Money per UTC day; agent.costBudget.daily when not set."),
    key("costBudget.perRun", Kind::Usd, "", "USD", true, "Money per run; agent.costBudget.perRun when not set."),
];

/// A parsed dotted path; a segment may contain any character.
pub type Path = Vec<String>;

/// Reads a dotted path with TOML's quoting: `models."gpt-4.1".id`.
pub fn parse_path(text: &str) -> Option<Path> {
    let keys = toml_edit::Key::parse(text).ok()?;
    Some(keys.iter().map(|key| key.get().to_owned()).collect())
}

/// Writes a path so that [`parse_path`] reads it back.
pub fn render_path(path: &[String]) -> String {
    let segments = path
        .iter()
        .map(|segment| toml_edit::Key::new(segment.as_str()).to_string());
    segments.collect::<Vec<_>>().join(".")
}

impl Key {
    /// The segments of the path.
    pub fn segments(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('.')
    }

    /// Whether a part of the path stands for any name.
    pub fn is_pattern(&self) -> bool {
        self.path.contains('<')
    }

    /// Whether the key has this path.
    pub fn matches(&self, path: &[String]) -> bool {
        self.segments().count() == path.len() && self.starts_with(path)
    }

    /// Whether the key is this path or lies under it.
    pub fn starts_with(&self, path: &[String]) -> bool {
        let mut segments = self.segments();
        path.iter().all(|given| {
            segments
                .next()
                .is_some_and(|own| own == given || (own.starts_with('<') && !given.is_empty()))
        })
    }

    /// The default as a value.
    pub fn default_value(&self) -> Option<Value> {
        if self.default.is_empty() {
            return None;
        }
        let value = self.kind.parse(self.default);
        Some(value.expect("every default is allowed by its own kind; a test checks all of them"))
    }

    /// The environment variable that sets it: `gateway.maxBodyBytes` is `OPENCLAW_GATEWAY_MAX_BODY_BYTES`.
    /// None for keys with a name in their path, because case and punctuation of the name would be lost.
    pub fn variable(&self) -> Option<String> {
        if self.is_pattern() {
            return None;
        }
        let mut name = String::from("OPENCLAW_");
        for character in self.path.chars() {
            match character {
                '.' => name.push('_'),
                upper if upper.is_ascii_uppercase() => {
                    name.push('_');
                    name.push(upper);
                }
                other => name.push(other.to_ascii_uppercase()),
            }
        }
        Some(name)
    }
}

/// The key of this path.
pub fn find(keys: &'static [Key], path: &[String]) -> Option<&'static Key> {
    keys.iter().find(|key| key.matches(path))
}

/// The known name that looks most like `text`, when one is near enough to be meant.
pub fn nearest(keys: &'static [Key], text: &str) -> Option<&'static str> {
    let wanted = text.to_ascii_lowercase();
    // The beginning of a key is that key, with something left out.
    let begins = |key: &&Key| {
        let known = key.path.to_ascii_lowercase();
        known.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('.'))
    };
    let mut begun = keys.iter().filter(begins);
    if let (Some(only), None) = (begun.next(), begun.next()) {
        return Some(only.path);
    }
    let wanted_last = last_segment(&wanted);
    let near = |distance: usize, length: usize| distance <= (length / 4).max(1);
    let scored = keys.iter().filter_map(|key| {
        let known = key.path.to_ascii_lowercase();
        let whole = distance(&known, &wanted);
        // A forgotten group is as common as a typing error, so the last segment alone may be meant.
        let last = distance(last_segment(&known), wanted_last);
        let meant = near(whole, wanted.len()) || near(last, wanted_last.len());
        meant.then_some((whole.min(last + 2), whole, key.path))
    });
    scored.min().map(|(_, _, path)| path)
}

fn last_segment(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Number of single-character edits between two texts.
///
/// **Source**: Levenshtein's distance, by the two-row form of Wagner and Fischer.
pub fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (position, left) in one.chars().take(128).enumerate() {
        let mut diagonal = row[0];
        row[0] = position + 1;
        for (column, right) in two.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[two.len()]
}

/// The effect class of an allowed word.
pub fn class_of(word: &str) -> EffectClass {
    EffectClass::from_word(word).expect("the key's kind allows exactly the words of the classes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::approval::Approval;

    #[test]
    fn every_default_is_allowed_and_every_key_is_found_by_its_own_path() {
        for keys in [KEYS, AGENT_KEYS] {
            for key in keys {
                if let Some(value) = key.default_value() {
                    assert!(key.kind.allows(&value), "{}", key.path);
                }
                let path: Path = key.segments().map(|segment| segment.replace(['<', '>'], "x")).collect();
                assert_eq!(find(keys, &path).map(|found| found.path), Some(key.path));
                assert_eq!(parse_path(&render_path(&path)), Some(path));
                assert!(key.doc.ends_with('.') && key.doc.len() < 120, "{}", key.path);
            }
        }
        let words = crate::llm::config::Provider::ALL.map(crate::llm::config::Provider::as_str);
        assert_eq!(PROVIDERS, words);
        assert!(CLASSES.iter().all(|word| EffectClass::from_word(word).is_some()));
        assert!(APPROVALS.iter().all(|word| Approval::from_word(word).is_some()));
    }

    #[test]
    fn a_mistyped_key_finds_its_neighbour_and_nonsense_finds_none() {
        let check = |text: &str, wanted: Option<&str>| assert_eq!(nearest(KEYS, text), wanted, "{text}");
        check("gateway.timout", Some("gateway.timeout"));
        check("gateway.maxbodybytes", Some("gateway.maxBodyBytes"));
        check("maxRetries", Some("agent.maxRetries"));
        check("memory.gc_interval", Some("memory.gcInterval"));
        check("agent.approvals", Some("agent.approvals.<name>"));
        check("completely.else", None);
    }

    #[test]
    fn variables_are_spelled_as_shells_want_them() {
        let check = |path: &str, wanted: Option<&str>| {
            let key = KEYS.iter().find(|key| key.path == path).expect("known");
            assert_eq!(key.variable().as_deref(), wanted);
        };
        check("gateway.port", Some("OPENCLAW_GATEWAY_PORT"));
        check("agent.tokenBudget.perRun", Some("OPENCLAW_AGENT_TOKEN_BUDGET_PER_RUN"));
        check("models.<alias>.id", None);
    }
}
