//! What doctor looks at in the home, and what it can mend there.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::daemon::config::{DaemonFile, Home};

/// Files of the state that only their owner may read, because they hold keys.
const PRIVATE: &[&str] = &["operator.key", "secret.key", "audit.key", "tls/operator.pem"];

/// How something is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum How {
    /// Only the owner may read it any more.
    MakePrivate,
    /// It goes.
    Remove,
}

/// Something that doctor can mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What is wrong, in one line.
    pub wrong: String,
    /// What is done about it, in one line.
    pub done: String,
    path: PathBuf,
    how: How,
}

impl Fix {
    /// Mends it.
    pub fn make(&self) -> io::Result<()> {
        match self.how {
            How::MakePrivate => fs::set_permissions(&self.path, fs::Permissions::from_mode(0o600)),
            How::Remove => fs::remove_file(&self.path),
        }
    }
}

/// Looks at the files of a home. Changes nothing.
pub fn look(home: &Home) -> Vec<Fix> {
    let mut fixes = Vec::new();
    for name in PRIVATE {
        let path = home.state_dir().join(name);
        let Ok(found) = fs::metadata(&path) else { continue };
        if found.permissions().mode() & 0o077 != 0 {
            let shown = path.display();
            fixes.push(Fix {
                wrong: format!("{shown} holds a key, and others may read it"),
                done: format!("chmod 600 {shown}; make the key anew if somebody may have read it"),
                path,
                how: How::MakePrivate,
            });
        }
    }
    if let Ok(Some(daemon)) = DaemonFile::read(home)
        && !daemon.is_alive()
    {
        let path = home.daemon_file();
        fixes.push(Fix {
            wrong: format!("{} names process {}, which has ended", path.display(), daemon.pid),
            done: format!("remove {}", path.display()),
            path,
            how: How::Remove,
        });
    }
    fixes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_shown_first_and_mended_when_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::under(folder.path());
        home.create_state().expect("made");
        assert_eq!(look(&home), []);
        let key = home.state_dir().join("secret.key");
        fs::write(&key, "x").expect("written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("opened to others");
        let fixes = look(&home);
        assert_eq!(fixes.len(), 1);
        let mode = || fs::metadata(&key).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(), 0o644, "looking changes nothing");
        fixes[0].make().expect("mended");
        assert_eq!((mode(), look(&home)), (0o600, vec![]));
    }
}
