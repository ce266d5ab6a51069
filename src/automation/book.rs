//! The schedules that there are, and when each was last looked after.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::name::ScheduleName;
use crate::domain::schedule::definition::Schedule;

/// The schedules of one daemon. Cheap to clone; a lock is held for a look-up alone.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<Mutex<BTreeMap<ScheduleName, Entry>>>);

#[derive(Debug, Clone)]
struct Entry {
    schedule: Arc<Schedule>,
    looked_at: Instant,
}

impl Book {
    /// The book with these schedules.
    pub fn new(schedules: impl IntoIterator<Item = Schedule>) -> Self {
        let book = Self::default();
        for schedule in schedules {
            book.put(Arc::new(schedule));
        }
        book
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<ScheduleName, Entry>) -> T) -> T {
        // What a panic of another holder could leave is one whole assignment.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a schedule in.
    pub fn put(&self, schedule: Arc<Schedule>) {
        let entry = Entry {
            schedule: schedule.clone(),
            looked_at: Instant::now(),
        };
        self.with(|entries| entries.insert(schedule.name.clone(), entry));
    }

    /// Takes a schedule out.
    pub fn remove(&self, name: &ScheduleName) -> Option<Arc<Schedule>> {
        self.with(|entries| entries.remove(name)).map(|entry| entry.schedule)
    }

    /// One schedule.
    pub fn get(&self, name: &ScheduleName) -> Option<Arc<Schedule>> {
        self.with(|entries| entries.get(name).map(|entry| entry.schedule.clone()))
    }

    /// All schedules, by name.
    pub fn all(&self) -> Vec<Arc<Schedule>> {
        self.with(|entries| entries.values().map(|entry| entry.schedule.clone()).collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.with(|entries| entries.len())
    }

    /// A schedule's actor has looked at the clock.
    pub fn looked(&self, name: &ScheduleName) {
        self.with(|entries| {
            if let Some(entry) = entries.get_mut(name) {
                entry.looked_at = Instant::now();
            }
        });
    }

    /// The longest time for which a schedule has not been looked after, and which it is; none without schedules. Told
    /// by a clock that nobody can set.
    pub fn tick_age(&self) -> Option<(ScheduleName, Duration)> {
        self.with(|entries| {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.looked_at)?;
            Some((oldest.0.clone(), oldest.1.looked_at.elapsed()))
        })
    }
}
