//! BM25's parts, and the scores of one query.
//!
//! Refuses to know: terms, entries. Invariant: pure.

/// Saturation of a term's count. **Source**: the usual value for short texts.
pub(super) const K1: f32 = 1.2;
/// Weight of a text's length.
pub(super) const B: f32 = 0.75;
/// When more than one in so many places has a score, all are cleared: that is faster than one by one.
const CLEAR_PART: usize = 16;
/// No place.
const NONE: u32 = u32::MAX;

/// Scores of one query, one a place; kept by the caller so that a query allocates nothing.
#[derive(Debug, Default)]
pub struct Scores {
    /// BM25 of the entry's own text.
    pub own: Vec<f32>,
    /// BM25 of the entry within what was said around it.
    pub around: Vec<f32>,
    pub(super) touched: Places,
    pub(super) counts: Vec<f32>,
    pub(super) of_term: Places,
    /// The best places by rare words, when there are more words than are counted everywhere.
    pub(super) chosen: Vec<u32>,
    /// By place, whether its words count for one of those.
    pub(super) reaches: Vec<bool>,
}

/// Different places, as many as there are at most. One is put without a jump that depends on whether it is new: that is
/// what a processor guesses wrong most often here.
#[derive(Debug, Default)]
pub(super) struct Places {
    room: Vec<u32>,
    pub(super) count: usize,
}

impl Places {
    pub(super) fn clear(&mut self, places: usize) {
        self.count = 0;
        self.room.resize(places + 1, NONE);
    }

    pub(super) fn put(&mut self, place: u32, is_new: bool) {
        if let Some(slot) = self.room.get_mut(self.count) {
            *slot = place;
            self.count += usize::from(is_new);
        }
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.room[..self.count]
    }
}

/// BM25's saturation for one mean length, with what does not change from entry to entry reckoned once.
#[derive(Clone, Copy)]
pub(super) struct Saturation {
    least: f32,
    of_length: f32,
}

impl Saturation {
    pub(super) fn of(mean: f32) -> Self {
        Self {
            least: K1 * (1.0 - B),
            of_length: K1 * B / mean.max(1.0),
        }
    }

    pub(super) fn saturated(self, count: f32, length: f32) -> f32 {
        count * (K1 + 1.0) / (count + self.least + self.of_length * length)
    }
}

impl Scores {
    /// The places with a score in either field.
    pub fn touched(&self) -> &[u32] {
        self.touched.as_slice()
    }

    pub(super) fn clear(&mut self, places: usize) {
        if self.touched.count > self.own.len() / CLEAR_PART {
            self.own.fill(0.0);
            self.around.fill(0.0);
        } else {
            for place in self.touched.as_slice() {
                self.own[*place as usize] = 0.0;
                self.around[*place as usize] = 0.0;
            }
        }
        self.touched.clear(places);
        self.of_term.clear(places);
        self.own.resize(places, 0.0);
        self.around.resize(places, 0.0);
        self.counts.resize(places, 0.0);
        self.reaches.resize(places, false);
        self.chosen.clear();
    }

    /// Chooses so many of the places that have the best scores by now; equal ones by place.
    pub(super) fn choose(&mut self, count: usize) {
        let Self {
            own,
            around,
            touched,
            chosen,
            ..
        } = self;
        let score = |place: u32| own[place as usize] + around[place as usize];
        chosen.extend_from_slice(touched.as_slice());
        if chosen.len() > count {
            chosen.select_nth_unstable_by(count, |a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
            chosen.truncate(count);
        }
    }

    pub(super) fn count(&mut self, place: u32, count: f32) {
        let counted = &mut self.counts[place as usize];
        self.of_term.put(place, *counted == 0.0);
        *counted += count;
    }
}

pub(super) fn rarity(live: f32, found: f32) -> f32 {
    (1.0 + (live - found + 0.5) / (found + 0.5)).ln()
}
