//! The floor under durable work: what the disk itself takes.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use openclaw::domain::memory::{IMPORTANCE_DEFAULT, MemoryScope, MemorySource, ShardName};
use openclaw::domain::time::UtcMillis;
use openclaw::memory::keep::Wish;
use openclaw::storage::batch::{Batch, Op};
use openclaw::storage::store::{CACHE_BYTES_DEFAULT, Store};
use openclaw::storage::writer::Writer;

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

/// Times of commits of the store that hold one small entry: the least that an intent costs which must be on disk
/// before its call starts.
pub fn commits(folder: &Path, count: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let path = folder.join("commits.redb");
    let mut writer = Writer::new(Store::open(&path, CACHE_BYTES_DEFAULT)?)?;
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let wish = Wish {
            shard: ShardName {
                scope: MemoryScope::Global,
                namespace: "".into(),
            },
            key: Some(format!("k{number}").into()),
            text: "x".repeat(200).into(),
            tags: Vec::new(),
            source: MemorySource {
                by: "person:bench".into(),
                run: None,
            },
            importance: IMPORTANCE_DEFAULT,
            expires_at: None,
        };
        let put = Op::MemoryPut(Box::new(wish.prepare(UtcMillis(1))));
        let began = Instant::now();
        for verdict in writer.commit(&[Batch::ops(vec![put])])? {
            verdict?;
        }
        times.push(began.elapsed());
    }
    drop(writer);
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
