//! Telling a collector of OpenTelemetry what runs did and what was logged.
//!
//! Every run that ends is one trace: its steps, the requests to models and the calls of skills are spans, read from the
//! journal, so that they are what happened and survive restarts of everything in between. The trace's id is the run's.
//! Log lines go along. Nothing waits for a collector: what it does not take within its tries is dropped and counted, and
//! a run that ends while the process is killed is not told. `openclaw runs show` has it all the same.

pub mod exporter;
pub mod log_queue;
pub mod span;
pub mod wire;
