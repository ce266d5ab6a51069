//! The signals of one query over the places that may be found, each brought to 0..1, and their weighted sum.
//!
//! Refuses to know: speakers, times, priors. Invariant: pure; a place that may not be found has the sum 0.

use crate::memory::ranking::span::Span;
use crate::memory::ranking::weights::Weights;

use super::gather::Gathered;
use super::lexical::Lexical;
use super::scores::Scores;

/// The parts of a score, each before its weight.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Parts {
    /// BM25 of the entry's own words, 0 to 1 over this query.
    pub words: f32,
    /// The same within what was said around it.
    pub words_around: f32,
    /// Cosine with the entry's text, 0 to 1 over this query.
    pub meaning: f32,
    /// The same with the entry before it.
    pub meaning_pair: f32,
    /// What the better neighbours added, after their weights.
    pub neighbour: f32,
    /// Speaker, time and form: what the sum was multiplied by.
    pub fit: f32,
    /// Words that the best hits share, 0 to 1 over this query.
    pub second: f32,
    /// How well the entry before it asks what is asked, 0 to 1, when somebody else said that.
    pub answers: f32,
    /// The prior, 0 to 1.
    pub prior: f32,
    /// Cosine with the question as it is: comparable between questions.
    pub cosine: f32,
    /// The part of the question's words that the entry has, by their rarity: comparable between questions.
    pub covered: f32,
}

/// The four signals of one query, brought to 0..1.
pub(super) struct Signals<'q> {
    pub(super) scores: &'q Scores,
    gathered: &'q Gathered,
    pairs: &'q [f32],
    open: &'q [bool],
    pub(super) words: Span,
    words_around: Span,
    meaning: Span,
    meaning_pair: Span,
}

impl<'q> Signals<'q> {
    pub(super) fn over(
        lexical: &Lexical,
        scores: &'q Scores,
        gathered: &'q Gathered,
        pairs: &'q mut Vec<f32>,
        open: &'q [bool],
    ) -> Self {
        let cosines = &gathered.cosines;
        pairs.clear();
        pairs.resize(cosines.len(), 0.0);
        let (mut meaning, mut meaning_pair) = (Span::empty(), Span::empty());
        for place in gathered.places.iter().chain(&gathered.sample) {
            let own = cosines[*place as usize];
            let pair = match lexical.neighbours(*place).0 {
                Some(before) => f32::midpoint(own, cosines[before as usize]),
                None => own,
            };
            pairs[*place as usize] = pair;
            meaning.take(own);
            meaning_pair.take(pair);
        }
        let (mut words, mut words_around) = (Span::from_zero(), Span::from_zero());
        for place in scores
            .touched()
            .iter()
            .map(|place| *place as usize)
            .filter(|place| open[*place])
        {
            words.take(scores.own[place]);
            words_around.take(scores.around[place]);
        }
        Self {
            scores,
            gathered,
            pairs,
            open,
            words,
            words_around,
            meaning,
            meaning_pair,
        }
    }

    pub(super) fn of(&self, place: u32) -> Parts {
        let at = place as usize;
        Parts {
            words: self.words.of(self.scores.own[at]),
            words_around: self.words_around.of(self.scores.around[at]),
            meaning: self.meaning.of(self.gathered.cosines[at]),
            meaning_pair: self.meaning_pair.of(self.pairs[at]),
            ..Parts::default()
        }
    }

    /// The weighted sums, 0 for a place that may not be found.
    pub(super) fn fuse(&self, weights: &Weights, fused: &mut Vec<f32>) {
        fused.clear();
        fused.resize(self.pairs.len(), 0.0);
        for place in &self.gathered.places {
            let at = *place as usize;
            fused[at] = weights.meaning * self.meaning.of(self.gathered.cosines[at])
                + weights.meaning_pair * self.meaning_pair.of(self.pairs[at]);
        }
        for place in self
            .scores
            .touched()
            .iter()
            .map(|place| *place as usize)
            .filter(|place| self.open[*place])
        {
            fused[place] += weights.words * self.words.of(self.scores.own[place])
                + weights.words_around * self.words_around.of(self.scores.around[place]);
        }
    }
}
