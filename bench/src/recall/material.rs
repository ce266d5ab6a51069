//! Long conversations of two with questions whose evidence is marked: hand-written scenes, put into sessions with
//! dates, between turns of chatter that use the same words.
//!
//! **Shape** of a file of scenes: `= name` begins a scene; `A text` and `B text` are its turns, where `@A` and `@B` stand
//! for the names of the two; `? kind text | evidence` is a question, its evidence the numbers of turns in the scene
//! (from 1), or `scene.number`. Those questions are in other words than the answers, but for the cousins', which are asked
//! as people ask who remember some of the words. The files of plain questions have such ones, one a line, `scene kind
//! text | evidence`. Kinds: `s` one fact, `m` several turns needed, `t` time, `o` open, `a` asked of the wrong person.

use std::collections::HashMap;

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// When the first session takes place: 2 March 2025, 18:00 UTC.
const BEGIN_MS: u64 = 1_740_938_400_000;

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One fact in one or two turns.
    Single,
    /// Several turns, often of several scenes.
    Multi,
    /// A time.
    Temporal,
    /// Something that follows from what was said.
    Open,
    /// Something that the other one said.
    Adversarial,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Single, Self::Multi, Self::Temporal, Self::Open, Self::Adversarial];

    /// The word for tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Multi => "multi",
            Self::Temporal => "time",
            Self::Open => "open",
            Self::Adversarial => "adverse",
        }
    }

    fn of(letter: &str) -> Self {
        match letter {
            "s" => Self::Single,
            "m" => Self::Multi,
            "t" => Self::Temporal,
            "o" => Self::Open,
            "a" => Self::Adversarial,
            other => panic!("there is no kind of question `{other}`"),
        }
    }
}

/// One turn.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Who speaks.
    pub speaker: String,
    /// What is said.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// One question.
#[derive(Debug, Clone)]
pub struct Question {
    /// What it asks for.
    pub kind: Kind,
    /// In words.
    pub text: String,
    /// The turns that hold the answer.
    pub evidence: Vec<usize>,
    /// Whether it was put in other words than the answer on purpose.
    pub reworded: bool,
    /// Which half it belongs to: its scene's number is even or odd.
    pub half: usize,
}

/// One conversation.
#[derive(Debug, Clone)]
pub struct Conversation {
    /// What it is called in tables.
    pub name: &'static str,
    /// All turns, in order.
    pub turns: Vec<Turn>,
    /// All questions.
    pub questions: Vec<Question>,
}

/// Two friends over a year and a half.
pub fn friends(seed: u64) -> Conversation {
    const NAMES: [(&str, &str); 3] = [("Hanna", "Viktor"), ("Melissa", "Jerome"), ("Tuan", "Beatriz")];
    let (a, b) = NAMES[seed as usize % NAMES.len()];
    let mut dice = Dice(seed);
    let parts = talked(scenes(include_str!("material/friends.txt")), &mut dice);
    assemble(
        "friends",
        parts,
        include_str!("material/friends-plain.txt"),
        a,
        b,
        &mut dice,
    )
}

/// Two cousins over a year and a half, with no small talk but their own: long turns about the same few things. No weight
/// was chosen on them.
pub fn cousins(seed: u64) -> Conversation {
    const NAMES: [(&str, &str); 3] = [("Nadia", "Owen"), ("Giulia", "Ferran"), ("Abeni", "Lukas")];
    let (a, b) = NAMES[seed as usize % NAMES.len()];
    let mut dice = Dice(seed);
    let sessions = scenes(include_str!("material/cousins.txt"));
    let plan = sessions.into_iter().map(|scene| Part {
        scene,
        begins: true,
        chatter: 0,
        plain: true,
    });
    assemble("cousins", plan.collect(), "", a, b, &mut dice)
}

