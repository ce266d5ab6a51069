//! Documents that every careful reader of JSON must take, must refuse, or may treat either way, with our choice for
//! the last: through the strict check, the arguments of calls, and the live view, which must only not break.

use openclaw::domain::conversation::Arguments;
use openclaw::llm::wire::{arguments, partial, strict, surrogate};
use serde_json::Value;

/// What is done with a document.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// Every reader takes it.
    Taken,
    /// Every reader refuses it.
    Refused,
    /// Readers differ; ours takes it.
    Free(bool),
}
use Verdict::{Free, Refused, Taken};

/// Name, document, verdict.
const CASES: &[(&str, &[u8], Verdict)] = &[
    // Structure.
    ("empty object", b"{}", Taken),
    ("empty array", b"[]", Taken),
    ("nested", b"[[],{},[[{}]]]", Taken),
    ("blanks around", b" \t\r\n[ 1 , 2 ]\n ", Taken),
    ("scalar at the top", b"\"a\"", Taken),
    ("null at the top", b"null", Taken),
    ("member with an empty name", b"{\"\":0}", Taken),
    ("member of the same name in another object", b"{\"a\":{\"a\":1}}", Taken),
    ("long list", b"[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", Taken),
    ("nothing", b"", Refused),
    ("blanks", b"  ", Refused),
    ("open array", b"[", Refused),
    ("open object", b"{\"a\":1", Refused),
    ("array closed as object", b"[1}", Refused),
    ("extra end", b"[1]]", Refused),
    ("two documents", b"{} {}", Refused),
    ("comma at the end", b"[1,]", Refused),
    ("comma at the end of an object", b"{\"a\":1,}", Refused),
    ("comma at the start", b"[,1]", Refused),
    ("two commas", b"[1,,2]", Refused),
    ("no comma", b"[1 2]", Refused),
    ("no colon", b"{\"a\" 1}", Refused),
    ("two colons", b"{\"a\"::1}", Refused),
    ("no value", b"{\"a\":}", Refused),
    ("no name", b"{:1}", Refused),
    ("name without quotes", b"{a:1}", Refused),
    ("number as name", b"{1:1}", Refused),
    ("name in single quotes", b"{'a':1}", Refused),
    ("comment", b"[1/* one */]", Refused),
    ("line comment", b"[1]//", Refused),
    ("form feed as blank", b"[\x0c1]", Refused),
    ("vertical tab as blank", b"[\x0b1]", Refused),
    ("no-break space as blank", b"[\xc2\xa01]", Refused),
    ("zero width joiner as blank", b"[\xe2\x80\x8d1]", Refused),
    ("word joiner after", b"[1]\xe2\x81\xa0", Refused),
    // Words and numbers.
    ("words", b"[true,false,null]", Taken),
    ("capital word", b"[True]", Refused),
    ("cut word", b"[nul]", Refused),
    ("word and more", b"[nullx]", Refused),
    ("integers", b"[0,-1,42,-0]", Taken),
    (
        "largest and smallest integers",
        b"[18446744073709551615,-9223372036854775808]",
        Taken,
    ),
    ("fractions", b"[0.5,-1.25,1e3,1E-3,1.5e+10]", Taken),
    ("smallest fraction", b"[5e-324]", Taken),
    ("plus sign", b"[+1]", Refused),
    ("leading zero", b"[01]", Refused),
    ("leading zero below zero", b"[-01]", Refused),
    ("minus alone", b"[-]", Refused),
    ("point first", b"[.5]", Refused),
    ("point last", b"[1.]", Refused),
    ("no exponent", b"[1e]", Refused),
    ("sign of no exponent", b"[1e+]", Refused),
    ("two points", b"[1.2.3]", Refused),
    ("hexadecimal", b"[0x1]", Refused),
    ("underscore", b"[1_000]", Refused),
    ("infinity", b"[Infinity]", Refused),
    ("not a number", b"[NaN]", Refused),
    ("full-width digit", b"[\xef\xbc\x91]", Refused),
    ("arabic digit", b"[\xd9\xa1]", Refused),
    ("integer beyond 64 bits", b"[18446744073709551616]", Free(false)),
    ("integer below 64 bits", b"[-9223372036854775809]", Free(false)),
    (
        "integer of 100 digits",
        b"[1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000]",
        Free(false),
    ),
    ("number beyond a double", b"[1e400]", Free(false)),
    ("number nearer to zero than a double", b"[1e-400]", Free(true)),
    // Strings.
    ("empty string", b"[\"\"]", Taken),
    ("escapes", b"[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]", Taken),
    ("escaped unit", b"[\"\\u00e9\\u20AC\"]", Taken),
    ("escaped NUL", b"[\"\\u0000\"]", Taken),
    ("escaped pair", b"[\"\\ud83d\\ude00\"]", Taken),
    ("escaped pair in capitals", b"[\"\\uD83D\\uDE00\"]", Taken),
    ("escaped noncharacter", b"[\"\\uffff\\ufdd0\"]", Taken),
    ("escaped byte order mark", b"[\"\\ufeff\"]", Taken),
    ("backslash before u", b"[\"\\\\ud83d\"]", Taken),
    ("text of all planes", "[\"aé€😀\u{10ffff}\"]".as_bytes(), Taken),
    ("joiners, flags, tones", "[\"👩‍👩‍👧‍👦🇩🇪👍🏽1️⃣\"]".as_bytes(), Taken),
    (
        "right-to-left text with marks",
        "[\"\u{202e}\u{2066}שלום\u{2069}\"]".as_bytes(),
        Taken,
    ),
    ("tags", "[\"\u{e0041}\u{e007f}\"]".as_bytes(), Taken),
    ("delete", b"[\"\x7f\"]", Taken),
    ("line separators", "[\"\u{2028}\u{2029}\u{85}\"]".as_bytes(), Taken),
    ("byte order mark in a string", "[\"\u{feff}\"]".as_bytes(), Taken),
    ("open string", b"[\"a", Refused),
    ("single quotes", b"['a']", Refused),
    ("NUL in a string", b"[\"\0\"]", Refused),
    ("line end in a string", b"[\"a\nb\"]", Refused),
    ("tab in a string", b"[\"\t\"]", Refused),
    ("escape in a string", b"[\"\x1b\"]", Refused),
    ("unknown escape", b"[\"\\x41\"]", Refused),
    ("escaped quote of no string", b"[\\\"a\\\"]", Refused),
    ("short unit", b"[\"\\u00e\"]", Refused),
    ("unit that is no number", b"[\"\\u00eg\"]", Refused),
    ("unit with a sign", b"[\"\\u+0e9\"]", Refused),
    ("escaped line end", b"[\"\\\n\"]", Refused),
    ("first half alone", b"[\"\\ud83d\"]", Free(false)),
    ("second half alone", b"[\"\\ude00\"]", Free(false)),
    ("halves in the wrong order", b"[\"\\ude00\\ud83d\"]", Free(false)),
    ("first half twice", b"[\"\\ud83d\\ud83d\"]", Free(false)),
    ("first half before a letter", b"[\"\\ud83da\"]", Free(false)),
    ("first half before another escape", b"[\"\\ud83d\\n\"]", Free(false)),
    ("first half and half an escape", b"[\"\\ud83d\\u\"]", Refused),
    ("half in a name", b"{\"\\ud83d\":1}", Free(false)),
    // Bytes.
    ("byte order mark", b"\xef\xbb\xbf{}", Free(false)),
    ("half a byte order mark", b"\xef\xbb{}", Refused),
    ("UTF-16", b"\xff\xfe[\0]\0", Refused),
    ("Latin-1", b"[\"\xe9\"]", Free(false)),
    ("cut character", b"[\"\xf0\x9f\x98\"]", Free(false)),
    ("overlong slash", b"[\"\xc0\xaf\"]", Free(false)),
    ("overlong NUL", b"[\"\xe0\x80\x80\"]", Free(false)),
    ("half of a character as bytes", b"[\"\xed\xa0\xbd\"]", Free(false)),
    (
        "pair of halves as bytes",
        b"[\"\xed\xa0\xbd\xed\xb8\x80\"]",
        Free(false),
    ),
    ("beyond the last plane", b"[\"\xf4\x90\x80\x80\"]", Free(false)),
    ("byte that never is", b"[\"\xff\"]", Free(false)),
    ("bytes outside of strings", b"[\xff]", Refused),
    // Meaning.
    ("member twice", b"{\"a\":1,\"a\":1}", Free(false)),
    ("member twice, once escaped", b"{\"a\":1,\"\\u0061\":2}", Free(false)),
    ("member twice, deep", b"[{\"x\":{\"\":0,\"\":0}}]", Free(false)),
    (
        "names that only look equal",
        "{\"é\":1,\"e\u{301}\":2}".as_bytes(),
        Free(true),
    ),
];

