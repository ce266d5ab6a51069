//! The operators' desk over the files of a home and the log of this process.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::domain::code;
use crate::domain::fault::in_one_line;
use crate::gateway::desk::{Desk, Edited, Reloaded};
use crate::gateway::error::ApiError;

use super::config::key::{KEYS, render_path};
use super::config::{ConfigError, Home, Overrides, edit, load};
use super::logging;
use super::reload::decision::Changes;
use super::reload::reloader::Reloader;

/// Of one home.
pub struct HomeDesk {
    home: Home,
    reloader: OnceLock<Arc<Reloader>>,
}

impl HomeDesk {
    /// Of this home.
    pub fn new(home: Home) -> Self {
        let reloader = OnceLock::new();
        Self { home, reloader }
    }

    /// Reads the files again with this one; set once, before the first request.
    pub fn reload_with(&self, reloader: Arc<Reloader>) {
        self.reloader.set(reloader).ok();
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

    fn reload(&self, by: Arc<str>) -> BoxFuture<'static, Result<Reloaded, ApiError>> {
        let reloader = self.reloader.get().cloned();
        Box::pin(async move {
            let starting = || ApiError::new(code::STOPPING, "the daemon is still starting; nothing was read");
            let reloader = reloader.ok_or_else(starting)?;
            match reloader.reload(&by).await {
                Ok(Changes { applied, at_restart }) => Ok(Reloaded { applied, at_restart }),
                Err(error) => Err(ApiError::new(error.code(), in_one_line(&error))
                    .hint("nothing was changed; `openclaw config validate` names file and line")),
            }
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
