//! The tools that a server had when it was last seen, so that the catalogue is whole from the daemon's first moment.
//!
//! A memo that cannot be read is no memo: the server tells its tools again as soon as it runs. Blocks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::name::ServerName;

use super::tool::{TOOLS_MAX, ToolEntry};

const BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The folder of memos.
#[derive(Debug, Clone)]
pub struct Memo(PathBuf);

impl Memo {
    /// Keeps memos in this folder; it is made when it is needed.
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    fn file(&self, server: &ServerName) -> PathBuf {
        self.0.join(format!("{server}.json"))
    }

    /// The tools of a server; none when nothing readable is kept.
    pub fn read(&self, server: &ServerName) -> Vec<ToolEntry> {
        let file = self.file(server);
        let is_sane = fs::metadata(&file).is_ok_and(|metadata| metadata.len() <= BYTES_MAX);
        let tools = fs::read(file).ok().filter(|_| is_sane);
        let tools: Option<Vec<ToolEntry>> = tools.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut tools = tools.unwrap_or_default();
        tools.truncate(TOOLS_MAX);
        tools
    }

    /// Keeps the tools of a server; a reader sees the old list or the new one.
    pub fn write(&self, server: &ServerName, tools: &[ToolEntry]) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let file = self.file(server);
        let temporary = self.0.join(format!(".{server}.tmp"));
        fs::write(&temporary, serde_json::to_vec(tools).map_err(io::Error::other)?)?;
        fs::rename(temporary, file)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_no_memo() {
        let folder = tempfile::tempdir().expect("folder");
        let memo = Memo::new(&folder.path().join("mcp"));
        let name = ServerName::new("files").expect("name");
        assert!(memo.read(&name).is_empty());
        let tools = vec![ToolEntry {
            name: "read".to_owned(),
            description: "Reads.".to_owned(),
            input_schema: json!({"type": "object"}),
            read_only: true,
        }];
        memo.write(&name, &tools).expect("written");
        assert_eq!(memo.read(&name), tools);
        fs::write(folder.path().join("mcp/files.json"), "[{").expect("written");
        assert!(memo.read(&name).is_empty());
    }
}
