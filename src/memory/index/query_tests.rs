//! What a library finds.

use proptest::prelude::*;

use super::*;
use crate::memory::embed::table::embed_quantised;
use crate::memory::index::graph::build::GraphPolicy;

fn library(texts: &[&str]) -> Library {
    let mut library = Library::default();
    for (place, text) in (0u32..).zip(texts) {
        library.add(place, &[text], None, embed_quantised(text).as_ref(), (None, None));
    }
    library
}

fn ask(library: &Library, text: &str, limit: usize) -> Vec<u32> {
    let vector = embed_quantised(text);
    let question = Question {
        text,
        wanted: &library.wanted(text, &Weights::default()),
        vector: vector.as_ref(),
        weights: Weights::default(),
    };
    let hits = library.query(&question, |_| true, |_| 1.0, limit, &mut Room::default());
    hits.iter().map(|hit| hit.place).collect()
}

#[test]
fn words_and_meaning_both_find() {
    let library = library(&[
        "The deploy key of the staging cluster is rotated every Monday.",
        "Two eggs, flour and a pinch of salt.",
        "My automobile needs new tires.",
    ]);
    assert_eq!(ask(&library, "when do we rotate the deploy key", 1), [0]);
    assert_eq!(ask(&library, "car wheels", 1), [2], "no word is shared");
    assert_eq!(ask(&library, "", 3), [] as [u32; 0]);
    assert_eq!(ask(&library, "deploy", 0), [] as [u32; 0]);
}

#[test]
fn many_equal_vectors_hide_nothing() {
    let mut texts = vec!["the same words again"; 1_000];
    texts.push("a lonely zebra");
    let library = library(&texts);
    assert_eq!(ask(&library, "zebra", 1), [1_000]);
    assert_eq!(
        ask(&library, "the same words again", 1_200).len(),
        1_000,
        "all but the one that fits least"
    );
}

#[test]
fn what_is_filtered_or_removed_is_never_found() {
    let mut library = library(&["red apple", "red pear", "red plum"]);
    library.remove(1);
    let vector = embed_quantised("red pear");
    let question = Question {
        text: "red pear",
        wanted: &library.wanted("red pear", &Weights::default()),
        vector: vector.as_ref(),
        weights: Weights::default(),
    };
    let hits = library.query(&question, |place| place != 0, |_| 1.0, 9, &mut Room::default());
    assert_eq!(hits.iter().map(|hit| hit.place).collect::<Vec<_>>(), [2]);
}

/// A conversation of two, long enough that their names are those of speakers.
fn conversation(told: &[&str]) -> Library {
    let chatter = [
        "Anna: That sounds lovely!",
        "Boris: Indeed, what a day.",
        "Anna: I know what you mean.",
        "Boris: Sleep well, see you.",
    ];
    let texts: Vec<&str> = told.iter().copied().chain((0..40).map(|at| chatter[at % 4])).collect();
    let mut library = Library::default();
    for (place, text) in (0u32..).zip(texts) {
        library.add(
            place,
            &[text],
            None,
            embed_quantised(text).as_ref(),
            (place.checked_sub(1), None),
        );
    }
    library
}

#[test]
fn an_answer_is_found_by_who_speaks_when_it_was_and_what_was_said_around_it() {
    let check = |told: &[&str], question: &str, expected: u32, among: usize| {
        let found = ask(&conversation(told), question, among);
        assert!(found.contains(&expected), "{question}: {found:?} of {told:?}");
    };
    let kettles = ["Anna: My kettle is red.", "Boris: My kettle is red."];
    check(&kettles, "What colour is Anna's kettle?", 0, 1);
    check(&kettles, "What colour is Boris' kettle?", 1, 1);
    let visits = [
        "Boris: Good for you!",
        "Anna: How nice.",
        "Anna: I went to Paris by train.",
        "Boris: So it is.",
        "Anna: How nice.",
        "Boris: So it is.",
        "Anna: I went to Paris in May.",
    ];
    check(&visits, "When did Anna go to Paris?", 6, 1);
    let asked = [
        "Boris: What did the shelter say about the limping terrier?",
        "Anna: Nobody wanted him.",
    ];
    check(&asked, "What did the shelter say about the terrier?", 1, 2);
}

#[test]
fn a_word_before_a_colon_is_no_speaker_and_still_counts() {
    let library = library(&["Deploy: the key is in the vault.", "Build: the key is on the wall."]);
    assert_eq!(ask(&library, "deploy key", 1), [0]);
    assert_eq!(ask(&library, "build key", 1), [1]);
}

#[test]
fn the_second_round_finds_what_the_best_hits_speak_of() {
    let mut texts = vec![
        "The outage was caused by the certificate of Zephyr.",
        "Zephyr is run by the team in Oslo.",
    ];
    let filler: Vec<String> = (0..400).map(|at| format!("note {at} on lunch and weather")).collect();
    texts.extend(filler.iter().map(String::as_str));
    let library = library(&texts);
    let found = ask(&library, "what caused the outage", 2);
    assert_eq!(found, [0, 1], "the second entry shares no word with the question");
}

