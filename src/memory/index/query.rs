//! From a question to ranked places.
//!
//! Refuses to know: stores, scopes, time. Invariants: pure; removed places and places that the filter refuses never
//! come back; equal scores are ordered by place, so a query has one answer.
//!
//! Scores are fused, not ranks: each signal is brought to 0..1 over the entries that may be found, then weighted
//! ([`Weights`]). The best of that are looked at more closely: what their neighbours score, who speaks, whether they
//! tell a time or only ask. The words that the best of those share lead a second round.

use std::collections::HashMap;

use crate::memory::embed::vector::Quantised;
use crate::memory::ranking::best::Best;
use crate::memory::ranking::speech::wants_time;
use crate::memory::ranking::weights::Weights;

use super::gather::Gathered;
use super::library::{Library, Wanted};
use super::scores::Scores;
use super::signals::{Parts, Signals};

/// Places that are looked at more closely, when fewer are asked for.
const CLOSER: usize = 256;
/// Hits whose words lead the second round.
const LEADING: usize = 5;
/// Words of the second round.
const LED_WORDS: usize = 10;

/// One place that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Where.
    pub place: u32,
    /// By which the hits are ordered; comparable within one query only.
    pub score: f32,
    /// What it is made of.
    pub parts: Parts,
}

/// Room for one query at a time, kept between queries.
#[derive(Debug, Default)]
pub struct Room {
    scores: Scores,
    second: Scores,
    gathered: Gathered,
    /// Cosines with the entry before taken in.
    pairs: Vec<f32>,
    /// Which places may be found.
    open: Vec<bool>,
    fused: Vec<f32>,
    sorted: Vec<f32>,
}

impl Room {
    /// How much of what the scan finds the graph found, when the last query was one of those that are checked.
    pub fn take_recall(&mut self) -> Option<f32> {
        self.gathered.recall.take()
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The words.
    pub text: &'q str,
    /// The same as the index knows them now.
    pub wanted: &'q Wanted,
    /// Their vector, when they have one.
    pub vector: Option<&'q Quantised>,
    /// What counts.
    pub weights: Weights,
}

impl Library {
    /// The best places for a question, best first, at most `limit`.
    pub fn query(
        &self,
        question: &Question<'_>,
        may_be_found: impl Fn(u32) -> bool,
        prior: impl Fn(u32) -> f32,
        limit: usize,
        room: &mut Room,
    ) -> Vec<Hit> {
        let places = self.lexical.places();
        let weights = &question.weights;
        let wanted = question.wanted;
        self.lexical.score(&wanted.terms, &mut room.scores);
        let is_open = |place: u32| self.lexical.is_live(place) && may_be_found(place);
        let Room {
            scores,
            second: led_scores,
            gathered,
            pairs,
            open,
            fused,
            sorted,
        } = room;
        gathered.gather(&self.source(), question.vector, scores, &is_open);
        let gathered = &*gathered;
        open.clear();
        open.resize(places, false);
        for place in &gathered.places {
            open[*place as usize] = true;
        }
        // With all of them gathered, what is not marked is not open.
        let is_open = |place: u32| open[place as usize] || (!gathered.is_all && is_open(place));
        let signals = Signals::over(&self.lexical, scores, gathered, pairs, open);
        signals.fuse(weights, fused);
        let mut close = self.closer(
            &gathered.places,
            fused,
            sorted,
            CLOSER.max(limit.saturating_mul(2)),
            open,
        );
        let wants_time = weights.time > 0.0 && wants_time(question.text);
        let fit = |place: u32| {
            let marks = self.marks[place as usize];
            let speaks = wanted.speaker.is_some_and(|speaker| speaker == marks.speaker);
            let gain = |is: bool, weight: f32| if is { 1.0 + weight } else { 1.0 };
            gain(speaks, weights.speaker)
                * gain(wants_time && marks.tells_time, weights.time)
                * (1.0 - weights.asks * marks.asks)
        };
        let first = |place: u32| (fused[place as usize] + self.neighbour(place, fused, weights)) * fit(place);
        let mut most_second = 0.0;
        if weights.second > 0.0 {
            let mut leading = Best::new(LEADING);
            for place in &close {
                leading.take(first(*place), *place, ());
            }
            let led = self.led(&leading.into_sorted(), wanted);
            self.lexical.score_around(&led, led_scores);
            for place in led_scores.touched() {
                let score = led_scores.around[*place as usize];
                // Whether it is open is asked only where it matters.
                if score > most_second && is_open(*place) {
                    most_second = score;
                }
            }
            // What only the second round finds, it has to find well.
            let well = |place: &&u32| led_scores.around[**place as usize] > most_second / 2.0 && is_open(**place);
            close.extend(led_scores.touched().iter().filter(well));
            close.sort_unstable();
            close.dedup();
        }
        let second = |place: u32| {
            if most_second > 0.0 {
                led_scores.around[place as usize] / most_second
            } else {
                0.0
            }
        };
        let answers = |place: u32| match self.lexical.neighbours(place).0 {
            Some(before) if self.marks[before as usize].speaker != self.marks[place as usize].speaker => {
                self.marks[before as usize].asks * signals.words.of(signals.scores.own[before as usize])
            }
            _ => 0.0,
        };
        let mut best = Best::new(limit);
        for place in close {
            let sum = first(place) + weights.second * second(place) + weights.answers * answers(place) * fit(place);
            // The prior is asked only where it can matter.
            if sum <= 0.0 || !best.may_take(sum) {
                continue;
            }
            let prior = prior(place).clamp(0.0, 1.0);
            best.take(sum * (1.0 - weights.prior + weights.prior * prior), place, prior);
        }
        let found = best.into_sorted().into_iter();
        found
            .map(|(score, place, prior)| Hit {
                place,
                score,
                parts: Parts {
                    neighbour: self.neighbour(place, fused, weights),
                    fit: fit(place),
                    second: second(place),
                    answers: answers(place),
                    prior,
                    cosine: gathered.cosines[place as usize],
                    covered: self.covered(place, wanted),
                    ..signals.of(place)
                },
            })
            .collect()
    }

