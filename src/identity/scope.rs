//! What a key may do, as words: `runs:read`, `runs:*`, `*`; what its runs may touch at most: `grant:exec:git`; and which
//! agent gets its requests that name none: `agent:coder`.

use crate::domain::capability::Capability;
use crate::domain::name::AgentName;

/// The scope that allows everything.
pub const SCOPE_ALL: &str = "*";
/// Scopes that begin so bound what the runs of a key may touch.
pub const GRANT_PREFIX: &str = "grant:";
/// A scope that begins so names the agent for requests that name none. It allows nothing.
pub const AGENT_PREFIX: &str = "agent:";
/// Bytes of one scope.
const SCOPE_BYTES_MAX: usize = 64;

/// Whether a text is a scope: `*`, or a group and a word, or a group and `*`; or a grant with its capability.
pub fn is_scope(text: &str) -> bool {
    if let Some(granted) = text.strip_prefix(GRANT_PREFIX) {
        return granted.parse::<Capability>().is_ok();
    }
    if let Some(agent) = text.strip_prefix(AGENT_PREFIX) {
        return AgentName::new(agent).is_ok();
    }
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    text == SCOPE_ALL
        || text.len() <= SCOPE_BYTES_MAX
            && text
                .split_once(':')
                .is_some_and(|(group, word)| is_word(group) && (word == "*" || is_word(word)))
}

/// Whether `own` allows all that `wanted` does; `wanted` may itself stand for many.
pub fn covers(own: &str, wanted: &str) -> bool {
    let group = wanted.split(':').next().unwrap_or(wanted);
    own == SCOPE_ALL || own == wanted || own.strip_suffix(":*").is_some_and(|own| own == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_what_it_says_and_never_more() {
        let check = |own: &str, wanted: &str, expected: bool| {
            assert_eq!(covers(own, wanted), expected, "{own} {wanted}");
        };
        check("*", "runs:write", true);
        check("*", "*", true);
        check("runs:*", "runs:write", true);
        check("runs:*", "runs:*", true);
        check("runs:read", "runs:write", false);
        // Many from one, and everything from many: what a minter must not get by asking.
        check("runs:read", "runs:*", false);
        check("runs:*", "*", false);
        check("run:*", "runs:read", false);
        let check = |text: &str, expected: bool| assert_eq!(is_scope(text), expected, "{text:?}");
        check("*", true);
        check("runs:read", true);
        check("log-level:write", true);
        check("grant:exec:git", true);
        check("grant:net:*.rs:443", true);
        check("agent:coder", true);
        check("agent:coder_2", true);
        check("agent:*", false);
        check("agent:", false);
        check("grant:root", false);
        check("grant:*", false);
        check("runs", false);
        check("runs:", false);
        check(":read", false);
        check("*:*", false);
        check("runs:read:x", false);
        check("Runs:read", false);
        check("runs:read ", false);
        check("", false);
    }
}
