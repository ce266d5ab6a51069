//! The bounds of the program, in one place. Each is checked where the thing enters and refused clearly.

/// Steps in one plan.
pub const PLAN_STEPS_MAX: usize = 256;
/// Longest chain of steps that need each other.
pub const PLAN_DEPTH_MAX: usize = 32;
/// Steps that one step may need directly.
pub const STEP_NEEDS_MAX: usize = 64;
/// Checks on one step.
pub const STEP_CHECKS_MAX: usize = 32;
/// Bytes of a task's text.
pub const TASK_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a plan document.
pub const PLAN_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the arguments of one call.
pub const ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;
/// Depth of nested JSON that a model or client may send.
pub const JSON_DEPTH_MAX: usize = 64;
/// Bytes of one call's result that go back to the model; the rest is cut with a marker.
pub const RESULT_BYTES_MAX: usize = 96 * 1024;
/// Payloads above this many bytes are kept as blobs beside the journal.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Facts after which a run's journal gets a snapshot.
pub const SNAPSHOT_FACTS: usize = 256;
/// Journal bytes after which a run's journal gets a snapshot.
pub const SNAPSHOT_BYTES: usize = 1024 * 1024;
/// Crashes of a run's actor, or ends of the process while the run worked, without a new fact between them, after which
/// it is parked.
pub const POISON_RECOVERIES_MAX: u32 = 5;
/// Rounds in which the planner may repair a rejected plan or hand-off.
pub const PLAN_REPAIRS_MAX: u32 = 2;
/// Replans of one run after failed steps.
pub const REPLANS_MAX: u32 = 2;
/// Runs that may be active at once; the next one is refused with 503.
pub const ACTIVE_RUNS_MAX: usize = 10_000;
/// Batches that may wait for the committer; the next one is refused.
pub const COMMIT_QUEUE_MAX: usize = 8_192;
/// Turns of one session when the agent does not say.
pub const TURNS_DEFAULT: u32 = 24;
/// Calls of one turn; more are refused as malformed.
pub const CALLS_PER_TURN_MAX: usize = 32;
/// Bytes of a cassette that may be replayed.
pub const CASSETTE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Default deadline of a run, from its acceptance, in milliseconds (24 hours).
pub const RUN_DEADLINE_DEFAULT_MS: u64 = 24 * 3600 * 1000;
