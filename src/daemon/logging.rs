//! Logs of the process: to the standard error stream and, where the operator wants them, to files; for people or
//! programs.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use super::config::load::{LogConfig, LogFormat};
use super::log_files::LogFiles;
use super::log_writer::LogWriter;

/// Starts logging; a second call in one process changes nothing.
pub fn start(config: &LogConfig) {
    let level = config.level.parse().unwrap_or(LevelFilter::INFO);
    // The libraries below are only heard when they warn.
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // What a server says is quoted in its warnings, whole.
        .with_target("rmcp", level.min(LevelFilter::ERROR))
        .with_target("openclaw", level)
        .with_target("supervisors", level);
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
    tracing_subscriber::registry()
        .with(layers.with_filter(targets))
        .try_init()
        .ok();
}