#[test]
fn documents_are_taken_or_refused_as_everywhere_and_free_ones_as_we_chose() {
    for (name, document, verdict) in CASES {
        let expected = matches!(verdict, Taken | Free(true));
        let taken = strict::check_bytes(document);
        assert_eq!(taken.is_ok(), expected, "{name}: {taken:?}");
        match taken {
            // What is taken, the parser takes without loss.
            Ok(text) => {
                let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
                let again: Value = serde_json::from_str(&value.to_string()).expect("JSON");
                assert_eq!(again, value, "{name}");
                assert_eq!(surrogate::repair(text), text, "{name}");
                assert_eq!(
                    partial::view(text),
                    partial::PartialView { value, complete: true },
                    "{name}"
                );
            }
            Err(error) => {
                assert!(!error.reason.is_empty(), "{name}");
                assert_eq!(*verdict == Refused, is_refused_by_all(document), "{name}");
            }
        }
    }
}

/// Whether the parser refuses it too, leaving apart what it has no say in.
fn is_refused_by_all(document: &[u8]) -> bool {
    let text = String::from_utf8_lossy(document);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("1e400", "1");
    serde_json::from_str::<Value>(&surrogate::repair(&text)).is_err()
}

#[test]
fn the_same_documents_as_arguments_are_an_object_or_a_reason() {
    for (name, document, verdict) in CASES {
        let Ok(document) = std::str::from_utf8(document) else {
            continue;
        };
        let text = format!("{{\"a\":{document}}}");
        let has_half = surrogate::find(&text).is_some();
        match arguments::parse(&text, false) {
            Arguments::Object(value) => {
                // A half of a character from a model is replaced, as everywhere in its answer.
                assert!(has_half || matches!(verdict, Taken | Free(true)), "{name}: {value}");
                assert_eq!(value.to_string().contains('\u{fffd}'), has_half, "{name}: {value}");
            }
            Arguments::Malformed { reason, preview } => {
                assert!(matches!(verdict, Refused | Free(false)), "{name}: {reason}");
                assert!(text.starts_with(&*preview), "{name}: {preview}");
                let has_place = reason.contains("line ") && reason.contains("column ");
                assert!(has_place, "{name}: {reason}");
            }
        }
    }
}

#[test]
fn nesting_is_bounded_where_it_is_read_and_where_it_is_shown() {
    let check = |open: &str, close: &str, levels: usize, expected: bool| {
        let text = format!("{}1{}", open.repeat(levels), close.repeat(levels));
        assert_eq!(strict::check(&text).is_ok(), expected, "{levels} levels of {open}");
        let _ = partial::view(&text);
        let _ = partial::view(&open.repeat(levels));
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let each = open.matches(['[', '{']).count();
        check(open, close, 64 / each, true);
        check(open, close, 64 / each + 1, false);
        check(open, close, 200_000, false);
    }
}