/// The friends' scenes between the cousins' sessions, as if two people had lived both: three times as much to choose
/// from, with pets, families and jobs twice.
pub fn together(seed: u64) -> Conversation {
    const NAMES: [(&str, &str); 3] = [("Salma", "Pieter"), ("Ruth", "Anders"), ("Ines", "Kofi")];
    let (a, b) = NAMES[seed as usize % NAMES.len()];
    let mut dice = Dice(seed);
    let mut parts = talked(scenes(include_str!("material/friends.txt")), &mut dice);
    let sessions = scenes(include_str!("material/cousins.txt"));
    let step = parts.len() / sessions.len();
    for (number, scene) in sessions.into_iter().enumerate() {
        let mut at = number * (step + 1);
        while !parts.get(at).is_none_or(|part| part.begins) {
            at += 1;
        }
        let part = Part {
            scene,
            begins: true,
            chatter: 2,
            plain: true,
        };
        parts.insert(at, part);
    }
    assemble(
        "friends",
        parts,
        include_str!("material/friends-plain.txt"),
        a,
        b,
        &mut dice,
    )
}

/// An engineer and an agent over a year of work.
pub fn work(seed: u64) -> Conversation {
    const NAMES: [(&str, &str); 3] = [("Marit", "Atlas"), ("Devon", "Scout"), ("Ilse", "Coder")];
    let (a, b) = NAMES[seed as usize % NAMES.len()];
    let mut dice = Dice(seed);
    let parts = talked(scenes(include_str!("material/work.txt")), &mut dice);
    assemble("work", parts, include_str!("material/work-plain.txt"), a, b, &mut dice)
}

struct Scene {
    name: String,
    turns: Vec<(bool, String)>,
    questions: Vec<Asked>,
}

/// A question as it is written down; its evidence by scene and number.
struct Asked {
    kind: Kind,
    text: String,
    evidence: Vec<(String, usize)>,
}

impl Asked {
    fn read(own: &str, line: &str) -> Self {
        let (kind, rest) = line.split_once(' ').expect("a kind and a question");
        let (text, evidence) = rest.rsplit_once(" | ").expect("a question and its evidence");
        let evidence = evidence.split(' ').map(|place| match place.split_once('.') {
            Some((scene, number)) => (scene.to_owned(), number.parse().expect("a number")),
            None => (own.to_owned(), place.parse().expect("a number")),
        });
        Self {
            kind: Kind::of(kind),
            text: text.to_owned(),
            evidence: evidence.collect(),
        }
    }
}

fn scenes(text: &str) -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (mark, rest) = line.split_once(' ').expect("a mark and a text");
        if mark == "=" {
            scenes.push(Scene {
                name: rest.to_owned(),
                turns: Vec::new(),
                questions: Vec::new(),
            });
            continue;
        }
        let scene = scenes.last_mut().expect("a scene begins with its name");
        match mark {
            "A" | "B" => scene.turns.push((mark == "A", rest.to_owned())),
            "?" => {
                let question = Asked::read(&scene.name, rest);
                scene.questions.push(question);
            }
            other => panic!("there is no line that begins with `{other}`"),
        }
    }
    scenes
}

/// Small talk from templates.
struct Chatter {
    templates: Vec<&'static str>,
    lists: HashMap<&'static str, Vec<&'static str>>,
}

impl Chatter {
    fn new() -> Self {
        let mut chatter = Self {
            templates: Vec::new(),
            lists: HashMap::new(),
        };
        for line in include_str!("material/chatter.txt").lines() {
            if let Some(list) = line.strip_prefix(':') {
                let (name, words) = list.split_once('=').expect("a list has a name");
                chatter.lists.insert(name, words.split('|').collect());
            } else if !line.starts_with('#') {
                chatter.templates.push(line);
            }
        }
        chatter
    }

    fn turn(&self, world: &str, dice: &mut Dice, greeting: bool) -> String {
        let mut left = if greeting {
            self.templates[dice.below(2)]
        } else {
            self.templates[2 + dice.below(self.templates.len() - 2)]
        };
        let mut text = String::new();
        while let Some((before, rest)) = left.split_once('{') {
            let (name, after) = rest.split_once('}').expect("a closed brace");
            let own = format!("{name}.{world}");
            let list = self.lists.get(own.as_str()).or_else(|| self.lists.get(name));
            let list = list.expect("a known list");
            text.push_str(before);
            text.push_str(list[dice.below(list.len())]);
            left = after;
        }
        text.push_str(left);
        text
    }
}

