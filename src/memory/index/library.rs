//! Words and vectors together: what a shard keeps of its entries, and what it knows of the words of a question.
//!
//! Refuses to know: stores, scopes, time. Invariants: pure; a place is used once.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use crate::memory::embed::table;
use crate::memory::embed::vector::{DIMENSIONS, Quantised};
use crate::memory::ranking::speech::Speech;
use crate::memory::ranking::weights::Weights;

use super::codes::Codes;
use super::gather::Source;
use super::graph::build::{BuiltGraph, GraphPolicy, GraphTask};
use super::lexical::Lexical;
use super::terms::{is_light, terms};

/// A name begins at least so many entries, and one in [`SPEAKS_PART`], or it is no speaker's.
const SPEAKS_MIN: u32 = 8;
/// See [`SPEAKS_MIN`].
const SPEAKS_PART: usize = 20;
/// No speaker.
const NOBODY: u32 = u32::MAX;

/// What an entry's text shows of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub(super) speaker: u32,
    pub(super) asks: f32,
    pub(super) tells_time: bool,
}

/// A speaker's name.
#[derive(Debug)]
pub(super) struct Name {
    /// The numbers of its terms.
    pub(super) terms: Vec<u32>,
    /// Whether texts begin with it.
    in_text: bool,
}

/// The index of one shard.
#[derive(Debug, Default)]
pub struct Library {
    pub(super) lexical: Lexical,
    codes: Codes,
    /// Over the rows of `codes`; none where the scan is as fast, or until one is built.
    graph: Option<BuiltGraph>,
    pub(super) marks: Vec<Marks>,
    speakers: HashMap<Box<str>, u32>,
    pub(super) names: Vec<Name>,
    /// Live entries of each speaker.
    spoken: Vec<u32>,
}

/// A question's words as one state of the index knows them; taken once for its vector and its query.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Terms with their weights.
    pub(super) terms: Vec<(u32, f32)>,
    /// How many more there are that no entry has.
    pub(super) unknown: usize,
    /// The one speaker who is named.
    pub(super) speaker: Option<u32>,
}

impl Library {
    /// Makes room for so many entries.
    pub fn reserve(&mut self, entries: usize) {
        self.lexical.reserve(entries);
        self.marks.reserve(entries);
    }

    /// Adds an entry at a new place: what its words are beside the text (a key, the day it was put), and last its text,
    /// which may begin with a date and a speaker. Where it names no speaker, `by` is who says it. `between` are the places
    /// that are said before and after it.
    pub fn add(
        &mut self,
        place: u32,
        texts: &[&str],
        by: Option<&str>,
        vector: Option<&Quantised>,
        between: (Option<u32>, Option<u32>),
    ) {
        let text = texts.last().copied().unwrap_or_default();
        self.lexical.add(place, texts, between);
        if let Some(vector) = vector {
            self.set_vector(place, vector);
        }
        let speech = Speech::of(text);
        let speaker = match (speech.speaker, by) {
            (Some(name), _) => self.speaker(name, true),
            (None, Some(name)) => self.speaker(name, false),
            (None, None) => NOBODY,
        };
        if let Some(spoken) = self.spoken.get_mut(speaker as usize) {
            *spoken += 1;
        }
        let at = place as usize;
        let marks = Marks {
            speaker,
            asks: speech.asks(),
            tells_time: speech.tells_time(),
        };
        if self.marks.len() <= at {
            let nothing = Marks {
                speaker: NOBODY,
                asks: 0.0,
                tells_time: false,
            };
            self.marks.resize(at + 1, nothing);
        }
        self.marks[at] = marks;
    }

    fn speaker(&mut self, name: &str, in_text: bool) -> u32 {
        let speaker = if let Some(speaker) = self.speakers.get(name) {
            *speaker
        } else {
            let speaker = self.names.len() as u32;
            let mut terms_of = Vec::new();
            terms(name, |term| terms_of.push(self.lexical.numbered(term)));
            self.speakers.insert(name.into(), speaker);
            self.names.push(Name {
                terms: terms_of,
                in_text: false,
            });
            self.spoken.push(0);
            speaker
        };
        self.names[speaker as usize].in_text |= in_text;
        speaker
    }

    /// Removes a place.
    pub fn remove(&mut self, place: u32) {
        if !self.lexical.is_live(place) {
            return;
        }
        self.lexical.remove(place);
        self.codes.remove(place);
        let speaker = self.marks[place as usize].speaker;
        if let Some(spoken) = self.spoken.get_mut(speaker as usize) {
            *spoken -= 1;
        }
    }

    /// The entry before and the entry after a place in its source.
    pub fn neighbours(&self, place: u32) -> (Option<u32>, Option<u32>) {
        self.lexical.neighbours(place)
    }

    /// Live entries.
    pub fn len(&self) -> usize {
        self.lexical.len()
    }

    /// Whether nothing is live.
    pub fn is_empty(&self) -> bool {
        self.lexical.is_empty()
    }

    /// The cosine of two places; 0 when one has no vector.
    pub fn between(&self, a: u32, b: u32) -> f32 {
        self.codes.between(a, b)
    }

