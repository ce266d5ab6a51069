//! A model provider in a process of its own, so that it can be stopped and cut off.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::model_server::ModelServer;

/// Serves until the standard input ends. Its address is the first line of the output.
///
/// # Errors
/// When no port is free or nobody reads the address.
pub fn serve() -> io::Result<()> {
    let server = ModelServer::start()?;
    let mut output = io::stdout().lock();
    writeln!(output, "{}", server.base_url())?;
    output.flush()?;
    drop(output);
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A running provider; it ends with this.
pub struct Provider {
    child: Child,
    /// Its end is the provider's.
    _input: ChildStdin,
    base_url: String,
}

impl Provider {
    /// Starts it: this program, told to be one.
    ///
    /// # Errors
    /// When it does not start or says no address.
    pub fn start() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("provider")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| io::Error::other("the provider has no pipes"))?;
        let mut base_url = String::new();
        BufReader::new(output).read_line(&mut base_url)?;
        Ok(Self {
            child,
            _input: input,
            base_url: base_url.trim().to_owned(),
        })
    }

    /// Its address, as `models.<alias>.baseUrl` takes it.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It may be stopped, or have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