/// Numbers that only the seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// A scene and what is around it.
struct Part {
    scene: Scene,
    /// Whether a new session begins with it.
    begins: bool,
    /// Turns of small talk behind it; with some, a session begins with greetings.
    chatter: usize,
    /// Whether its questions are in the words of the answers.
    plain: bool,
}

/// Scenes in sessions of two to four, with small talk behind each.
fn talked(scenes: Vec<Scene>, dice: &mut Dice) -> Vec<Part> {
    let mut left_in_session = 0;
    let part = |scene| {
        let begins = left_in_session == 0;
        if begins {
            left_in_session = 2 + dice.below(3);
        }
        left_in_session -= 1;
        Part {
            scene,
            begins,
            chatter: 4 + dice.below(5),
            plain: false,
        }
    };
    scenes.into_iter().map(part).collect()
}

fn assemble(world: &'static str, parts: Vec<Part>, plain: &str, a: &str, b: &str, dice: &mut Dice) -> Conversation {
    let chatter = Chatter::new();
    let mut turns: Vec<Turn> = Vec::new();
    let mut places: HashMap<(String, usize), usize> = HashMap::new();
    let mut at = BEGIN_MS;
    let mut by_a = true;
    let say = |turns: &mut Vec<Turn>, by_a: bool, text: &str, at: &mut u64| {
        let (speaker, other) = if by_a { (a, b) } else { (b, a) };
        let text = text.replace("@A", a).replace("@B", b).replace("@O", other);
        *at += 40_000;
        turns.push(Turn {
            speaker: speaker.to_owned(),
            text,
            at_ms: *at,
        });
    };
    for part in &parts {
        if part.begins {
            at += DAY_MS * (5 + dice.below(14) as u64) + 1_800_000 * dice.below(9) as u64;
            let greetings: &[bool] = if part.plain { &[] } else { &[true, true, false] };
            for greeting in greetings {
                say(&mut turns, by_a, &chatter.turn(world, dice, *greeting), &mut at);
                by_a = !by_a;
            }
        }
        for (number, (is_a, text)) in part.scene.turns.iter().enumerate() {
            say(&mut turns, *is_a, text, &mut at);
            places.insert((part.scene.name.clone(), number + 1), turns.len() - 1);
            by_a = !is_a;
        }
        for _ in 0..part.chatter {
            say(&mut turns, by_a, &chatter.turn(world, dice, false), &mut at);
            by_a = !by_a;
        }
    }
    let mut asked: Vec<(usize, bool, Asked)> = Vec::new();
    for line in plain.lines() {
        let (scene, question) = line.split_once(' ').expect("a scene and a question");
        let number = parts.iter().position(|part| part.scene.name == scene);
        let number = number.unwrap_or_else(|| panic!("there is no scene `{scene}`"));
        asked.push((number, false, Asked::read(scene, question)));
    }
    for (number, part) in parts.into_iter().enumerate() {
        let of_scene = part.scene.questions.into_iter();
        asked.extend(of_scene.map(|question| (number, !part.plain, question)));
    }
    let questions = asked.into_iter().map(|(number, reworded, question)| {
        let evidence = question.evidence.into_iter().map(|place| {
            let turn = places.get(&place);
            *turn.unwrap_or_else(|| panic!("there is no turn {place:?}"))
        });
        Question {
            kind: question.kind,
            text: question.text.replace("@A", a).replace("@B", b),
            evidence: evidence.collect(),
            reworded,
            half: number % 2,
        }
    });
    let mut questions: Vec<Question> = questions.collect();
    // Asked of the wrong person: what was said is the same, only not by the one who is named.
    let one_name = |question: &&Question| question.text.contains(a) != question.text.contains(b);
    let plain = questions.iter().filter(|question| !question.reworded).filter(one_name);
    let swapped = plain.filter(|question| matches!(question.kind, Kind::Single | Kind::Temporal));
    let swapped: Vec<Question> = swapped
        .step_by(3)
        .map(|question| Question {
            kind: Kind::Adversarial,
            text: question.text.replace(a, "@").replace(b, a).replace('@', b),
            ..question.clone()
        })
        .collect();
    questions.extend(swapped);
    Conversation {
        name: world,
        turns,
        questions,
    }
}
