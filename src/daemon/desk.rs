//! The operators' desk over the files of a home and the log of this process.

use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::gateway::desk::{Desk, Edited};
use crate::gateway::error::ApiError;

use super::config::key::{KEYS, render_path};
use super::config::{ConfigError, Home, Overrides, edit, load};
use super::logging;

/// Of one home.
#[derive(Debug, Clone)]
pub struct HomeDesk {
    home: Home,
}

impl HomeDesk {
    /// Of this home.
    pub fn new(home: Home) -> Self {
        Self { home }
    }
}

fn refused(error: &ConfigError) -> ApiError {
    let hint = match error {
        ConfigError::UnknownKey {
            nearest: Some(nearest), ..
        } => format!("did you mean `{nearest}`?"),
        _ => "`openclaw config list` shows the keys with their values".into(),
    };
    ApiError::new(error.code(), in_one_line(error)).hint(hint)
}

impl Desk for HomeDesk {
    fn settings(&self) -> Result<Value, ApiError> {
        let loaded = load(&self.home, &Overrides::of_process()).map_err(|error| refused(&error))?;
        let settings = loaded.settings.iter().map(|setting| {
            json!({
                "key": setting.name(),
                "value": setting.value,
                "default": setting.key.default_value(),
                "unit": setting.key.unit,
                "origin": setting.origin.to_string(),
                "live": setting.key.live,
                "doc": setting.key.doc,
            })
        });
        let warnings = loaded.warnings.iter().map(ToString::to_string);
        Ok(json!({
            "settings": settings.collect::<Vec<_>>(),
            "warnings": warnings.collect::<Vec<_>>(),
            "keys": KEYS.len(),
        }))
    }

    fn check(&self, key: &str, value: &str) -> Result<String, ApiError> {
        let (path, known) = edit::lookup(key).map_err(|error| refused(&error))?;
        if known.kind.parse(value).is_none() {
            let message = format!("{}: allowed is {}", render_path(&path), known.kind.allowed());
            return Err(ApiError::new(code::CONFIG_VALUE, message));
        }
        Ok(render_path(&path))
    }

    fn set(&self, key: &str, value: &str) -> Result<Edited, ApiError> {
        let change = edit::set(&self.home.config_file(), key, value).map_err(|error| refused(&error))?;
        Ok(Edited {
            key: change.key,
            old: change.old,
            new: change.new,
            file: change.file.display().to_string(),
            live: change.live,
        })
    }

    fn log_level(&self) -> String {
        logging::level().to_string()
    }

    fn set_log_level(&self, level: &str) -> Result<(), ApiError> {
        if logging::set_level(level) {
            return Ok(());
        }
        let message = "there is no such level, or this process logs elsewhere";
        Err(ApiError::invalid(message).hint("one of error, warn, info, debug, trace"))
    }
}
