//! The fuzz targets without a fuzzer: every committed input, then seeded mixtures of them.

use std::path::{Path, PathBuf};

use openclaw::domain;
use openclaw::llm::wire;

#[path = "../../fuzz/checks.rs"]
mod checks;

/// Mixtures of each target; a debug build takes a few seconds over them.
const MIXTURES: u64 = 40_000;
/// Bytes of a mixture.
const BYTES_MAX: usize = 160;

/// Pieces that matter to some target, beside those of its corpus.
const PIECES: &[&[u8]] = &[
    b"data: ",
    b"\n\n",
    b"\r",
    b"\r\n",
    b"event:",
    b":",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xed\xa0\xbd",
    b"\xf0\x9f\x98\x80",
    b"\xe2\x80\x8d",
    b"\xef\xb8\x8f",
    b"\xe2\x80\xae",
    b"\xe2\x80\xac",
    b"\xe2\x81\xa6",
    b"\xe2\x81\xa9",
    b"\xf3\xa0\x81\xa7",
    b"\\ud83d",
    b"\\ude00",
    b"\\u0041",
    b"\\\\",
    b"\\\"",
    b"\\u",
    b"\\",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"\"a\":",
    b"1",
    b"-0.5e3",
    b"18446744073709551616",
    b"true",
    b"null",
    b"\0",
    b" ",
];

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<(PathBuf, Vec<u8>)> = files
        .map(|file| file.expect("a file").path())
        .map(|path| (path.clone(), std::fs::read(&path).expect("read")))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    inputs
}

/// An input made of pieces of others.
fn mixture(random: &mut fastrand::Rng, inputs: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..8) {
        let (_, input) = &inputs[random.usize(..inputs.len())];
        match random.u8(0..4) {
            0 => bytes.extend_from_slice(PIECES[random.usize(..PIECES.len())]),
            1 => bytes.push(random.u8(..)),
            _ => {
                let start = random.usize(..=input.len());
                let end = (start + random.usize(..40)).min(input.len());
                bytes.extend_from_slice(&input[start..end]);
            }
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

/// Runs one target; a broken promise names the input that broke it.
fn check(target: &str) {
    let (_, promise) = checks::TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .expect("a target");
    let run = |what: &str, bytes: &[u8]| {
        let kept = std::panic::catch_unwind(|| promise(bytes));
        assert!(kept.is_ok(), "{target}: {what}: {}", bytes.escape_ascii());
    };
    let inputs = corpus(target);
    for (path, bytes) in &inputs {
        run(&path.display().to_string(), bytes);
        for end in 0..bytes.len() {
            run(&format!("{} up to {end}", path.display()), &bytes[..end]);
        }
    }
    let mut random = fastrand::Rng::with_seed(0x0c1a);
    for number in 0..MIXTURES {
        let bytes = mixture(&mut random, &inputs);
        run(&format!("mixture {number}"), &bytes);
    }
}

#[test]
fn any_bytes_of_a_stream_give_the_same_events_however_they_are_cut() {
    check("sse_framer");
}

#[test]
fn any_pieces_of_text_join_to_the_text_of_all() {
    check("delta_joiner");
}

#[test]
fn any_arguments_are_an_object_or_a_reason() {
    check("argument_parser");
}

#[test]
fn any_text_is_repaired_in_its_halves_alone() {
    check("surrogate_repairer");
}

#[test]
fn any_text_has_stable_views() {
    check("text_policy");
}
