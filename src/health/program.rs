//! A program of the operator's, for a check or an alert: started in a process group of its own, watched until it ends,
//! and ended with everything that it has started.
//!
//! Refuses to know what it is for. **Invariants**: nothing of its group outlives the wait for it, whether that ends or
//! is dropped; what it says takes a bounded amount of memory, however much that is; it has ended when its own process
//! has, whoever still holds its pipes open.

use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

use crate::domain::text::preview;

/// Bytes of what it says that are shown.
const SAID_BYTES_MAX: usize = 300;
/// Bytes of it that are kept: a few more than are shown, for blanks at its beginning.
const KEPT_BYTES_MAX: usize = 1024;
/// Bytes read at once.
const PIECE_BYTES: usize = 4096;
/// How long what it has said is waited for when it has ended: it is there already, but a process that has left the group
/// may hold the pipe open for ever.
const AFTER_END_MAX: Duration = Duration::from_millis(500);

/// Why a program has no end to tell of.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProgramError {
    /// There is nothing to start.
    #[error("the command is empty")]
    Empty,
    /// It cannot be started.
    #[error("it did not start")]
    Start(#[source] std::io::Error),
    /// It cannot be watched; it was ended.
    #[error("it cannot be watched")]
    Watch(#[source] std::io::Error),
}

/// How a program has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its status.
    pub(super) status: ExitStatus,
    /// The beginning of what it wrote to its error stream, in one line.
    pub(super) said: String,
}

/// Runs a program to its end: argv, what is added to its environment, and what it reads from its standard input. What
/// it writes to its standard output is thrown away.
///
/// **Cancel**: it is killed with everything that it has started.
pub(super) async fn run(
    argv: &[String],
    environment: &[(&str, &str)],
    input: Option<&str>,
) -> Result<Ended, ProgramError> {
    let (program, arguments) = argv.split_first().ok_or(ProgramError::Empty)?;
    let started = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut group = Group(started.map_err(ProgramError::Start)?);
    let (stdin, stderr) = (group.0.stdin.take(), group.0.stderr.take());
    let mut kept = Vec::new();
    {
        let mut talking = pin!(async {
            tokio::join!(feed(stdin, input), listen(stderr, &mut kept));
        });
        let leader = group.leader().expect("nobody reaps it before the wait below");
        let mut ending = pin!(ended(leader));
        let mut is_silent = false;
        loop {
            tokio::select! {
                ended = &mut ending => {
                    ended.map_err(ProgramError::Watch)?;
                    break;
                }
                () = &mut talking, if !is_silent => is_silent = true,
            }
        }
        group.kill();
        if !is_silent {
            tokio::time::timeout(AFTER_END_MAX, talking).await.ok();
        }
    }
    let status = group.0.wait().await.map_err(ProgramError::Watch)?;
    let said = String::from_utf8_lossy(&kept);
    Ok(Ended {
        status,
        said: preview(said.trim(), SAID_BYTES_MAX),
    })
}

/// Gives it its input, and then the end of it. One that does not want to read it may still do its part.
async fn feed(stdin: Option<ChildStdin>, input: Option<&str>) {
    if let (Some(mut stdin), Some(input)) = (stdin, input) {
        stdin.write_all(input.as_bytes()).await.ok();
    }
}

/// Reads to the end. The beginning is kept and the rest thrown away, so that whoever writes much neither waits nor fills
/// the memory.
async fn listen(stderr: Option<ChildStderr>, kept: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(read @ 1..) = stderr.read(&mut piece).await {
        let room = KEPT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
}

/// Waits until a child has ended, and leaves it unreaped: until it is reaped its number, which is that of its group too,
/// cannot be given to anybody else, and so the group can be killed by it. To wait for the child itself would reap it.
async fn ended(leader: Pid) -> std::io::Result<()> {
    let watched = pidfd_open(leader, PidfdFlags::empty())?;
    #[expect(
        deprecated,
        reason = "what is newer is unsafe code; it asks for a descriptor that stays its own, as an owned one does"
    )]
    let watched = AsyncFd::with_interest(watched, Interest::READABLE)?;
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        let mut ready = watched.readable().await?;
        // To be woken is no proof, and the group of one that works must not be killed.
        if waitid(WaitId::Pid(leader), look)?.is_some() {
            return Ok(());
        }
        ready.clear_ready();
    }
}

