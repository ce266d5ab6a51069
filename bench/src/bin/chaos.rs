//! Faults on a seeded schedule against a real daemon under load, and a report of what they cost: runs lost, effects
//! doubled, availability of the gateway, times of recovery, memory. The faults are the programs of `ops/chaos/`.
//!
//! Usage: see `--help`. Ends with 0 when every invariant holds, with 1 when one does not, with 2 when it cannot be tried.

#![expect(clippy::disallowed_methods, reason = "it measures, and waits for other processes")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::chaos::drill::{Drill, FAULTS, drill};

type Outcome<T> = Result<T, Box<dyn Error>>;

const HELP: &str = "\
Runs a seeded schedule of faults against a daemon of its own under load, and prints a report.

  --minutes N      how long faults happen (10)
  --seed N         replays the choices of an earlier schedule (random)
  --faults A,B     only these faults (all); `none` for none
  --every MS       from the start of one fault to the start of the next, not before it has ended (5000)
  --actors-every MS  also kills any one actor of the tree each so many ms (never)
  --open N         runs that are under way at once (20)
  --disk           the home gets a disk of its own, 512 MiB of memory, so that it can be filled; needs root
  --program PATH   the daemon's program (beside this one)
  --scripts DIR    the folder of the faults (ops/chaos)
  --report FILE    also writes the report there

Ends with 0 when nothing was lost or doubled, the tree has its shape and memory did not grow; with 1 when one of
these does not hold; with 2 when it could not be tried.";

/// What the arguments ask for, and where the report goes too; nothing when only help was wanted.
fn wanted() -> Outcome<Option<(Drill, Option<PathBuf>)>> {
    let mut drill = Drill {
        length: Duration::from_secs(600),
        seed: fastrand::u64(..),
        faults: FAULTS.iter().map(|fault| (*fault).to_owned()).collect(),
        every: Duration::from_secs(5),
        actors_every: None,
        open_max: 20,
        own_disk: false,
        program: std::env::current_exe()?.with_file_name("openclaw"),
        scripts: PathBuf::from("ops/chaos"),
    };
    let mut report = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--minutes" => drill.length = Duration::try_from_secs_f64(value()?.parse::<f64>()? * 60.0)?,
            "--seed" => drill.seed = value()?.parse()?,
            "--faults" => {
                let named = value()?;
                let named = named.split(',').filter(|fault| *fault != "none");
                drill.faults = named.map(str::to_owned).collect();
            }
            "--actors-every" => drill.actors_every = Some(Duration::from_millis(value()?.parse()?)),
            "--every" => drill.every = Duration::from_millis(value()?.parse()?),
            "--open" => drill.open_max = value()?.parse()?,
            "--disk" => drill.own_disk = true,
            "--program" => drill.program = value()?.into(),
            "--scripts" => drill.scripts = value()?.into(),
            "--report" => report = Some(PathBuf::from(value()?)),
            "--help" => {
                println!("{HELP}");
                return Ok(None);
            }
            _ => return Err(format!("unknown argument {argument}; --help shows them").into()),
        }
    }
    for fault in &drill.faults {
        if !drill.scripts.join(fault).is_file() {
            return Err(format!("no fault `{fault}` in {}", drill.scripts.display()).into());
        }
    }
    Ok(Some((drill, report)))
}

/// True when every invariant holds.
fn drill_and_tell(wanted: &Drill, path: Option<PathBuf>) -> Outcome<bool> {
    let report = drill(wanted)?;
    let text = report.to_string();
    println!("{text}");
    if let Some(path) = path {
        std::fs::write(path, text)?;
    }
    Ok(report.findings.is_empty())
}

fn work() -> Outcome<ExitCode> {
    // The provider is a process of its own, so that it can be stopped.
    if std::env::args().nth(1).as_deref() == Some("provider") {
        bench::chaos::provider::serve()?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some((wanted, path)) = wanted()? else {
        return Ok(ExitCode::SUCCESS);
    };
    if drill_and_tell(&wanted, path)? {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: an invariant does not hold");
    Ok(ExitCode::FAILURE)
}

fn main() -> ExitCode {
    work().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(2)
    })
}
