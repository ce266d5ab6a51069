//! Faults on a seeded schedule against a real daemon under load, and a report of what they cost: runs lost, effects
//! doubled, availability of the gateway, times of recovery, memory. The faults are the programs of `ops/chaos/`.
//!
//! Usage: see `--help`. Ends with 0 when every invariant holds, with 1 when one does not.

#![expect(clippy::disallowed_methods, reason = "it measures, and waits for other processes")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::chaos::drill::{Drill, FAULTS, drill};

const HELP: &str = "\
Runs a seeded schedule of faults against a daemon of its own under load, and prints a report.

  --minutes N      how long faults happen (10)
  --seed N         replays the choices of an earlier schedule (random)
  --faults A,B     only these faults (all)
  --every MS       from the start of one fault to the start of the next, not before it has ended (5000)
  --open N         runs that are under way at once (20)
  --disk           the home gets a disk of its own, 512 MiB of memory, so that it can be filled; needs root
  --program PATH   the daemon's program (beside this one)
  --scripts DIR    the folder of the faults (ops/chaos)
  --report FILE    also writes the report there

Ends with 0 when nothing was lost or doubled, the tree has its shape and memory did not grow; with 1 otherwise.";

fn wanted() -> Result<Option<Drill>, Box<dyn Error>> {
    let mut drill = Drill {
        length: Duration::from_secs(600),
        seed: fastrand::u64(..),
        faults: FAULTS.iter().map(|fault| (*fault).to_owned()).collect(),
        every: Duration::from_secs(5),
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
            "--faults" => drill.faults = value()?.split(',').map(str::to_owned).collect(),
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
    let (text, is_good) = drill_and_tell(&drill)?;
    println!("{text}");
    if let Some(path) = report {
        std::fs::write(path, &text)?;
    }
    if !is_good {
        return Err("an invariant does not hold".into());
    }
    Ok(Some(drill))
}

fn drill_and_tell(wanted: &Drill) -> Result<(String, bool), Box<dyn Error>> {
    let report = drill(wanted)?;
    Ok((report.to_string(), report.findings.is_empty()))
}

fn main() -> ExitCode {
    // The provider is a process of its own, so that it can be stopped.
    if std::env::args().nth(1).as_deref() == Some("provider") {
        return match bench::chaos::provider::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(2)
            }
        };
    }
    match wanted() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
