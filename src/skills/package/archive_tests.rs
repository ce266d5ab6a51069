//! A corpus of archives: honest ones of each kind, and each way that is known of writing outside or without end.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::archive::*;
use super::folder::{FILES_MAX, PackageFolder};

/// One entry as it is written into an archive, true or not.
#[derive(Clone)]
struct Entry {
    name: Vec<u8>,
    content: Vec<u8>,
    /// Kind and permissions, as stat(2) has them.
    mode: u32,
    /// What a link leads to, in a tar archive.
    link: &'static str,
    /// Length as the header has it, when it is not that of the content.
    said: Option<u32>,
    encrypted: bool,
}

fn entry(name: &str, content: &str) -> Entry {
    Entry {
        name: name.as_bytes().to_vec(),
        content: content.as_bytes().to_vec(),
        mode: 0o100_644,
        link: "",
        said: None,
        encrypted: false,
    }
}

fn kind(name: &str, mode: u32, link: &'static str) -> Entry {
    Entry {
        content: link.as_bytes().to_vec(),
        mode,
        link,
        ..entry(name, "")
    }
}

const FRONT: &str = "---\nname: forms\ndescription: Fills forms.\n---\nBody.\n";

fn document(at: &str) -> Entry {
    entry(&format!("{at}SKILL.md"), FRONT)
}

/// A zip archive, without compression, entry by entry as told.
///
/// **Source**: PKWARE's APPNOTE, sections 4.3.7, 4.3.12 and 4.3.16.
fn zip_of(entries: &[Entry]) -> Vec<u8> {
    let (mut body, mut list) = (Vec::new(), Vec::new());
    for entry in entries {
        let at = body.len() as u32;
        let mut sum = flate2::Crc::new();
        sum.update(&entry.content);
        let length = entry.said.unwrap_or(entry.content.len() as u32);
        // Bit 0: encrypted; bit 11: the name is UTF-8.
        let flags = u16::from(entry.encrypted) | 1 << 11;
        let mut shared = Vec::new();
        for number in [20, flags, 0, 0, 0x21] {
            shared.extend(number.to_le_bytes());
        }
        for number in [sum.sum(), entry.content.len() as u32, length] {
            shared.extend(number.to_le_bytes());
        }
        shared.extend((entry.name.len() as u16).to_le_bytes());
        shared.extend([0; 2]);
        body.extend(b"PK\x03\x04");
        body.extend(&shared);
        body.extend(&entry.name);
        body.extend(&entry.content);
        // Made by a system that has modes.
        list.extend(b"PK\x01\x02");
        list.extend([20, 3]);
        list.extend(&shared);
        list.extend([0; 6]);
        list.extend((entry.mode << 16).to_le_bytes());
        list.extend(at.to_le_bytes());
        list.extend(&entry.name);
    }
    let (count, at) = (entries.len() as u16, body.len() as u32);
    body.extend(&list);
    body.extend(b"PK\x05\x06\0\0\0\0");
    body.extend(count.to_le_bytes());
    body.extend(count.to_le_bytes());
    body.extend((list.len() as u32).to_le_bytes());
    body.extend(at.to_le_bytes());
    body.extend([0; 2]);
    body
}

/// A tar archive under gzip, entry by entry as told.
///
/// **Source**: pax(1), "ustar Interchange Format".
fn tar_of(entries: &[Entry]) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in entries {
        let mut head = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &entry.name[..entry.name.len().min(100)]);
        put(100, format!("{:07o}", entry.mode & 0o7777).as_bytes());
        let is_file = entry.mode & 0o170_000 == 0o100_000;
        let content = if is_file { &entry.content[..] } else { &[] };
        let length = entry.said.unwrap_or(content.len() as u32);
        put(124, format!("{length:011o}").as_bytes());
        put(148, b"        ");
        put(
            156,
            match entry.mode & 0o170_000 {
                0o120_000 => b"2",
                0o020_000 => b"3",
                0o060_000 => b"4",
                0o040_000 => b"5",
                0o010_000 => b"6",
                // Not a kind that files have: a second name for what the link leads to.
                0 => b"1",
                _ => b"0",
            },
        );
        put(157, entry.link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        head[154] = 0;
        all.extend(head);
        all.extend(content);
        all.resize(all.len().next_multiple_of(512), 0);
    }
    all.resize(all.len() + 1024, 0);
    gzip(&all)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

