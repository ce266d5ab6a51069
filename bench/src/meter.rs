//! What this thread and this process use.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time of this thread.
pub fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// What a work gives, and the processor time of this thread that it took.
pub fn cpu_of<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = cpu();
    let done = work();
    (done, cpu().saturating_sub(began))
}

/// Resident memory of this process in bytes; 0 when the kernel does not say.
pub fn resident_bytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0.0);
    pages * 4096.0
}
