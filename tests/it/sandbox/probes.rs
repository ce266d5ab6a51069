//! The probe set: a script that tries everything, and the table of what must come of it.

use std::os::unix::net::UnixListener;

use openclaw::skills::process::end::Ended;
use openclaw::skills::sandbox::policy::SandboxSettings;
use serde_json::Value;

use super::ground::{Ground, as_each_user, skipped};

const PROBE: &str = include_str!("probe.py");
/// Fewer would mean that the script skipped what it should try.
const FORBIDDEN_MIN: usize = 150;
const ALLOWED_MIN: usize = 10;

fn probe(settings: SandboxSettings) {
    let is_root = rustix::process::geteuid().is_root();
    let (guarded, modes) = (settings.namespaces || is_root, settings.namespaces || !is_root);
    let ground = Ground::with(settings);
    let socket = ground.outside.join("socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let arguments = [
        ground.outside.to_str().expect("text"),
        &std::process::id().to_string(),
        socket.to_str().expect("text"),
        if guarded { "guarded" } else { "open" },
        if modes { "modes" } else { "no modes" },
    ];
    let end = ground.python(PROBE, &arguments);
    assert_eq!(end.ended, Ended::Exited { code: 0 }, "{}\n{}", end.stdout, end.stderr);
    let said: Value = serde_json::from_str(&end.stdout).expect("JSON");
    let check = |what: &str, wanted: &str, least: usize| {
        let found = said[what].as_object().expect("a table");
        let wrong: Vec<_> = found.iter().filter(|(_, found)| *found != wanted).collect();
        assert!(wrong.is_empty(), "{what}: {wrong:#?}");
        assert!(found.len() >= least, "{what}: only {}", found.len());
    };
    check("forbidden", "refused", FORBIDDEN_MIN);
    check("allowed", "works", ALLOWED_MIN);
    let names = std::fs::read_dir(&ground.outside).expect("listed").flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    names.sort();
    assert_eq!(names, ["secret", "socket"]);
    assert_eq!(
        std::fs::read_to_string(ground.outside.join("secret")).expect("read"),
        "secret"
    );
}

#[test]
fn what_is_forbidden_is_refused_and_what_is_allowed_works() {
    as_each_user(
        "sandbox::probes::what_is_forbidden_is_refused_and_what_is_allowed_works",
        || {
            probe(SandboxSettings::default());
        },
    );
}

#[test]
fn without_namespaces_what_is_forbidden_is_refused_all_the_same() {
    as_each_user(
        "sandbox::probes::without_namespaces_what_is_forbidden_is_refused_all_the_same",
        || {
            probe(SandboxSettings {
                namespaces: false,
                ..SandboxSettings::default()
            });
        },
    );
}

#[test]
fn a_program_of_a_daemon_that_is_root_runs_as_the_owner_of_its_workspace() {
    if !rustix::process::geteuid().is_root() {
        skipped("SKIPPED: only root can choose another user");
        return;
    }
    let check = |owner: u32, wanted: &str| {
        let ground = Ground::new();
        std::os::unix::fs::chown(&ground.work, Some(owner), Some(owner)).expect("given away");
        // The test's own folder is closed to others.
        let parent = ground.work.parent().expect("a parent");
        std::fs::set_permissions(parent, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("opened");
        let end = ground.shell("id -u; id -g; id -G; echo x > made; echo x > $TMPDIR/made && echo kept");
        assert_eq!(end.stdout, wanted, "{}", end.stderr);
        let made = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(ground.work.join("made")).expect("made"));
        assert_eq!(made, owner);
    };
    check(0, "0\n0\n0\nkept\n");
    check(4321, "4321\n4321\n4321\nkept\n");
}

#[test]
fn what_the_operator_opens_is_open_and_nothing_beside_it() {
    as_each_user(
        "sandbox::probes::what_the_operator_opens_is_open_and_nothing_beside_it",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            for name in ["readable", "writable", "closed"] {
                std::fs::create_dir(folder.path().join(name)).expect("made");
                std::fs::write(folder.path().join(name).join("file"), name).expect("written");
            }
            let ground = Ground::with(SandboxSettings {
                readable: vec![folder.path().join("readable"), "/no/such/folder".into()],
                writable: vec![folder.path().join("writable")],
                ..SandboxSettings::default()
            });
            let script = format!(
                "cd {}; cat readable/file writable/file closed/file; echo x > writable/new; echo x > readable/new; \
             echo x > closed/new; ls readable writable",
                folder.path().display()
            );
            let end = ground.shell(&script);
            assert_eq!(
                end.stdout, "readablewritablereadable:\nfile\n\nwritable:\nfile\nnew\n",
                "{}",
                end.stderr
            );
        },
    );
}

#[test]
fn nothing_is_open_in_a_program_that_was_open_around_it() {
    as_each_user(
        "sandbox::probes::nothing_is_open_in_a_program_that_was_open_around_it",
        || {
            let ground = Ground::new();
            let planted = std::fs::File::open(ground.outside.join("secret")).expect("opened");
            // As when whoever starts the daemon leaves something open that is not closed by exec.
            rustix::io::fcntl_setfd(&planted, rustix::io::FdFlags::empty()).expect("planted");
            let end = ground.shell("for n in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do test -e /proc/self/fd/$n && echo $n; done; true");
            assert_eq!((end.ended, &*end.stdout), (Ended::Exited { code: 0 }, ""));
        },
    );
}
