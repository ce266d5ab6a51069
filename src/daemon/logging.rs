//! Logs of the process: to the standard error stream and, where the operator wants them, to files; for people or
//! programs.

use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::health::export::log_queue::{Importance, LogLine, LogQueue};
use crate::runtime::clock::Clock;

use super::config::load::{LogConfig, LogFormat};
use super::log_files::LogFiles;
use super::log_writer::LogWriter;

/// The log of this process, of which there is one whoever starts in it.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    level: Mutex<LevelFilter>,
    filter: Handle<Targets, Registry>,
    told: Option<LogQueue>,
}

/// Keeps lines for a collector.
struct Told {
    queue: LogQueue,
    clock: Clock,
}

/// The message and the fields of a line.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn add(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            name => self.others.push((name, text)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}

/// What a line happened in, kept with it.
struct Around(Vec<(&'static str, String)>);

impl<S: Subscriber + for<'span> LookupSpan<'span>> tracing_subscriber::Layer<S> for Told {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Around(fields.others));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Around(around)) = span.extensions().get() {
                // The trace id is a field of its own there, made of the run; what the line itself says comes first.
                for (name, text) in around.iter().filter(|(name, _)| *name != "trace_id") {
                    if fields.others.iter().all(|(own, _)| own != name) {
                        fields.others.push((name, text.clone()));
                    }
                }
            }
        }
        let metadata = event.metadata();
        let importance = match *metadata.level() {
            Level::ERROR => Importance::Error,
            Level::WARN => Importance::Warn,
            Level::INFO => Importance::Info,
            Level::DEBUG => Importance::Debug,
            Level::TRACE => Importance::Trace,
        };
        self.queue.push(LogLine {
            at: self.clock.now(),
            importance,
            target: metadata.target(),
            message: fields.message,
            fields: fields.others,
        });
    }
}

fn targets(level: LevelFilter) -> Targets {
    // The libraries below are only heard when they warn.
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // What a server says is quoted in its warnings, whole.
        .with_target("rmcp", level.min(LevelFilter::ERROR))
        .with_target("openclaw", level)
        .with_target("supervisors", level)
}

/// Starts logging; a second call in one process changes nothing.
pub fn start(config: &LogConfig) {
    let level = config.level.parse().unwrap_or(LevelFilter::INFO);
    let (filter, handle) = reload::Layer::new(targets(level));
    let json = (config.format == LogFormat::Json).then(|| fmt::layer().json().with_writer(std::io::stderr));
    let text = (config.format == LogFormat::Text).then(|| {
        fmt::layer()
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(|| LogWriter(std::io::stderr()))
    });
    let files = config.files.as_ref().map(|files| {
        let files = LogFiles::new(&files.folder, files.bytes_max, files.keep, config.format);
        match config.format {
            LogFormat::Json => fmt::layer().json().with_writer(move || files.clone()).boxed(),
            LogFormat::Text => fmt::layer()
                .with_target(false)
                .with_ansi(false)
                .with_writer(move || LogWriter(files.clone()))
                .boxed(),
        }
    });
    let layers = json
        .map(tracing_subscriber::Layer::boxed)
        .into_iter()
        .chain(text.map(fmt::Layer::boxed))
        .chain(files);
    let told = config.is_told.then(LogQueue::default);
    let telling = told.clone().map(|queue| {
        let clock = Clock::system();
        Told { queue, clock }.boxed()
    });
    let layers: Vec<_> = layers.chain(telling).collect();
    let started = tracing_subscriber::registry()
        .with(layers.with_filter(filter))
        .try_init();
    if started.is_ok() {
        LOG.get_or_init(|| Log {
            level: Mutex::new(level),
            filter: handle,
            told,
        });
    }
}

/// The least important line that is logged; off when nothing was started here.
pub fn level() -> LevelFilter {
    LOG.get().map_or(LevelFilter::OFF, |log| {
        *log.level.lock().unwrap_or_else(PoisonError::into_inner)
    })
}

/// The lines that wait for a collector; none when there is no collector, or the log was started without one.
pub fn told() -> Option<LogQueue> {
    LOG.get().and_then(|log| log.told.clone())
}

/// Logs from this level on; says whether that was done.
pub fn set_level(text: &str) -> bool {
    let known = ["error", "warn", "info", "debug", "trace"].contains(&text);
    let (Some(log), true, Ok(level)) = (LOG.get(), known, text.parse::<LevelFilter>()) else {
        return false;
    };
    let mut held = log.level.lock().unwrap_or_else(PoisonError::into_inner);
    let is_done = log.filter.reload(targets(level)).is_ok();
    if is_done {
        *held = level;
    }
    is_done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::RunId;
    use crate::domain::name::AgentName;
    use crate::domain::time::UtcMillis;
    use crate::runtime::run_span::run_span;

    #[test]
    fn a_line_for_a_collector_has_the_run_that_it_happened_in() {
        let queue = LogQueue::default();
        let clock = Clock::system();
        let told = Told {
            queue: queue.clone(),
            clock,
        };
        let (run, other) = (RunId::new(UtcMillis(1), 1), RunId::new(UtcMillis(2), 2));
        let agent = AgentName::new("zoe").expect("a name");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(told), || {
            run_span(run, Some(&agent)).in_scope(|| {
                tracing::warn!("of the run");
                tracing::warn!(run = %other, "of the one that it names");
            });
            tracing::warn!("of none");
        });
        let (lines, _) = queue.take(9);
        let runs: Vec<_> = lines.iter().map(LogLine::run).collect();
        assert_eq!(runs, [Some(run), Some(other), None]);
        assert_eq!(lines[0].fields.last(), Some(&("agent", "zoe".to_owned())));
    }
}