/// The package in an archive of these bytes, with everything that is there afterwards in and around its folder.
struct Tried {
    _house: tempfile::TempDir,
    outcome: Result<PathBuf, ArchiveError>,
    place: PathBuf,
}

fn try_bytes(bytes: &[u8], name: &str) -> Tried {
    let house = tempfile::tempdir().expect("folder");
    let archive = house.path().join(name);
    fs::write(&archive, bytes).expect("written");
    fs::write(house.path().join("outside"), "outside").expect("written");
    let place = house.path().join("place");
    fs::create_dir(&place).expect("folder");
    let outcome = unpack(&archive, &place);
    let around: Vec<_> = fs::read_dir(house.path())
        .expect("listed")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    let wanted = BTreeSet::from([name, "outside", "place"]);
    let around: BTreeSet<&str> = around.iter().filter_map(|name| name.to_str()).collect();
    assert_eq!(around, wanted, "nothing comes into being outside");
    assert_eq!(
        fs::read_to_string(house.path().join("outside")).expect("there"),
        "outside"
    );
    Tried {
        _house: house,
        outcome,
        place,
    }
}

#[test]
fn honest_archives_of_both_kinds_come_out_as_they_went_in() {
    let check = |entries: &[Entry], inner: &str| {
        for (bytes, name) in [(zip_of(entries), "x.zip"), (tar_of(entries), "x.tar.gz")] {
            let tried = try_bytes(&bytes, name);
            let package = tried.outcome.expect(name);
            assert_eq!(package, tried.place.join(inner));
            assert_eq!(fs::read_to_string(package.join("SKILL.md")).expect("there"), FRONT);
            let script = fs::metadata(package.join("scripts/fill.py")).expect("there");
            assert_eq!(script.permissions().mode() & 0o7777, 0o755, "no more than to be run");
            assert!(!tried.place.join("__MACOSX").exists());
            let files = PackageFolder::open(&package).expect("opened").admissible();
            assert_eq!(files.expect("admissible").len(), 2, "{name}");
        }
    };
    let script = |at: &str| Entry {
        mode: 0o104_755,
        ..entry(&format!("{at}scripts/fill.py"), "print()")
    };
    check(&[document(""), script("")], "");
    check(&[document("./"), script("./")], "");
    check(
        &[
            kind("forms-main/", 0o040_755, ""),
            document("forms-main/"),
            script("forms-main/"),
            entry("__MACOSX/forms-main/._SKILL.md", "fork"),
        ],
        "forms-main",
    );
}

#[test]
fn nothing_of_a_hostile_archive_is_taken() {
    let check = |entries: &[Entry], reason: &str| {
        let with: Vec<Entry> = [document("")].into_iter().chain(entries.iter().cloned()).collect();
        for (bytes, name) in [(zip_of(&with), "x.zip"), (tar_of(&with), "x.tgz")] {
            let refused = try_bytes(&bytes, name).outcome.expect_err(reason);
            let said = crate::domain::fault::in_one_line(&refused);
            assert!(said.contains(reason), "{name}: {said}, and not: {reason}");
        }
    };
    let one = |name: &str, reason: &str| check(&[entry(name, "x")], reason);
    one("../outside", "leads elsewhere");
    one("a/../../outside", "leads elsewhere");
    one("a/..", "leads elsewhere");
    one("/etc/cron.d/x", "absolute");
    one("//x", "absolute");
    one("..\\outside", "a separator in it");
    one("C:\\x", "a separator in it");
    one("c:x", "a drive elsewhere");
    one("a\nb", "not seen");
    one("\u{1b}[2J", "not seen");
    one("gnp.\u{202e}sh", "not seen");
    one("a ", "lost elsewhere");
    one("d/d/d/d/d/d/d/d/d/d/d", "too deep");
    check(&[entry("a", "1"), entry("A", "2")], "twice");
    check(&[entry("a", "1"), entry("a/b", "2")], "within what is a file");
    check(&[entry("a/b", "2"), entry("a", "1")], "twice");
    check(&[kind("link", 0o120_777, "../outside")], "it is a link");
    // The classic: a link out, and then a file through it.
    check(
        &[kind("link", 0o120_777, ".."), entry("link/outside", "x")],
        "it is a link",
    );
    check(&[kind("pipe", 0o010_644, "")], "neither a file nor a folder");
    check(&[kind("disk", 0o060_644, "")], "neither a file nor a folder");
    check(&[kind("null", 0o020_644, "")], "neither a file nor a folder");
    let many: Vec<Entry> = (0..=FILES_MAX).map(|number| entry(&number.to_string(), "")).collect();
    check(&many, "2000 files");
    let folders: Vec<Entry> = (0..=(2 * FILES_MAX))
        .map(|number| kind(&format!("{number}/"), 0o040_755, ""))
        .collect();
    check(&folders, "4000 entries");
}

