//! Durable puts of many at once.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench::glosses;
use bench::table::{Row, part};
use openclaw::domain::time::UtcMillis;
use openclaw::runtime::bus::Bus;
use openclaw::runtime::committer::Committer;
use openclaw::storage::batch::{Batch, Op};
use openclaw::storage::store::Store;

use super::entries::{Outcome, micros, wish};

/// Durable puts of 256 clients at once, and beside it bare commits of redb: as many bytes in as large groups, in one
/// table, by one thread that waits for nobody.
pub fn puts(glosses: &[String], rows: &mut Vec<Row>) -> Outcome<()> {
    const CLIENTS: usize = 256;
    const EACH: usize = 150;
    /// Rows of an entry and of its vector together, as this workload writes them.
    const ROW_BYTES: usize = 330;
    let folder = tempfile::tempdir()?;
    let store = Store::open(&folder.path().join("s.redb"), 64 << 20)?;
    let committer = Committer::start(store, Bus::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let texts: Vec<String> = glosses::texts(glosses, CLIENTS * EACH).collect();
    let times = Arc::new(Mutex::new(Vec::new()));
    let failed = Arc::new(AtomicBool::new(false));
    let clock = Instant::now();
    runtime.block_on(async {
        let mut clients = Vec::new();
        for texts in texts.chunks(EACH) {
            let (texts, committer) = (texts.to_vec(), committer.clone());
            let (times, failed) = (times.clone(), failed.clone());
            clients.push(tokio::spawn(async move {
                let mut own = Vec::with_capacity(EACH);
                for text in texts {
                    let began = Instant::now();
                    let new = wish(text, None).prepare(UtcMillis(1_800_000_000_000));
                    let put = committer.commit(Batch::ops(vec![Op::MemoryPut(Box::new(new))])).await;
                    if put.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    own.push(began.elapsed());
                }
                if let Ok(mut times) = times.lock() {
                    times.extend(own);
                }
            }));
        }
        for client in clients {
            client.await.ok();
        }
    });
    let took = clock.elapsed();
    if failed.load(Ordering::Relaxed) {
        return Err("a put failed".into());
    }
    let mut times = times.lock().map_err(|_| "a client panicked")?;
    let rate = times.len() as f64 / took.as_secs_f64();
    let (p50, p99) = (part(&mut times, 0.5), part(&mut times, 0.99));
    let commits = committer.figures().commits.load(Ordering::Relaxed).max(1) as usize;
    let group = (times.len() / commits).max(1);
    let (bare, mut bare_times) = bare_commits(folder.path(), times.len(), group, ROW_BYTES)?;
    let bare_p99 = part(&mut bare_times, 0.99);
    rows.push(
        Row::new(
            format!("durable puts, {CLIENTS} clients, {group} a commit"),
            format!(
                "{rate:.0}/s, ack p50 {:.1} ms, p99 {:.1} ms",
                micros(p50) / 1e3,
                micros(p99) / 1e3
            ),
        )
        .over(
            format!(
                "bare commits {bare:.0}/s, a commit p99 {:.1} ms",
                micros(bare_p99) / 1e3
            ),
            rate / bare,
        )
        .wanted("15,000/s, 20 ms", rate >= 15_000.0 && micros(p99) < 20_000.0),
    );
    Ok(())
}

/// Rows in a second, and the times of the commits.
fn bare_commits(folder: &Path, count: usize, group: usize, bytes: usize) -> Outcome<(f64, Vec<Duration>)> {
    const BARE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("bare");
    let database = redb::Database::builder()
        .set_cache_size(64 << 20)
        .create(folder.join("bare.redb"))?;
    let mut times = Vec::with_capacity(count / group + 1);
    let clock = Instant::now();
    for begin in (0..count).step_by(group) {
        let began = Instant::now();
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(BARE)?;
            for number in begin..(begin + group).min(count) {
                table.insert(number as u64, vec![number as u8; bytes].as_slice())?;
            }
        }
        transaction.commit()?;
        times.push(began.elapsed());
    }
    Ok((count as f64 / clock.elapsed().as_secs_f64(), times))
}
