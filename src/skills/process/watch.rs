//! In the shim: the one place where it waits, for everything that can happen to its program at once.
//!
//! One thread and one `poll`: a thread for each pipe costs more than most programs take. Refuses to know: what is done
//! about what happens. Invariants: memory does not grow with the output; nothing is waited for beyond the time given.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::bounds::Looks;
use super::capture::Capture;
use super::event::Event;
use super::wire::BoundsWire;

/// Bytes read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What the watch looks at besides the program itself.
pub(super) struct Watched<'a> {
    /// The connection to the daemon, on which nothing more comes but its end.
    pub(super) caller: &'a UnixStream,
    /// Both outputs of the program.
    pub(super) outputs: [PipeReader; 2],
    /// Where it reads from, and what it is given to read.
    pub(super) input: (PipeWriter, &'a [u8]),
    /// Bytes kept of each output.
    pub(super) output_bytes_max: usize,
    /// What it may have.
    pub(super) bounds: BoundsWire,
}

/// One program under watch.
pub(super) struct Watch<'a> {
    /// None once its end has been told.
    caller: Option<&'a UnixStream>,
    /// Can be read when the program has ended; none once that has been told.
    program: Option<OwnedFd>,
    outputs: [Output; 2],
    input: Option<(PipeWriter, &'a [u8])>,
    looks: Option<Looks>,
    piece: Vec<u8>,
}

struct Output {
    pipe: Option<PipeReader>,
    kept: Capture,
}

/// What one of the things that are waited for is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Caller,
    Program,
    Output(usize),
    Input,
}

impl<'a> Watch<'a> {
    /// Watches a program that is not reaped yet.
    pub(super) fn new(program: Pid, watched: Watched<'a>) -> io::Result<Self> {
        let (input, text) = watched.input;
        // A program that does not read must not stop whoever writes.
        fcntl_setfl(&input, OFlags::NONBLOCK)?;
        Ok(Self {
            caller: Some(watched.caller),
            program: Some(pidfd_open(program, PidfdFlags::empty())?),
            outputs: watched.outputs.map(|pipe| Output {
                pipe: Some(pipe),
                kept: Capture::new(watched.output_bytes_max),
            }),
            input: (!text.is_empty()).then_some((input, text)),
            looks: Looks::new(program, watched.bounds, now()),
            piece: vec![0; PIECE_BYTES],
        })
    }

    /// The next of what is told once: the caller's leave, the program's end, too much of something. None when the time
    /// comes first.
    pub(super) fn next(&mut self, until: Instant) -> Option<Event> {
        loop {
            if let Some(what) = self.looks.as_mut().and_then(|looks| looks.look_when_due(now())) {
                self.looks = None;
                return Some(Event::Overran(what));
            }
            let due = self.looks.as_ref().map_or(until, |looks| looks.due().min(until));
            let ready = self.wait(due);
            // The end last: what the program said before it is read first.
            for source in [Source::Input, Source::Output(0), Source::Output(1)] {
                if ready.contains(&source) {
                    self.carry(source);
                }
            }
            if ready.contains(&Source::Program) {
                self.program = None;
                return Some(Event::ProgramEnded);
            }
            if ready.contains(&Source::Caller) && self.caller.is_some_and(has_left) {
                self.caller = None;
                return Some(Event::CallerLeft);
            }
            if ready.is_empty() && now() >= until {
                return None;
            }
        }
    }

    /// Reads until both outputs are at their end, at most until then.
    pub(super) fn drain(&mut self, until: Instant) {
        (self.caller, self.program, self.input, self.looks) = (None, None, None, None);
        while self.outputs.iter().any(|output| output.pipe.is_some()) && now() < until {
            for source in self.wait(until) {
                self.carry(source);
            }
        }
    }

    /// What was kept of its standard output and its standard error.
    pub(super) fn outputs(&self) -> (&Capture, &Capture) {
        let [stdout, stderr] = &self.outputs;
        (&stdout.kept, &stderr.kept)
    }

    fn wait(&self, until: Instant) -> Vec<Source> {
        let caller = self
            .caller
            .map(|caller| (Source::Caller, poll_on(caller.as_fd(), PollFlags::RDHUP)));
        let program = self.program.as_ref();
        let program = program.map(|program| (Source::Program, poll_on(program.as_fd(), PollFlags::IN)));
        let outputs = self.outputs.iter().enumerate().filter_map(|(place, output)| {
            let pipe = output.pipe.as_ref()?;
            Some((Source::Output(place), poll_on(pipe.as_fd(), PollFlags::IN)))
        });
        let input = self.input.as_ref();
        let input = input.map(|(pipe, _)| (Source::Input, poll_on(pipe.as_fd(), PollFlags::OUT)));
        let all = caller.into_iter().chain(program).chain(outputs).chain(input);
        let (names, mut places): (Vec<Source>, Vec<PollFd<'_>>) = all.unzip();
        let left = until.saturating_duration_since(now());
        // Interrupted or refused: the caller looks at the clock and waits again.
        let _ = poll(&mut places, Some(&timespec(left)));
        let ready = names.into_iter().zip(&places);
        ready
            .filter(|(_, place)| !place.revents().is_empty())
            .map(|(source, _)| source)
            .collect()
    }

    fn carry(&mut self, source: Source) {
        match source {
            Source::Output(place) => {
                let output = &mut self.outputs[place];
                let Some(pipe) = &mut output.pipe else { return };
                match pipe.read(&mut self.piece) {
                    Ok(count) if count > 0 => output.kept.push(&self.piece[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    _ => output.pipe = None,
                }
            }
            Source::Input => {
                let Some((pipe, text)) = &mut self.input else { return };
                match pipe.write(text) {
                    Ok(count) if count < text.len() => *text = &text[count..],
                    Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                    // All of it is written, or nobody reads it, which is no fault.
                    _ => self.input = None,
                }
            }
            Source::Caller | Source::Program => {}
        }
    }
}

/// Whether the other end of the connection is closed, also before anybody has read that.
pub(super) fn has_left(caller: &UnixStream) -> bool {
    let mut watched = [poll_on(caller.as_fd(), PollFlags::RDHUP)];
    let gone = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
    poll(&mut watched, Some(&timespec(Duration::ZERO))).is_ok() && watched[0].revents().intersects(gone)
}

pub(super) fn poll_on(fd: BorrowedFd<'_>, flags: PollFlags) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, flags)
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the shim is a process of its own, without a clock handed in"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
