//! Kills at seeded random moments: before a daemon is ready, between a commit and its answer, while effects happen.
//!
//! `OPENCLAW_KILLS` says how many (100 when not set), `OPENCLAW_KILL_SEED` replays the choices of an earlier storm;
//! the machine's own timing is not part of the seed.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use fastrand::Rng;
use openclaw::runtime::crash_point::CrashPoint;

use crate::process::block_on;
use crate::support::daemon::{Client, TestDaemon, TestHome};
use crate::support::wait::{until, until_async};

use super::ledger;
use super::observe::{Submitted, finish, runs, spooled};
use super::scenario::{Scenario, home};
use super::verdict::{figures, judge};

/// Kills when nobody says how many.
const KILLS_DEFAULT: usize = 100;
/// Runs that are open at once, so that each gets on in each life.
const OPEN_MAX: usize = 4;
/// Every life of this number waits until every open run has got further: a run that does not in five lives is
/// parked, and rightly so.
const MERCY_EACH: usize = 3;
/// After every life of this number nobody starts a daemon until all that it had started is gone.
const LEFT_EACH: usize = 10;
/// Longest wait for anything within one life.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// How one life ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// This long after the process was started, ready or not.
    Starting(Duration),
    /// At a commit, by itself.
    Commit(&'static str, u64),
    /// When the world has got this many lines further, and this much later.
    World(usize, Duration),
    /// When a run has got this many facts further, and this much later.
    Facts(usize, Duration),
    /// This long after a submission was sent.
    Submission(Duration),
}

impl Moment {
    fn random(random: &mut Rng) -> Self {
        let mut micros = |most| Duration::from_micros(random.u64(0..most));
        let (start, late, answer) = (micros(150_000), micros(15_000), micros(12_000));
        match random.u8(0..10) {
            0 => Self::Starting(start),
            1 | 2 => Self::Commit(CrashPoint::AFTER, random.u64(2..30)),
            3 | 4 => Self::Commit(CrashPoint::BEFORE, random.u64(2..30)),
            5 | 6 => Self::World(random.usize(1..6), late),
            7 | 8 => Self::Facts(random.usize(1..12), late),
            _ => Self::Submission(answer),
        }
    }

    /// One that lets the open runs get on first.
    fn merciful(random: &mut Rng) -> Self {
        let late = Duration::from_micros(random.u64(0..15_000));
        Self::World(random.usize(0..3), late)
    }
}

/// A submission and whether its client still waits for an answer.
struct Job {
    submitted: Submitted,
    key: String,
    gave_up: bool,
}

struct Storm {
    random: Rng,
    home: TestHome,
    jobs: Vec<Job>,
    recoveries: Vec<Duration>,
    replays: usize,
    spooled: BTreeSet<String>,
}

/// A line that is seen although the test passes.
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_the_moment_of_a_kill_every_accepted_run_ends_once_and_every_effect_keeps_its_promise() {
    let kills = number("OPENCLAW_KILLS").map_or(KILLS_DEFAULT, |kills| kills as usize);
    let seed = number("OPENCLAW_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    say(&format!("kill storm: OPENCLAW_KILL_SEED={seed} OPENCLAW_KILLS={kills}"));
    let mut storm = Storm {
        random: Rng::with_seed(seed),
        home: home(),
        jobs: Vec::new(),
        recoveries: Vec::new(),
        replays: 0,
        spooled: BTreeSet::new(),
    };
    storm.learns_the_tool();
    let began = Instant::now();
    for life in 0..kills {
        block_on(storm.live(life));
        storm.spooled.append(&mut spooled(&storm.home));
        if life % LEFT_EACH == LEFT_EACH - 1 {
            storm.leaves_nothing();
        }
    }
    let took = began.elapsed();
    let (home, replays, reports) = (&storm.home, storm.replays, storm.spooled);
    let submitted = storm.jobs.into_iter().map(|job| job.submitted).collect();
    let mut observed = block_on(async { finish(home, home.start(), submitted).await });
    observed.spooled = reports;
    let mut times = storm.recoveries;
    times.sort_unstable();
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .copied()
            .unwrap_or_default()
            .as_millis()
    };
    say(&format!(
        "kill storm: {kills} kills in {} s; {}; {replays} lost answers asked for again, {} reports found in the spool; ready after {} ms (p50), {} ms (p99)",
        took.as_secs(),
        figures(&observed),
        observed.spooled.len(),
        at(50),
        at(99),
    ));
    let findings = judge(&observed);
    assert!(
        findings.is_empty(),
        "OPENCLAW_KILL_SEED={seed}:\n{}",
        findings.join("\n")
    );
    let unknown = observed
        .runs
        .values()
        .flat_map(|(_, facts)| facts)
        .filter(|fact| fact.kind == "call.unknown");
    assert!(
        kills < KILLS_DEFAULT || (unknown.count() > 0 && observed.attempts.len() > observed.ledger.len()),
        "a storm that interrupts no call proves nothing"
    );
}

