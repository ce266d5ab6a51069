//! The corpus of good and bad `SKILL.md` files.

use super::*;

/// What comes of a file in the folder `pdf-forms`: name and places of warnings, `!` for the fatal one.
#[track_caller]
fn check(text: &str, name: Option<&str>, warnings: &[&str]) {
    check_in("pdf-forms", text.as_bytes(), name, warnings);
}

#[track_caller]
fn check_in(folder: &str, bytes: &[u8], name: Option<&str>, warnings: &[&str]) {
    let (document, found) = read(bytes, Path::new("SKILL.md"), folder);
    let shown: Vec<String> = found
        .iter()
        .map(|warning| {
            format!(
                "{}{}: {}",
                if warning.fatal { "!" } else { "" },
                warning.line,
                warning.found
            )
        })
        .collect();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    assert_eq!(
        document.as_ref().map(|document| document.name.as_str()),
        name,
        "{text}\n{shown:?}"
    );
    assert_eq!(shown.len(), warnings.len(), "{text}\n{shown:?}");
    for (shown, wanted) in shown.iter().zip(warnings) {
        assert!(shown.starts_with(wanted), "{text}\n{shown}\nwanted: {wanted}");
    }
    assert_eq!(document.is_none(), found.last().is_some_and(|warning| warning.fatal));
}

#[test]
fn a_sound_file_is_read_without_a_word() {
    check(
        "---\nname: pdf-forms\ndescription: Fills forms.\n---\n# Body\n",
        Some("pdf-forms"),
        &[],
    );
    check(
        "---\r\nname: pdf-forms\r\ndescription: Fills forms.\r\n---\r\nBody\r\n",
        Some("pdf-forms"),
        &[],
    );
    check(
        "\u{feff}---\nname: pdf-forms\ndescription: x\n---\n",
        Some("pdf-forms"),
        &[],
    );
    check(
        "---\nname: pdf-forms\ndescription: >\n  Folded\n  text: with colons.\n---",
        Some("pdf-forms"),
        &[],
    );
    check(
        "---\nname: 'pdf-forms'\ndescription: \"a: b # c\"\nlicense: Apache-2.0\n---\n",
        Some("pdf-forms"),
        &[],
    );
    check(
        "---\nname: pdf-forms\ndescription: x\ncompatibility: Needs python3 and network.\n\
         metadata:\n  author: someone\n  version: 1.0\n  draft: true\nallowed-tools: Bash(git add:*) Read\n---\n",
        Some("pdf-forms"),
        &[],
    );
}

#[test]
fn what_can_be_understood_is_taken_with_a_warning() {
    check("---\ndescription: x\n---\n", Some("pdf-forms"), &["1: no name"]);
    check(
        "---\nname: other\ndescription: x\n---\n",
        Some("other"),
        &["2: the name `other` in the folder"],
    );
    check(
        "---\nname: PDF Forms\ndescription: x\n---\n",
        Some("pdf-forms"),
        &["2: the name `PDF Forms`"],
    );
    check(
        "---\nname: ../../etc\ndescription: x\n---\n",
        Some("pdf-forms"),
        &["2: the name `../../etc`"],
    );
    check(
        "---\nname: [a]\ndescription: x\n---\n",
        Some("pdf-forms"),
        &["2: the name ``"],
    );
    check_in(
        "a--b-",
        b"---\nname: a--b-\ndescription: x\n---\n",
        Some("a--b-"),
        &["2: the name `a--b-`"],
    );
    check(
        "---\nname: pdf-forms\ndescription: Use when: the user says so\n---\n",
        Some("pdf-forms"),
        &["3: YAML that needs quotes"],
    );
    // Marks of YAML at the beginning of what can only be a text, and a text that goes on beneath.
    for description in [
        "[BETA] does things",
        "`code` and more",
        "*does* things",
        "'it's fine'",
        "\"a\" and \"b\"",
        "@all of it",
        "Use when: it is\n  asked for",
    ] {
        let text = format!("---\nname: pdf-forms\ndescription: {description}\n---\n");
        check(&text, Some("pdf-forms"), &["3: YAML that needs quotes"]);
        let (document, _) = read(text.as_bytes(), Path::new("SKILL.md"), "pdf-forms");
        let read = document.map(|document| document.description);
        assert_eq!(read, Some(description.replace("\n  ", " ")));
    }
    check(
        "---\nname: \"pdf-forms\"\ndescription: 'it''s: fine'\nlicense: a: b\n---\n",
        Some("pdf-forms"),
        &["4: YAML that needs quotes"],
    );
    check("--- \nname: pdf-forms\ndescription: x\n---\n", Some("pdf-forms"), &[]);
    check(
        "\n  \n---\nname: pdf-forms\ndescription: x\nversion: 2\n---\n",
        Some("pdf-forms"),
        &["1: empty lines before", "6: the unknown key"],
    );
    let long = "d".repeat(1025);
    check(
        &format!("---\nname: pdf-forms\ndescription: {long}\n---\n"),
        Some("pdf-forms"),
        &["3: a description of 1025 characters"],
    );
    check(
        &format!(
            "---\nname: pdf-forms\ndescription: x\ncompatibility: {}\n---\n",
            "c".repeat(501)
        ),
        Some("pdf-forms"),
        &["4: `compatibility` of 501 characters"],
    );
    check(
        "---\nname: pdf-forms\ndescription: x\nlicense: [MIT]\nmetadata: none\nallowed-tools: [Read, Write]\nversion: 2\n---\n",
        Some("pdf-forms"),
        &[
            "4: `license` that is no text",
            "5: `metadata` that is no mapping",
            "6: `allowed-tools` as a list",
            "7: the unknown key `version`",
        ],
    );
    check(
        "---\nname: pdf-forms\ndescription: x\nmetadata:\n  deep: {a: 1}\n  author: me\n---\n",
        Some("pdf-forms"),
        &["5: `metadata.deep` that is no text"],
    );
}

