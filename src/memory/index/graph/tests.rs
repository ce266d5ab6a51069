//! Both graphs against the exact scan.

use std::sync::atomic::AtomicBool;

use crate::memory::embed::vector::Quantised;
use crate::memory::index::codes::Codes;
use crate::memory::index::nearest::{Near, Nearest, Scan, SearchRoom, Wanted, recall};

use super::build::{BuiltGraph, GraphKind, GraphPolicy};

const DIMENSIONS: usize = 24;
static GO_ON: AtomicBool = AtomicBool::new(false);

/// A vector near one of twenty directions, the same for the same number.
fn vector(number: u32) -> Quantised {
    let mut random = fastrand::Rng::with_seed(u64::from(number));
    let mut direction = fastrand::Rng::with_seed(u64::from(number % 20) + 1_000_000);
    let values: Vec<f32> = (0..DIMENSIONS)
        .map(|_| direction.f32() - 0.5 + (random.f32() - 0.5) * 0.8)
        .collect();
    Quantised::of(&values).expect("a direction")
}

fn codes(count: u32) -> Codes {
    let mut codes = Codes::default();
    for place in 0..count {
        assert!(codes.put(place, &vector(place)));
    }
    codes
}

fn build(kind: GraphKind, codes: &Codes, current: Option<&BuiltGraph>) -> BuiltGraph {
    let policy = GraphPolicy { kind, from_places: 1 };
    let task = policy.task(codes, current).expect("worth a graph");
    task.build(&GO_ON).expect("nobody stops it")
}

fn ask(by: &dyn Nearest, codes: &Codes, query: &Quantised, count: usize, accept: &dyn Fn(u32) -> bool) -> Vec<Near> {
    let mut found = Vec::new();
    let wanted = Wanted { query, count, accept };
    by.nearest(codes, &wanted, &mut SearchRoom::default(), &mut found);
    found
}

/// Mean recall of ten over twenty queries that are no rows; every answer is held to what all answers promise.
fn mean_recall(graph: &BuiltGraph, codes: &Codes, accept: &dyn Fn(u32) -> bool) -> f32 {
    let recalls = (0..20).map(|number| {
        let query = vector(1_000_000 + number);
        let truth = ask(&Scan { from: 0 }, codes, &query, 10, accept);
        let found = ask(graph.nearest(), codes, &query, 10, accept);
        assert!(found.is_sorted_by(|a, b| a.order(b).is_lt()), "{found:?}");
        for near in &found {
            assert!(accept(near.place) && codes.has(near.place), "{near:?}");
            assert!(
                (near.cosine - codes.cosine(&query, near.place)).abs() < 1e-6,
                "{near:?}"
            );
        }
        recall(&truth, &found)
    });
    recalls.sum::<f32>() / 20.0
}

#[test]
fn a_graph_finds_what_the_scan_finds_and_never_what_is_removed_or_refused() {
    for kind in GraphKind::ALL {
        let mut codes = codes(600);
        let graph = build(kind, &codes, None);
        let all = mean_recall(&graph, &codes, &|_| true);
        assert!(all > 0.98, "{kind:?}: {all}");
        for place in (0..600).filter(|place| place % 5 == 0) {
            codes.remove(place);
        }
        assert!(graph.is_of(&codes), "a removed row changes no other");
        let left = mean_recall(&graph, &codes, &|_| true);
        assert!(left > 0.98, "{kind:?} after removals: {left}");
        let half = mean_recall(&graph, &codes, &|place| place % 2 == 1);
        assert!(half > 0.95, "{kind:?} through a filter: {half}");
        assert_eq!(ask(graph.nearest(), &codes, &vector(3), 10, &|_| false), []);
    }
}

#[test]
fn a_thousand_identical_vectors_hide_nothing() {
    for kind in GraphKind::ALL {
        let mut codes = Codes::default();
        for place in 0..1_100 {
            assert!(codes.put(place, &vector(if place < 1_000 { 7 } else { place })));
        }
        let graph = build(kind, &codes, None);
        for place in 1_000..1_100 {
            let found = ask(graph.nearest(), &codes, &vector(place), 3, &|_| true);
            assert!(
                found.iter().any(|near| near.place == place),
                "{kind:?}: {place} in {found:?}"
            );
        }
        let same = ask(graph.nearest(), &codes, &vector(7), 1_000, &|_| true);
        assert!(same.iter().map(|near| near.place).eq(0..1_000), "{kind:?}: all of them");
        // The one that stands for them goes; its twins stay.
        codes.remove(0);
        let found = ask(graph.nearest(), &codes, &vector(7), 2, &|_| true);
        assert_eq!(
            found.iter().map(|near| near.place).collect::<Vec<_>>(),
            [1, 2],
            "{kind:?}"
        );
    }
}

#[test]
fn a_graph_grows_by_what_it_lacks_and_another_row_in_its_place_makes_it_void() {
    for kind in GraphKind::ALL {
        let mut codes = codes(300);
        codes.remove(9);
        let first = build(kind, &codes, None);
        let policy = GraphPolicy { kind, from_places: 301 };
        assert!(policy.task(&codes, None).is_none(), "too few are not worth it");
        // Twins of one that has a node, of one that was removed before the graph was made, and of each other.
        for (place, number) in (300..).zip([5, 9, 9, 301, 301]) {
            assert!(codes.put(place, &vector(number)));
        }
        for place in 305..400 {
            assert!(codes.put(place, &vector(place)));
        }
        let grown = build(kind, &codes, Some(&first));
        assert_eq!((first.nearest().covered(), grown.nearest().covered()), (300, 400));
        let recall = mean_recall(&grown, &codes, &|_| true);
        assert!(recall > 0.98, "{kind:?}: {recall}");
        for (number, places) in [(5, vec![5, 300]), (9, vec![301, 302]), (301, vec![303, 304])] {
            let found = ask(grown.nearest(), &codes, &vector(number), 2, &|_| true);
            let found: Vec<u32> = found.iter().map(|near| near.place).collect();
            assert_eq!(found, places, "{kind:?}: rows like {number}");
        }
        assert!(codes.put(17, &vector(5_000)));
        assert!(!grown.is_of(&codes), "{kind:?}");
    }
}

#[test]
fn building_ends_early_when_it_is_not_wanted_any_more() {
    let stopped = AtomicBool::new(true);
    for kind in GraphKind::ALL {
        let policy = GraphPolicy { kind, from_places: 1 };
        let task = policy.task(&codes(10), None).expect("worth a graph");
        assert!(task.build(&stopped).is_none());
        assert_eq!(GraphKind::from_word(kind.as_str()), Some(kind));
    }
}

#[test]
fn nothing_at_all_and_queries_of_another_length_find_nothing() {
    for kind in GraphKind::ALL {
        let mut codes = codes(30);
        let graph = build(kind, &codes, None);
        let short = Quantised::of(&[1.0, 2.0]).expect("a direction");
        assert_eq!(ask(graph.nearest(), &codes, &short, 3, &|_| true), []);
        for place in 0..30 {
            codes.remove(place);
        }
        assert_eq!(ask(graph.nearest(), &codes, &vector(1), 3, &|_| true), []);
        let empty = build(kind, &codes, None);
        assert_eq!(ask(empty.nearest(), &codes, &vector(1), 3, &|_| true), [], "{kind:?}");
    }
}