    /// The part of the question's words, by their rarity, that a place has. Words that no entry has count as the rarest.
    fn covered(&self, place: u32, wanted: &Wanted) -> f32 {
        let terms_of = self.lexical.terms_of(place);
        let (mut has, mut all) = (0.0, wanted.unknown as f32 * self.lexical.worth(0));
        for (term, weight) in &wanted.terms {
            let worth = weight * self.lexical.worth(self.lexical.live_in(*term));
            all += worth;
            if terms_of.binary_search(term).is_ok() {
                has += worth;
            }
        }
        if all > 0.0 { has / all } else { 0.0 }
    }

    /// The places with the best fused scores, and the neighbours that these can lift; in order.
    fn closer(&self, gathered: &[u32], fused: &[f32], sorted: &mut Vec<f32>, count: usize, open: &[bool]) -> Vec<u32> {
        let mut least = 0.0;
        if gathered.len() > count {
            sorted.clear();
            sorted.extend(gathered.iter().map(|place| fused[*place as usize]));
            least = *sorted.select_nth_unstable_by(count, |a, b| b.total_cmp(a)).1;
        }
        let mut close = Vec::with_capacity(count * 2);
        for place in gathered {
            let score = fused[*place as usize];
            // All that are as good as the last one: which of equals are found must not depend on the order.
            if score > 0.0 && score >= least {
                close.push(*place);
            }
        }
        if least > 0.0 {
            let best = close.clone();
            for place in best {
                let (before, after) = self.lexical.neighbours(place);
                close.extend(before.into_iter().chain(after).filter(|other| open[*other as usize]));
            }
            close.sort_unstable();
            close.dedup();
        }
        close
    }

    /// What the better neighbour, and the better one of those beyond, add to a place.
    fn neighbour(&self, place: u32, fused: &[f32], weights: &Weights) -> f32 {
        let of = |other: Option<u32>| other.map_or(0.0, |other| fused[other as usize]);
        let (before, after) = self.lexical.neighbours(place);
        let far_before = before.and_then(|before| self.lexical.neighbours(before).0);
        let far_after = after.and_then(|after| self.lexical.neighbours(after).1);
        weights.neighbour * of(before).max(of(after)) + weights.neighbour_far * of(far_before).max(of(far_after))
    }

    /// The words that lead the second round: rare, shared by the best hits, and not asked for already.
    fn led(&self, leading: &[(f32, u32, ())], wanted: &Wanted) -> Vec<(u32, f32)> {
        let whole: f32 = leading.iter().map(|(score, ..)| score).sum();
        let name: &[u32] = wanted
            .speaker
            .map_or(&[], |speaker| &self.names[speaker as usize].terms);
        let mut shares: HashMap<u32, f32> = HashMap::new();
        for (score, place, ()) in leading {
            let share = score / whole.max(f32::EPSILON) / f32::from(self.lexical.length(*place).max(1)).sqrt();
            for term in self.lexical.terms_of(*place) {
                if !name.contains(term) && !wanted.terms.iter().any(|(known, _)| known == term) {
                    *shares.entry(*term).or_default() += share;
                }
            }
        }
        let weighed = |(term, share): (u32, f32)| (term, share * self.lexical.rarity(self.lexical.live_in(term)));
        let mut led: Vec<(u32, f32)> = shares.into_iter().map(weighed).collect();
        led.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        led.truncate(LED_WORDS);
        let most = led.first().map_or(1.0, |(_, weight)| *weight);
        for (_, weight) in &mut led {
            *weight /= most.max(f32::EPSILON);
        }
        led
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