#[test]
fn with_a_graph_the_answers_are_those_without_one() {
    let words = [
        "kettle", "vault", "deploy", "token", "rotate", "window", "garden", "bicycle", "soup", "engine", "river",
        "music", "doctor", "ticket", "winter", "cable", "mirror", "lemon", "harbour", "pencil",
    ];
    let text = |number: usize| {
        let word = |part: usize| words[(number / 20usize.pow(part as u32) + number * (part + 3)) % 20];
        format!("the {} {} and a {} near the {}", word(0), word(1), word(2), word(3))
    };
    let mut with = Library::default();
    for number in 0..600 {
        let text = text(number);
        with.add(
            number as u32,
            &[&text],
            None,
            embed_quantised(&text).as_ref(),
            (None, None),
        );
    }
    let queries: Vec<String> = (0..20)
        .map(|number| format!("where is the {}", text(number * 37 + 5)))
        .collect();
    let without: Vec<Vec<u32>> = queries.iter().map(|query| ask(&with, query, 10)).collect();
    let policy = GraphPolicy {
        from_places: 500,
        ..GraphPolicy::default()
    };
    let task = with.graph_task(&policy).expect("worth a graph");
    assert!(with.set_graph(task.build(&std::sync::atomic::AtomicBool::new(false)).expect("built")));
    let mut room = Room::default();
    let vector = embed_quantised("window");
    let question = Question {
        text: "window",
        wanted: &with.wanted("window", &Weights::default()),
        vector: vector.as_ref(),
        weights: Weights::default(),
    };
    with.query(&question, |_| true, |_| 1.0, 10, &mut room);
    assert!(room.gathered.places.len() < 500, "it looks at a part");
    assert!(
        room.take_recall().is_some_and(|recall| recall > 0.9),
        "the first is checked"
    );
    let rare = with.query(&question, |place| place % 100 == 7, |_| 1.0, 20, &mut room);
    assert_eq!(room.gathered.places.len(), 6, "a selective filter is scanned");
    assert!(
        rare.iter().all(|hit| hit.place % 100 == 7) && rare.len() > 3,
        "{rare:?}"
    );
    let mut same = 0;
    for (query, without) in queries.iter().zip(&without) {
        let found = ask(&with, query, 10);
        same += found.iter().filter(|place| without.contains(place)).count();
    }
    assert!(same >= 196, "98 of 100 at least: {same} of 200");
    assert!(with.set_vector(3, &embed_quantised("quite another").expect("a vector")));
    assert!(!with.has_graph(), "its edges were chosen for another row");
    let task = with.graph_task(&policy).expect("worth a graph");
    assert!(with.set_vector(4, &embed_quantised("other again").expect("a vector")));
    let late = task.build(&std::sync::atomic::AtomicBool::new(false)).expect("built");
    assert!(
        !with.set_graph(late),
        "a graph of rows that were replaced meanwhile is refused"
    );
}

proptest! {
    #[test]
    fn an_answer_is_the_same_each_time_and_an_unrelated_entry_takes_no_hit_away(
        texts in prop::collection::vec("(red|blue|green|apple|pear|kettle|vault)( (red|blue|apple|pear|key|door)){0,5}", 1..30),
        unrelated in prop::collection::vec("(zebra|giraffe|quokka)( (jumps|sleeps)){1,3}", 1..5),
        refused in any::<u32>(),
    ) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut library = library(&texts);
        let vector = embed_quantised("blue apple");
        let passes = |place: u32| refused >> (place % 32) & 1 == 0;
        let ask = |library: &Library, room: &mut Room| -> Vec<(u32, u32)> {
            let (text, weights) = ("blue apple", Weights::default());
            let wanted = &library.wanted(text, &weights);
            let question = Question { text, wanted, vector: vector.as_ref(), weights };
            let hits = library.query(&question, passes, |_| 1.0, 50, room);
            hits.iter().map(|hit| (hit.place, hit.score.to_bits())).collect()
        };
        let mut room = Room::default();
        let before = ask(&library, &mut room);
        prop_assert_eq!(&before, &ask(&library, &mut room), "with a used room");
        prop_assert_eq!(&before, &ask(&library, &mut Room::default()), "with a new one");
        prop_assert!(before.iter().all(|(place, _)| passes(*place)));
        let has_words = |place: &u32| texts[*place as usize].split(' ').any(|word| word == "blue" || word == "apple");
        for text in &unrelated {
            let place = library.lexical.places() as u32;
            library.add(place, &[text], None, embed_quantised(text).as_ref(), (None, None));
        }
        let after: Vec<u32> = ask(&library, &mut room).into_iter().map(|(place, _)| place).collect();
        for (place, _) in before.iter().filter(|(place, _)| has_words(place)) {
            prop_assert!(after.contains(place), "{place} of {texts:?} is lost: {after:?}");
        }
    }
}
