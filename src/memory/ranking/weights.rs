//! What each signal counts.

/// The weights of one query. The defaults are round numbers between those that either half of the conversations in
/// `bench` (program `recall`) wanted for itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// BM25 of the entry's own words.
    pub words: f32,
    /// BM25 of the entry within what was said around it.
    pub words_around: f32,
    /// Cosine with the entry.
    pub meaning: f32,
    /// Cosine with the entry and the one before it.
    pub meaning_pair: f32,
    /// How much of the better neighbour's score is added.
    pub neighbour: f32,
    /// The same for the better one of those two away.
    pub neighbour_far: f32,
    /// What an entry gains, as a part of its score, when the one who speaks is the one who is asked about.
    pub speaker: f32,
    /// What a name counts among the words when it names a speaker: all entries of a speaker have it.
    pub name: f32,
    /// What an entry with a time gains, as a part of its score, when a time is asked for.
    pub time: f32,
    /// What an entry loses, as a part of its score, that only asks: answers are in what is said.
    pub asks: f32,
    /// The second round: words that the best hits have in common and the question has not.
    pub second: f32,
    /// What an entry gains that follows a question with the words that are asked for.
    pub answers: f32,
    /// What a word counts among the words that says how one asks rather than what about: `kind`, `many`, `think`.
    pub light: f32,
    /// How much a word's rarity decides its weight in the question's vector, 0 to 1.
    pub rarity: f32,
    /// How much of the score the prior can take away.
    pub prior: f32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            words: 0.2,
            words_around: 0.8,
            meaning: 0.4,
            meaning_pair: 0.4,
            neighbour: 0.3,
            neighbour_far: 0.2,
            speaker: 0.2,
            name: 0.0,
            time: 0.3,
            asks: 0.25,
            second: 0.2,
            answers: 0.3,
            light: 0.4,
            rarity: 0.7,
            prior: 0.15,
        }
    }
}

impl Weights {
    /// Nothing counts; the base for looking at one signal alone.
    pub const NONE: Self = Self {
        words: 0.0,
        words_around: 0.0,
        meaning: 0.0,
        meaning_pair: 0.0,
        neighbour: 0.0,
        neighbour_far: 0.0,
        speaker: 0.0,
        name: 1.0,
        time: 0.0,
        asks: 0.0,
        second: 0.0,
        answers: 0.0,
        light: 1.0,
        rarity: 0.0,
        prior: 0.0,
    };
}