impl Storm {
    /// One quiet life in which the server tells its tool: from then on a plan can name it at once.
    fn learns_the_tool(&self) {
        let daemon = self.home.start();
        let client = daemon.client();
        block_on(until_async("the server's tool", LIFE_MAX, async || {
            let (_, skills) = client.get("/v1/skills").await.map_err(|error| error.to_string())?;
            let text = skills.to_string();
            text.contains("mcp.marks.act").then_some(()).ok_or(text)
        }));
        daemon.kill();
    }

    /// Waits until no process of a killed daemon is alive: neither programs and servers, which name the home, nor the
    /// launcher, shims and keepers, which run the daemon's own file.
    fn leaves_nothing(&self) {
        let home = self.home.path();
        let home = home.to_str().expect("text").as_bytes();
        let program = self.home.program();
        until("everything of a killed daemon to end", LIFE_MAX, || {
            let processes = std::fs::read_dir("/proc").expect("proc").flatten();
            let is_ours = |folder: &std::path::Path| {
                let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_default();
                let all = [read("environ"), read("cmdline")].concat();
                let runs_our_file = std::fs::read_link(folder.join("exe")).is_ok_and(|file| file == program);
                runs_our_file || all.windows(home.len()).any(|part| part == home)
            };
            let left = processes.map(|entry| entry.path()).filter(|folder| is_ours(folder));
            let left: Vec<_> = left.collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    }

    /// One life: start, submit, and die at a random moment.
    async fn live(&mut self, life: usize) {
        let mercy = life % MERCY_EACH == MERCY_EACH - 1;
        let moment = if mercy {
            Moment::merciful(&mut self.random)
        } else {
            Moment::random(&mut self.random)
        };
        // Drawn before anything depends on the machine's timing, so that a seed gives the same choices.
        let mut random = self.random.fork();
        let variables = match moment {
            Moment::Commit(name, number) => vec![(name, number.to_string())],
            _ => Vec::new(),
        };
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, number)| (*name, number.as_str()))
            .collect();
        let mut starting = self.home.spawn(&variables);
        if let Moment::Starting(after) = moment {
            tokio::time::sleep(after).await;
            return;
        }
        let Ok(mut daemon) = starting.wait_ready() else {
            // It came to its commit while it started.
            return;
        };
        self.recoveries.push(daemon.ready_after);
        let client = daemon.client();
        // An error says that the daemon has come to its commit.
        let lived = self.work(&client, &mut daemon, moment, mercy, &mut random).await;
        if lived.is_ok() {
            daemon.kill();
        } else {
            let ended = daemon.wait_end(LIFE_MAX);
            assert!(
                !ended.success(),
                "it was to be killed at {moment:?}, and ended: {ended}"
            );
        }
    }

