//! The floor under durable work: what the disk itself takes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Times of appending 4 KiB and making it durable.
pub fn appends(folder: &Path, count: usize) -> io::Result<Vec<Duration>> {
    let path = folder.join("append");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    fs::remove_file(path)?;
    Ok(times)
}

/// Times of replacing a file whole: write beside it, sync, rename, sync the folder.
pub fn replacements(folder: &Path, count: usize) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        let mut file = File::create(folder.join("new"))?;
        file.write_all(&[7; 200])?;
        file.sync_all()?;
        fs::rename(folder.join("new"), folder.join("old"))?;
        File::open(folder)?.sync_all()?;
        times.push(began.elapsed());
    }
    fs::remove_file(folder.join("old"))?;
    Ok(times)
}