#[test]
fn what_cannot_be_understood_is_left_out_with_its_place() {
    check("", None, &["!1: no front matter"]);
    check("# A skill\n", None, &["!1: no front matter"]);
    check("---\nname: pdf-forms\n", None, &["!1: front matter without its end"]);
    check("---\nname: pdf-forms\n---\n", None, &["!1: no description"]);
    check(
        "---\nname: pdf-forms\ndescription: '  '\n---\n",
        None,
        &["!3: an empty description"],
    );
    check(
        "---\nname: pdf-forms\ndescription: [a]\n---\n",
        None,
        &["!3: an empty description"],
    );
    check("---\n- a\n- b\n---\n", None, &["!2: YAML that cannot be read"]);
    check(
        "---\nname: a\nname: b\ndescription: x\n---\n",
        None,
        &["!3: YAML that cannot be read"],
    );
    check("---\nname: \"open\ndescription: x\n---\n", None, &["!"]);
    check_in(
        "Bad Folder",
        b"---\nname: Bad\ndescription: x\n---\n",
        None,
        &["!2: the name `Bad`"],
    );
    check_in("..", b"---\ndescription: x\n---\n", None, &["!1: no name"]);
    check_in("x", b"---\nname: \xff\n---\n", None, &["!0: bytes that are no UTF-8"]);
    check(
        &format!("---\nname: x\ndescription: {}\n---\n", "d".repeat(17_000)),
        None,
        &["!1: front matter of"],
    );
    check(&"x".repeat(300_000), None, &["!0: 300000 bytes"]);
}

#[test]
fn front_matter_that_grows_or_nests_is_refused() {
    let bomb = "---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\ndescription: x\n---\n";
    check(bomb, None, &["!"]);
    check("---\nname: &n pdf-forms\ndescription: *n\n---\n", None, &["!"]);
    let deep = format!(
        "---\nname: pdf-forms\ndescription: x\nmetadata: {}1{}\n---\n",
        "[".repeat(40),
        "]".repeat(40)
    );
    check(&deep, None, &["!"]);
    let wide = format!("---\ndescription: x\nmetadata: [{}]\n---\n", "1,".repeat(5000));
    check(&wide, None, &["!"]);
}

#[test]
fn what_is_asked_for_is_kept_apart_and_the_body_as_it_is() {
    let text = "---\nname: pdf-forms\ndescription: x\nallowed-tools: Bash(git add:*, git commit:*) Read,Write\n\
                metadata:\n  version: 1.0\n---\n\n# Body\n---\nmore\n";
    let (document, warnings) = read(text.as_bytes(), Path::new("SKILL.md"), "pdf-forms");
    let document = document.expect("sound");
    assert_eq!(
        document.requested_tools,
        ["Bash(git add:*, git commit:*)", "Read", "Write"]
    );
    assert_eq!(document.body, "\n# Body\n---\nmore\n");
    assert_eq!(document.metadata["version"], "1.0");
    assert!(warnings.is_empty(), "{warnings:?}");
}