    /// Whether a place has a vector.
    pub fn has_vector(&self, place: u32) -> bool {
        self.codes.has(place)
    }

    /// Gives a place its vector, or another one. Returns whether it was taken.
    pub fn set_vector(&mut self, place: u32, vector: &Quantised) -> bool {
        let leads_there = |graph: &BuiltGraph| place < graph.nearest().covered();
        if self.graph.as_ref().is_some_and(leads_there) {
            // Its edges were chosen for another row.
            self.graph = None;
        }
        self.codes.put(place, vector)
    }

    /// Gives a new place its vector as the store has it: signed codes as bytes. Returns whether it was taken.
    pub fn set_row(&mut self, place: u32, scale: f32, codes: &[u8]) -> bool {
        self.codes.put_bytes(place, scale, codes)
    }

    /// The graph that is to be built now, if any.
    pub fn graph_task(&self, policy: &GraphPolicy) -> Option<GraphTask> {
        policy.task(&self.codes, self.graph.as_ref())
    }

    /// Searches with this graph from now on, if it is of the rows as they are.
    pub fn set_graph(&mut self, graph: BuiltGraph) -> bool {
        let fits = graph.is_of(&self.codes);
        if fits {
            self.graph = Some(graph);
        }
        fits
    }

    /// Whether questions are answered with a graph.
    pub fn has_graph(&self) -> bool {
        self.graph.is_some()
    }

    /// Bytes of the rows, and of the graph over them.
    pub fn bytes(&self) -> (usize, usize) {
        let graph = self.graph.as_ref().map_or(0, |graph| graph.nearest().bytes());
        (self.codes.bytes(), graph)
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            lexical: &self.lexical,
            codes: &self.codes,
            graph: self.graph.as_ref().map(BuiltGraph::nearest),
        }
    }

    /// The words of a question. They hold until the index changes.
    pub fn wanted(&self, text: &str, weights: &Weights) -> Wanted {
        let mut wanted = Wanted::default();
        terms(text, |term| {
            if let Some(number) = self.lexical.number(term) {
                let worth = if is_light(term) { weights.light } else { 1.0 };
                match wanted.terms.iter_mut().find(|(known, _)| *known == number) {
                    // A word that is asked for twice counts a little more, not twice.
                    Some((_, weight)) => *weight += 0.3 * worth,
                    None => wanted.terms.push((number, worth)),
                }
            } else {
                wanted.unknown += 1;
            }
        });
        let least = SPEAKS_MIN.max((self.lexical.len() / SPEAKS_PART) as u32);
        let is_named = |speaker: &usize| {
            let name = &self.names[*speaker].terms;
            self.spoken[*speaker] >= least
                && !name.is_empty()
                && name
                    .iter()
                    .all(|term| wanted.terms.iter().any(|(known, _)| known == term))
        };
        // Few can have a twentieth of all entries, so few are looked at closely.
        let named: Vec<usize> = (0..self.names.len()).filter(is_named).collect();
        let speak = || self.spoken.iter().filter(|spoken| **spoken >= least).count();
        // Where a source alone says who speaks, and all is from that one, the name is a word like others.
        if let [speaker] = named[..]
            && (self.names[speaker].in_text || speak() > 1)
        {
            let name = &self.names[speaker].terms;
            if wanted.terms.iter().any(|(term, _)| !name.contains(term)) {
                for (term, weight) in &mut wanted.terms {
                    if name.contains(term) {
                        *weight *= weights.name;
                    }
                }
                wanted.terms.retain(|(_, weight)| *weight > 0.0);
            }
            wanted.speaker = Some(speaker as u32);
        }
        wanted
    }

    /// The vector of a question by the built-in table: rare words count more than frequent ones, and the name of the one
    /// speaker who is named counts as little as among the words.
    pub fn question_vector(&self, text: &str, wanted: &Wanted, weights: &Weights) -> Option<Quantised> {
        let name: &[u32] = wanted
            .speaker
            .map_or(&[], |speaker| &self.names[speaker as usize].terms);
        let most = (self.lexical.len() as f32 + 1.0).ln().max(1.0);
        let mut sum = [0.0f32; DIMENSIONS];
        for word in text.unicode_words() {
            let word = word.split(['\'', '\u{2019}']).next().unwrap_or(word);
            let (mut rarity, mut is_name) = (0.0f32, false);
            terms(word, |term| {
                let number = self.lexical.number(term);
                let found = number.map_or(0, |number| self.lexical.live_in(number));
                rarity = rarity.max(self.lexical.rarity(found) / most);
                is_name |= number.is_some_and(|number| name.contains(&number));
            });
            let weight = 1.0 - weights.rarity + weights.rarity * rarity.min(1.2);
            let weight = if is_name { weight * weights.name } else { weight };
            if weight > 0.0 {
                table::add(word, weight, &mut sum);
            }
        }
        match table::unit(sum) {
            Some(vector) => Quantised::of(&vector),
            None => table::embed_quantised(text),
        }
    }
}
