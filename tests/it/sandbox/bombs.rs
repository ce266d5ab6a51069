//! Programs that take all that they can get.

use std::time::{Duration, Instant};

use openclaw::skills::process::end::{Ended, ProgramEnd};
use openclaw::skills::sandbox::policy::SandboxSettings;

use super::ground::{Ground, as_each_user, skipped};
use crate::process::{alive, block_on};

fn bomb(settings: SandboxSettings, script: &str) -> ProgramEnd {
    let ground = Ground::with(settings);
    let order = ground.order(&["/usr/bin/python3", "-c", script], "");
    let key = order.key;
    let began = Instant::now();
    let end = block_on(ground.runner.run(order)).expect("the machinery works");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}: {end:?}",
        began.elapsed()
    );
    assert_eq!(alive(key), Vec::<u32>::new());
    end
}

fn overran(end: &ProgramEnd, what: &str) {
    assert!(
        matches!(&end.ended, Ended::Overran { what: found } if found.contains(what)),
        "{end:?}"
    );
}

#[test]
fn a_fork_bomb_ends_with_everything_that_it_made() {
    as_each_user("sandbox::bombs::a_fork_bomb_ends_with_everything_that_it_made", || {
        let settings = SandboxSettings {
            processes_max: 64,
            ..SandboxSettings::default()
        };
        if rustix::process::geteuid().is_root() && block_on(Ground::new().runner.sandbox()).cgroup.is_none() {
            skipped("SKIPPED: without control groups the kernel does not bound the processes of root");
            return;
        }
        // Nine doublings and no more: a bomb that nothing stops must not take the machine of the tests with it.
        let fork = |after: &str| {
            format!(
                "import os, time\nfor _ in range(9):\n    try:\n        if os.fork() == 0: {after}\n    \
                 except OSError: pass\ntime.sleep(20)"
            )
        };
        overran(&bomb(settings.clone(), &fork("pass")), "64 processes");
        overran(&bomb(settings.clone(), &fork("os.setsid()")), "64 processes");
        let threads =
            "import threading, time\nfor _ in range(200): threading.Thread(target=time.sleep, args=(60,)).start()";
        overran(&bomb(settings, threads), "64 processes");
    });
}

#[test]
fn a_memory_bomb_ends_alone_or_in_parts() {
    as_each_user("sandbox::bombs::a_memory_bomb_ends_alone_or_in_parts", || {
        let settings = SandboxSettings {
            memory_bytes_max: 256 << 20,
            ..SandboxSettings::default()
        };
        let alone = "import time\nheld = []\nwhile len(held) < 60: held.append(b'x' * (16 << 20)); time.sleep(0.002)\ntime.sleep(60)";
        overran(&bomb(settings.clone(), alone), "256 MiB");
        let parts = "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        held = b'x' * (64 << 20)\n        time.sleep(60)\ntime.sleep(60)";
        overran(&bomb(settings.clone(), parts), "256 MiB");
        let shared = "import mmap, time\nheld = mmap.mmap(-1, 1 << 30)\nfor at in range(0, 1 << 30, 4096): held[at] = 1\ntime.sleep(60)";
        overran(&bomb(settings.clone(), shared), "256 MiB");
        // What is shared by a parent and its children is not theirs many times over.
        let forked = "import os, time\nheld = b'x' * (64 << 20)\nfor _ in range(8):\n    if os.fork() == 0:\n        time.sleep(0.5)\n        os._exit(0)\nfor _ in range(8): os.wait()";
        assert_eq!(bomb(settings, forked).ended, Ended::Exited { code: 0 });
    });
}

#[test]
fn a_flood_of_output_costs_no_memory_of_the_daemon() {
    as_each_user(
        "sandbox::bombs::a_flood_of_output_costs_no_memory_of_the_daemon",
        || {
            let flood =
                "import sys\nfor _ in range(200): sys.stdout.write('x' * (1 << 20)); sys.stderr.write('y' * (1 << 20))";
            let end = bomb(SandboxSettings::default(), flood);
            assert_eq!(end.ended, Ended::Exited { code: 0 });
            assert!(end.truncated && end.stdout.len() + end.stderr.len() < 200_000);
        },
    );
}

#[test]
fn open_files_and_sizes_of_files_have_an_end() {
    as_each_user("sandbox::bombs::open_files_and_sizes_of_files_have_an_end", || {
        let ground = Ground::new();
        let end = ground.shell("ulimit -c; ulimit -n; ulimit -f");
        // Blocks of 512 bytes: 4 GiB.
        assert_eq!(end.stdout, "0\n1024\n8388608\n");
        let end = ground.python("held = []\ntry:\n    while True: held.append(open('/dev/null'))\nexcept OSError as e: print(len(held) < 1024, e.errno)", &[]);
        assert_eq!(end.stdout, "True 24\n", "{}", end.stderr);
    });
}
