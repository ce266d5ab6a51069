//! What every command stands on: the home, what comes from outside the files, and where to print.

use super::arguments::Global;
use super::client::{Client, Target};
use super::error::CliError;
use super::output::Output;
use crate::daemon::config::{Home, HomeError, Loaded, Overrides, load};

/// The surroundings of one command.
pub struct Context {
    /// The home; whether it exists is another question.
    pub home: Home,
    /// Environment and flags that replace configured values.
    pub overrides: Overrides,
    /// Flags of every command.
    pub global: Global,
    /// Where to print.
    pub output: Output,
}

impl Context {
    /// The gateway of this home.
    pub fn target(&self) -> Result<Target, CliError> {
        Target::find(
            &self.home,
            &self.overrides,
            self.global.url.as_deref(),
            self.global.key.as_deref(),
        )
    }

    /// A client of the gateway of this home.
    pub fn client(&self) -> Result<Client, CliError> {
        Client::new(&self.target()?)
    }

    /// A client of the operators' routes of this home.
    pub fn admin(&self) -> Result<Client, CliError> {
        let key = self.global.key.as_deref();
        Client::of_operator(&self.home, &self.overrides, None, key)
    }

    /// The configuration; its warnings are printed.
    pub fn load(&mut self) -> Result<Loaded, CliError> {
        let loaded = load(&self.home, &self.overrides)?;
        for warning in &loaded.warnings {
            self.output.warn(&warning.to_string());
        }
        Ok(loaded)
    }

    /// Refuses to go on when the home has not been set up.
    pub fn require_home(&self) -> Result<(), CliError> {
        if self.home.exists() {
            return Ok(());
        }
        let path = self.home.config_dir().to_owned();
        Err(HomeError::Missing { path }.into())
    }

    /// Puts a flag over the configuration.
    pub fn set_flag(&mut self, flag: &str, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.overrides.flags.push((flag.to_owned(), key.to_owned(), value));
        }
    }
}