    async fn work(
        &mut self,
        client: &Client,
        daemon: &mut TestDaemon,
        moment: Moment,
        mercy: bool,
        random: &mut Rng,
    ) -> Result<(), reqwest::Error> {
        let open = runs(client, Some("active")).await?;
        self.ask_again(client, random).await?;
        let room = OPEN_MAX.saturating_sub(open.len());
        let new = if open.is_empty() {
            random.usize(1..=2)
        } else {
            random.usize(0..=2)
        }
        .min(room);
        if let Moment::Submission(after) = moment {
            let body = self.new_job(random);
            let sent = self.submit(client, body);
            tokio::select! {
                result = sent => result?,
                () = tokio::time::sleep(after) => {}
            }
            return Ok(());
        }
        for _ in 0..new {
            let job = self.new_job(random);
            self.submit(client, job).await?;
        }
        if mercy {
            for (run, _) in &open {
                until_async("an open run to get further", LIFE_MAX, async || {
                    let timeline = client.get(&format!("/v1/runs/{run}/timeline")).await;
                    let (_, timeline) = timeline.expect("a daemon that is not killed answers");
                    let entries = timeline["entries"].as_array().expect("entries");
                    let kinds: Vec<&str> = entries
                        .iter()
                        .rev()
                        .filter_map(|entry| entry["kind"].as_str())
                        .collect();
                    let since = kinds.iter().take_while(|kind| **kind != "run.recovered");
                    let further = [
                        "call.finished",
                        "call.unknown",
                        "step.done",
                        "turn.finished",
                        "run.done",
                    ];
                    if since.clone().any(|kind| further.contains(kind)) {
                        return Ok(());
                    }
                    Err(format!("{run}: {kinds:?}\n{}", self.home.words()))
                })
                .await;
            }
        }
        match moment {
            Moment::World(lines, late) => {
                let folder = self.home.ledger_folder();
                let wanted = ledger::height(&folder) + lines;
                let height = || async { ledger::height(&folder) >= wanted };
                wait_unless_idle(client, daemon, height).await?;
                tokio::time::sleep(late).await;
            }
            Moment::Facts(more, late) => {
                if let Some((run, _)) = runs(client, Some("active")).await?.first() {
                    let (_, before) = client.get(&format!("/v1/runs/{run}/timeline")).await?;
                    let count = |body: &serde_json::Value| body["entries"].as_array().map_or(0, Vec::len);
                    let wanted = count(&before) + more;
                    let further = || async {
                        let now = client.get(&format!("/v1/runs/{run}/timeline")).await;
                        now.is_ok_and(|(_, now)| count(&now) >= wanted)
                    };
                    wait_unless_idle(client, daemon, further).await?;
                }
                tokio::time::sleep(late).await;
            }
            // A commit that does not come because nothing is left to do is a kill at rest.
            Moment::Commit(..) => wait_unless_idle(client, daemon, || async { false }).await?,
            Moment::Starting(_) | Moment::Submission(_) => {}
        }
        Ok(())
    }

    /// Clients whose answer was lost ask again under the same key, or give up.
    async fn ask_again(&mut self, client: &Client, random: &mut Rng) -> Result<(), reqwest::Error> {
        for job in 0..self.jobs.len() {
            if self.jobs[job].gave_up || !self.jobs[job].submitted.answers.is_empty() {
                continue;
            }
            if random.u8(0..4) == 0 {
                self.jobs[job].gave_up = true;
                continue;
            }
            self.replays += 1;
            self.submit(client, job).await?;
            if random.bool() {
                // And once more, as clients do that do not know what they have.
                self.submit(client, job).await?;
            }
        }
        Ok(())
    }

    fn new_job(&mut self, random: &mut Rng) -> usize {
        let tag = format!("job{}", self.jobs.len());
        self.jobs.push(Job {
            key: format!("key of {tag}"),
            submitted: Submitted {
                scenario: Scenario::random(tag, random),
                answers: Vec::new(),
            },
            gave_up: false,
        });
        self.jobs.len() - 1
    }

    async fn submit(&mut self, client: &Client, job: usize) -> Result<(), reqwest::Error> {
        let job = &mut self.jobs[job];
        let body = job.submitted.scenario.body(&self.home);
        let headers = [("idempotency-key", job.key.as_str())];
        let (code, answer) = client.post_with("/v1/runs", &body, &headers).await?;
        assert!(code == 202 || code == 200, "{code} {answer}");
        job.submitted
            .answers
            .push(answer["id"].as_str().expect("an id").to_owned());
        Ok(())
    }
}

/// Waits for something, or until the daemon has nothing to do; an error says that it is gone.
async fn wait_unless_idle<F: Future<Output = bool>>(
    client: &Client,
    daemon: &mut TestDaemon,
    mut come: impl FnMut() -> F,
) -> Result<(), reqwest::Error> {
    let mut open = BTreeSet::new();
    until_async("the moment of a kill", LIFE_MAX, async || {
        if come().await || daemon.ended().is_some() {
            return Ok(Ok(()));
        }
        match runs(client, Some("active")).await {
            Ok(active) if active.is_empty() => Ok(Ok(())),
            Ok(active) => {
                open = active.into_iter().collect();
                Err(format!("{open:?}"))
            }
            Err(error) => Ok(Err(error)),
        }
    })
    .await
}