#[test]
fn what_only_one_kind_of_archive_can_do_is_refused_too() {
    let check = |bytes: Vec<u8>, name: &str, reason: &str| {
        let refused = try_bytes(&bytes, name).outcome.expect_err(reason);
        let said = crate::domain::fault::in_one_line(&refused);
        assert!(said.contains(reason), "{name}: {said}, and not: {reason}");
    };
    let zip = |entries: &[Entry], reason: &str| check(zip_of(entries), "x.zip", reason);
    let tar = |entries: &[Entry], reason: &str| check(tar_of(entries), "x.tar.gz", reason);
    zip(
        &[document(""), entry("a", "1"), entry("a", "2")],
        "have names of their own",
    );
    tar(&[document(""), entry("a", "1"), entry("a", "2")], "twice");
    let encrypted = Entry {
        encrypted: true,
        ..entry("a", "1")
    };
    zip(&[document(""), encrypted], "encrypted");
    tar(&[document(""), kind("hard", 0, "/etc/passwd")], "it is a link");
    tar(&[document(""), kind("SKILL2.md", 0, "SKILL.md")], "it is a link");
    let latin = Entry {
        name: vec![b'a', 0xe4],
        ..entry("", "1")
    };
    zip(&[document(""), latin.clone()], "no UTF-8");
    tar(&[document(""), latin], "no UTF-8");
    let claims = |bytes| Entry {
        said: Some(bytes),
        ..entry("a", "12345")
    };
    zip(&[document(""), claims(70 << 20)], "unpacked");
    zip(&[document(""), claims(3)], "larger than its declared");
    tar(&[document(""), claims(70 << 20)], "unpacked");
}

#[test]
fn what_is_damaged_or_grows_without_end_is_refused() {
    let check = |bytes: &[u8], name: &str, reason: &str| {
        let refused = try_bytes(bytes, name).outcome.expect_err(name);
        let said = crate::domain::fault::in_one_line(&refused);
        assert!(said.contains(reason), "{name}: {said}, and not: {reason}");
    };
    let sound = [document(""), entry("a", &"text ".repeat(500))];
    // However much of an archive is missing, it is not taken for a whole one.
    for (bytes, name) in [(zip_of(&sound), "x.zip"), (tar_of(&sound), "x.tar.gz")] {
        for part in 1..20 {
            check(&bytes[..bytes.len() * part / 20], name, "");
        }
        check(&bytes[..bytes.len() - 1], name, "");
        assert!(try_bytes(&bytes, name).outcome.is_ok());
    }
    check(b"", "x.zip", "neither");
    check(b"7z\xbc\xaf\x27\x1c", "x.zip", "neither");
    check(&gzip(b"no tar archive at all"), "x.tar.gz", "");
    check(&zip_of(&[entry("README.md", "x")]), "x.zip", "no SKILL.md");
    check(&zip_of(&[document("a/"), document("b/")]), "x.zip", "2 folders");
    // Forty megabytes of nothing, in forty kilobytes.
    let bomb = [document(""), entry("zeros", &"\0".repeat(40 << 20))];
    check(&tar_of(&bomb), "x.tar.gz", "100 times its own size");
    // And the same where no header tells of it.
    let mut stream = tar_of(&[document("")]);
    stream.extend(gzip(&vec![0; 90 << 20]));
    check(&stream, "x.tar.gz", "its files");
}