/// A program with everything that it starts and that stays in its process group; all of it goes with this.
struct Group(Child);

impl Group {
    /// Its number as long as the program is not reaped. After that a process of somebody else may have it.
    fn leader(&self) -> Option<Pid> {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        id.and_then(Pid::from_raw)
    }

    /// Kills what is there of the group; nobody when the program is reaped.
    fn kill(&self) {
        if let Some(leader) = self.leader() {
            // It fails when nobody is there any more.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Before the child itself is dropped: tokio reaps it from then on.
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Longest wait for what happens at once.
    const SOON: Duration = Duration::from_secs(20);

    fn script(text: &str) -> Vec<String> {
        ["sh", "-c", text].map(str::to_owned).to_vec()
    }

    /// Whether a process is there, and not as a corpse that nobody has buried.
    fn is_alive(pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Its name stands in brackets and may hold anything.
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| !state.starts_with(['Z', 'X']))
    }

    async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
        let looking = async {
            loop {
                if let Some(found) = look() {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(SOON, looking).await;
        found.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
    }

    fn pid_in(file: &Path) -> Option<u32> {
        fs::read_to_string(file).ok()?.strip_suffix('\n')?.parse().ok()
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_goes_with_it_and_holds_nobody_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let check = async |end: &str, wanted: i32| {
            let file = folder.path().join("pid");
            let argv = script(&format!("sleep 300 & echo $! > {}; {end}", file.display()));
            let ended = tokio::time::timeout(SOON, run(&argv, &[], None)).await;
            let ended = ended.expect("its end is told at once").expect("it ran");
            assert_eq!(ended.status.code(), Some(wanted), "{end}: {ended:?}");
            let left = pid_in(&file).expect("a number");
            until("the end of what it left", || (!is_alive(left)).then_some(())).await;
        };
        check("exit 0", 0).await;
        check("exit 3", 3).await;
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_ends_the_program_with_everything_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pid");
        let argv = script(&format!("sleep 300 & echo $! > {}; wait", file.display()));
        let started = tokio::select! {
            ended = run(&argv, &[], None) => panic!("it ended: {ended:?}"),
            started = until("the program to begin", || pid_in(&file)) => started,
        };
        until("the end of what it started", || (!is_alive(started)).then_some(())).await;
    }

    #[tokio::test]
    async fn what_has_left_the_group_holds_up_nobody_who_waits() {
        let argv = script("setsid sleep 30 & echo why >&2; exit 3");
        let ended = tokio::time::timeout(SOON, run(&argv, &[], Some("unread"))).await;
        let ended = ended.expect("its end is told").expect("it ran");
        assert_eq!((ended.status.code(), &*ended.said), (Some(3), "why"));
    }

    #[tokio::test]
    async fn what_is_said_without_end_is_read_and_its_beginning_kept() {
        let mut kept = Vec::new();
        let mut flood = Command::new("sh")
            .args(["-c", "yes no | head -c 20000000 >&2"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        listen(flood.stderr.take(), &mut kept).await;
        assert_eq!(kept.len(), KEPT_BYTES_MAX);
        assert!(flood.wait().await.expect("ended").success(), "nobody stopped it");

        let argv = script("yes no | head -c 20000000 >&2; exit 4");
        let ended = tokio::time::timeout(SOON, run(&argv, &[], None)).await;
        let ended = ended.expect("its end is told").expect("it ran");
        assert_eq!(ended.status.code(), Some(4));
        assert!(ended.said.starts_with("no no no"), "{}", ended.said);
        assert!(ended.said.len() < KEPT_BYTES_MAX, "{}", ended.said);
    }

    #[tokio::test]
    async fn a_program_reads_its_input_and_its_variables_and_one_that_is_not_there_is_named() {
        let argv = script("read line; echo \"$line of $OC_TEST\" >&2; exit 1");
        let ended = run(&argv, &[("OC_TEST", "a test")], Some("word\n"))
            .await
            .expect("it ran");
        assert_eq!(ended.said, "word of a test");
        let missing = run(&["/nowhere/at-all".to_owned()], &[], None).await;
        assert!(matches!(missing, Err(ProgramError::Start(_))), "{missing:?}");
        assert!(matches!(run(&[], &[], None).await, Err(ProgramError::Empty)));
    }
}
