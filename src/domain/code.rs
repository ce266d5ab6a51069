//! The stable codes that users see, one page each in `ops/errors/`.

use super::fault::Fault;

/// One code of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// `OC-` and four digits; never given to another meaning.
    pub id: &'static str,
    /// The word for programs, as in the `type` of an error body.
    pub kind: &'static str,
    /// What kind of thing went wrong.
    pub fault: Fault,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $kind:literal, $fault:ident;)*) => {
        $($(#[$doc])* pub const $name: Code = Code { id: $id, kind: $kind, fault: Fault::$fault };)*

        /// The whole catalogue, in the order of the numbers.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    /// A request's body, query or header cannot be used.
    INVALID_REQUEST = "OC-1001", "invalid_request", Invalid;
    /// A plan that was given with a run is not acceptable.
    PLAN_REJECTED = "OC-1002", "plan_rejected", Invalid;
    /// The idempotency key was used with another body.
    IDEMPOTENCY_CONFLICT = "OC-1003", "idempotency_conflict", Conflict;
    /// No run has this id.
    RUN_NOT_FOUND = "OC-1004", "run_not_found", NotFound;
    /// No agent has this name.
    AGENT_NOT_FOUND = "OC-1005", "agent_not_found", NotFound;
    /// The run has ended, so it cannot be changed.
    RUN_ENDED = "OC-1006", "run_ended", Conflict;
    /// The limit of active runs is reached.
    TOO_MANY_RUNS = "OC-1007", "too_many_runs", Overloaded;
    /// The body is over `gateway.maxBodyBytes`.
    BODY_TOO_LARGE = "OC-1008", "body_too_large", Invalid;
    /// The workspace is not a folder that this daemon can use.
    WORKSPACE_INVALID = "OC-1009", "workspace_invalid", Invalid;
    /// Nothing is at this address.
    ROUTE_NOT_FOUND = "OC-1010", "route_not_found", NotFound;
    /// The run has not ended, so it has no result yet or cannot be repeated.
    RUN_ACTIVE = "OC-1011", "run_active", Conflict;
    /// The daemon is stopping and accepts nothing new.
    STOPPING = "OC-1012", "stopping", Unavailable;
    /// The address does not take the method.
    METHOD_NOT_ALLOWED = "OC-1013", "method_not_allowed", Invalid;
    /// No such question is open: it has changed, or the run went on without it.
    NOT_ASKED = "OC-1031", "not_asked", Conflict;
    /// The question was answered before, differently.
    ANSWERED_BEFORE = "OC-1032", "answered_before", Conflict;
    /// A schedule cannot be used as it is written.
    SCHEDULE_INVALID = "OC-1040", "schedule_invalid", Invalid;
    /// No schedule has this name.
    SCHEDULE_NOT_FOUND = "OC-1041", "schedule_not_found", NotFound;
    /// The slot has its run, or is in no state for what was asked.
    SLOT_TAKEN = "OC-1042", "slot_taken", Conflict;
    /// A schedule of this name exists already.
    SCHEDULE_EXISTS = "OC-1043", "schedule_exists", Conflict;
    /// A limit of schedules or of slots to run later is reached.
    SCHEDULE_LIMIT = "OC-1044", "schedule_limit", Overloaded;
    /// The actor of a schedule did not answer.
    SCHEDULE_UNAVAILABLE = "OC-1045", "schedule_unavailable", Unavailable;
    /// A parameter of a vendor's protocol is not known, or means something that is not done here.
    PARAMETER_UNSUPPORTED = "OC-1060", "parameter_unsupported", Invalid;
    /// No agent and no model has the name that a client of a vendor's protocol asked for.
    MODEL_NOT_SERVED = "OC-1061", "model_not_served", NotFound;
    /// The wait for an answer has ended; the run goes on.
    ANSWER_NOT_READY = "OC-1062", "answer_not_ready", TimedOut;
    /// There is no such response, or it is not kept for being asked for again.
    RESPONSE_NOT_FOUND = "OC-1063", "response_not_found", NotFound;
    /// The run ended without an answer.
    NO_ANSWER = "OC-1064", "no_answer", Unavailable;
    /// The response is still being made.
    RESPONSE_ACTIVE = "OC-1065", "response_active", Conflict;
    /// The model was asked again in the middle of a stream, and its answer is another one.
    STREAM_DIVERGED = "OC-1066", "stream_diverged", Unavailable;
    /// Too many streams of responses are being written.
    TOO_MANY_STREAMS = "OC-1067", "too_many_streams", Overloaded;
    /// A token budget does not allow the request.
    BUDGET_EXHAUSTED = "OC-1203", "budget_exhausted", Overloaded;
    /// No key was sent.
    KEY_MISSING = "OC-2001", "key_missing", Denied;
    /// The key is not valid here.
    KEY_INVALID = "OC-2002", "key_invalid", Denied;
    /// The key does not carry the scope that the route asks for.
    SCOPE_MISSING = "OC-2003", "scope_missing", Denied;
    /// The request came with a Host that this daemon does not answer to.
    HOST_REFUSED = "OC-2004", "host_refused", Denied;
    /// No API key has this id.
    KEY_NOT_FOUND = "OC-2005", "key_not_found", NotFound;
    /// A key can hand on no more than it carries itself.
    SCOPE_EXCEEDED = "OC-2006", "scope_exceeded", Denied;
    /// A key cannot be made with this name, these scopes or this end.
    KEY_TERMS = "OC-2007", "key_terms", Invalid;
    /// The key was revoked or has expired, so it cannot be changed.
    KEY_ENDED = "OC-2008", "key_ended", Conflict;
    /// The request comes from a web page of another origin.
    ORIGIN_REFUSED = "OC-2009", "origin_refused", Denied;
    /// The audit log is not what was written.
    AUDIT_BROKEN = "OC-2010", "audit_broken", Corrupt;
    /// The folder of the internal authority cannot be used.
    AUTHORITY_FILES = "OC-2011", "authority_files", Unavailable;
    /// A certificate is not given out with this identity, these names or this life.
    CERTIFICATE_TERMS = "OC-2012", "certificate_terms", Invalid;
    /// No certificate has this serial number.
    CERTIFICATE_NOT_FOUND = "OC-2013", "certificate_not_found", NotFound;
    /// The certificate is revoked already, or another step of the rotation comes first.
    AUTHORITY_STEP = "OC-2014", "authority_step", Conflict;
    /// No actor runs at this path.
    ACTOR_NOT_FOUND = "OC-2015", "actor_not_found", NotFound;
    /// No secret has this name.
    SECRET_NOT_FOUND = "OC-2016", "secret_not_found", NotFound;
    /// A secret cannot be kept under this name or with this value.
    SECRET_TERMS = "OC-2017", "secret_terms", Invalid;
    /// The secrets cannot be sealed or opened with the key that is there.
    SECRET_SEALED = "OC-2018", "secret_sealed", Unavailable;
    /// There is no room on the disk for more.
    DISK_FULL = "OC-2020", "disk_full", Overloaded;
    /// There is no such backup.
    BACKUP_NOT_FOUND = "OC-2021", "backup_not_found", NotFound;
    /// A backup is not what was written.
    BACKUP_DAMAGED = "OC-2022", "backup_damaged", Corrupt;
    /// The files beside the store are too many or too large for a backup.
    BACKUP_TOO_LARGE = "OC-2023", "backup_too_large", Invalid;
    /// The store cannot be compacted or backed up now.
    STORE_BUSY = "OC-2024", "store_busy", Conflict;
    /// A restore was begun and not ended, so nothing starts on this home.
    RESTORE_UNFINISHED = "OC-2025", "restore_unfinished", Conflict;
    /// No incident has this id.
    INCIDENT_NOT_FOUND = "OC-2026", "incident_not_found", NotFound;
    /// The checks of the daemon did not answer.
    HEALTH_UNANSWERED = "OC-2027", "health_unanswered", Unavailable;
    /// Another process has the store open.
    STORE_LOCKED = "OC-3001", "store_locked", Conflict;
    /// The disk refused a read or a write.
    STORE_FAILED = "OC-3002", "store_failed", Unavailable;
    /// A record cannot be read.
    STORE_CORRUPT = "OC-3003", "store_corrupt", Corrupt;
    /// The store was written by a newer program.
    STORE_VERSION = "OC-3004", "store_version", Conflict;
    /// The store has to be migrated, and there is no room for that on its disk.
    MIGRATION_NO_ROOM = "OC-3010", "migration_no_room", Overloaded;
    /// The store of an earlier program could not be migrated; it is as it was.
    MIGRATION_FAILED = "OC-3011", "migration_failed", Conflict;
    /// The store was written by an earlier program and was not migrated yet.
    STORE_EARLIER = "OC-3012", "store_earlier", Conflict;
    /// No model has this alias, or it lacks a key.
    MODEL_NOT_CONFIGURED = "OC-4001", "model_not_configured", Invalid;
    /// A run that is replayed asked what its cassette has no answer for.
    CASSETTE_MISS = "OC-4101", "cassette_miss", Conflict;
    /// A cassette cannot be used.
    CASSETTE_INVALID = "OC-4102", "cassette_invalid", Invalid;
    /// The run was not recorded, so it has no cassette.
    CASSETTE_ABSENT = "OC-4103", "cassette_absent", NotFound;
    /// No skill has this name.
    SKILL_NOT_FOUND = "OC-5001", "skill_not_found", NotFound;
    /// A command skill is declared wrongly.
    SKILL_DECLARATION = "OC-5002", "skill_declaration", Invalid;
    /// Programs cannot be confined as the configuration wants, so they are not started.
    SANDBOX_REFUSED = "OC-5010", "sandbox_refused", Denied;
    /// A skill package cannot be used.
    SKILL_PACKAGE = "OC-5020", "skill_package", Invalid;
    /// The files of a skill package are not those that were added.
    SKILL_CHANGED = "OC-5021", "skill_changed", Conflict;
    /// A call needs a capability that was not granted.
    CAPABILITY_DENIED = "OC-5022", "capability_denied", Denied;
    /// A server of the Model Context Protocol cannot be reached or used.
    MCP_UNAVAILABLE = "OC-5023", "mcp_unavailable", Unavailable;
    /// No server of the Model Context Protocol has this name.
    MCP_NOT_FOUND = "OC-5024", "mcp_not_found", NotFound;
    /// A call crashed its worker again and again and is not made any more.
    CALL_DEAD_LETTERED = "OC-5035", "call_dead_lettered", Bug;
    /// An archive of a skill package is not taken.
    SKILL_ARCHIVE = "OC-5040", "skill_archive", Invalid;
    /// A repository configures what could run a program, so git is not run in it.
    GIT_CONFIGURATION_REFUSED = "OC-5041", "git_configuration_refused", Denied;
    /// A file below `.git` is not written by file skills.
    GIT_FOLDER_REFUSED = "OC-5042", "git_folder_refused", Denied;
    /// No interpreter of the wanted language starts where programs are confined.
    INTERPRETER_UNUSABLE = "OC-5043", "interpreter_unusable", Unavailable;
    /// A configuration file cannot be read as TOML.
    CONFIG_SYNTAX = "OC-6001", "config_syntax", Invalid;
    /// A configuration value is not allowed.
    CONFIG_VALUE = "OC-6002", "config_value", Invalid;
    /// There is no such configuration key.
    CONFIG_KEY = "OC-6003", "config_key", NotFound;
    /// A configuration file cannot be read or written.
    CONFIG_FILE = "OC-6004", "config_file", Unavailable;
    /// No daemon answers.
    DAEMON_UNREACHABLE = "OC-7001", "daemon_unreachable", Unavailable;
    /// The home has not been set up.
    HOME_MISSING = "OC-7002", "home_missing", NotFound;
    /// The address is used by another program.
    ADDRESS_IN_USE = "OC-7003", "address_in_use", Conflict;
    /// A daemon already runs on this home.
    ALREADY_RUNNING = "OC-7004", "already_running", Conflict;
    /// The daemon answered with something that is not of this protocol.
    PROTOCOL = "OC-7005", "protocol", Bug;
    /// A file or folder of the home cannot be used.
    HOME_FILE = "OC-7006", "home_file", Unavailable;
    /// A thing of this name exists already.
    EXISTS = "OC-7007", "exists", Conflict;
    /// There are as many connections as there may be.
    TOO_MANY_CONNECTIONS = "OC-7010", "too_many_connections", Overloaded;
    /// The body of a request did not arrive in time.
    BODY_TOO_SLOW = "OC-7011", "body_too_slow", TimedOut;
    /// The gateway's own certificate cannot be used.
    TLS_FILES = "OC-7012", "tls_files", Invalid;
    /// A key or an agent is asked more often than it may be.
    RATE_LIMITED = "OC-7013", "rate_limited", Overloaded;
    /// A key has as many requests under way as it may.
    TOO_MANY_AT_ONCE = "OC-7014", "too_many_at_once", Overloaded;
    /// The gateway answers as many requests as it may.
    OVERLOADED = "OC-7015", "overloaded", Overloaded;
    /// Too many keys from one address were not good.
    LOCKED_OUT = "OC-7016", "locked_out", Overloaded;
    /// A request says where it comes from, and whoever brought it is no proxy of this gateway.
    ATTRIBUTION_REFUSED = "OC-7017", "proxy_attribution_required", Denied;
    /// A key orders more tokens than it may.
    TOKENS_LIMITED = "OC-7018", "tokens_limited", Overloaded;
    /// An operator drains the daemon, so it takes no new runs.
    DRAINING = "OC-7019", "draining", Unavailable;
    /// A part of the tree was not suspended or resumed.
    NOT_SUSPENDED = "OC-7020", "not_suspended", Conflict;
    /// A change that an operator asked for was cut off, or took too long; it may have been made.
    CHANGE_UNFINISHED = "OC-7021", "change_unfinished", Unavailable;
    /// Nothing is kept under this key.
    MEMORY_NOT_FOUND = "OC-8001", "memory_not_found", NotFound;
    /// Too many questions wait for this part of the memory, or too many parts are open.
    MEMORY_BUSY = "OC-8002", "memory_busy", Overloaded;
    /// No more fits into the memory, and nothing may make room.
    MEMORY_FULL = "OC-8003", "memory_full", Overloaded;
    /// An archived entry cannot come back.
    MEMORY_NOT_RESTORED = "OC-8004", "memory_not_restored", Conflict;
    /// A line of an import cannot be taken.
    MEMORY_IMPORT = "OC-8005", "memory_import", Invalid;
    /// The record of an entry cannot be read; it was put aside.
    MEMORY_DAMAGED = "OC-8006", "memory_damaged", Corrupt;
    /// A session has ended, and nothing more is kept in it.
    MEMORY_SESSION_ENDED = "OC-8007", "memory_session_ended", Conflict;
    /// The embedder did not answer; the question was answered by words alone.
    MEMORY_WORDS_ALONE = "OC-8010", "memory_words_alone", Unavailable;
    /// A fault on purpose was asked for in a home that is not for tests.
    CHAOS_OFF = "OC-8011", "chaos_off", Denied;
    /// An invariant of the program is broken.
    BUG = "OC-9001", "bug", Bug;
}

/// The code of this id.
pub fn find(id: &str) -> Option<Code> {
    ALL.iter().copied().find(|code| code.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].id < pair[1].id));
        let mut kinds: Vec<&str> = ALL.iter().map(|code| code.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), ALL.len());
    }
}
