//! Logs of the process: to the standard error stream and, where the operator wants them, to files; for people or
//! programs.

use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::config::load::{LogConfig, LogFormat};
use super::log_files::LogFiles;
use super::log_writer::LogWriter;

/// The log of this process, of which there is one whoever starts in it.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    level: Mutex<LevelFilter>,
    filter: Handle<Targets, Registry>,
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
        let files = LogFiles::new(&files.folder, files.bytes_max, files.keep);
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
    let layers: Vec<_> = layers.collect();
    let started = tracing_subscriber::registry()
        .with(layers.with_filter(filter))
        .try_init();
    if started.is_ok() {
        LOG.get_or_init(|| Log {
            level: Mutex::new(level),
            filter: handle,
        });
    }
}

/// The least important line that is logged; off when nothing was started here.
pub fn level() -> LevelFilter {
    LOG.get().map_or(LevelFilter::OFF, |log| {
        *log.level.lock().unwrap_or_else(PoisonError::into_inner)
    })
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
