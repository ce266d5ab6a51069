//! A damaged store: the daemon says what it found with a code of its own, or serves what is whole.

use std::io::{Seek as _, SeekFrom, Write as _};

use fastrand::Rng;

use crate::support::daemon::TestHome;

/// Places that are damaged, one at a time.
const PLACES: u64 = 24;
/// Bytes that are damaged: less than a page.
const BYTES: usize = 64;

#[test]
fn a_store_that_is_damaged_anywhere_is_named_or_served_and_never_ends_the_program_in_a_panic() {
    let home = TestHome::new("[log]\nlevel = \"error\"\n");
    home.start().terminate();
    let whole = std::fs::read(home.store_file()).expect("the store");
    let mut random = Rng::with_seed(0x0c1a_55e5);
    let mut refused = 0;
    for place in 0..PLACES {
        std::fs::write(home.store_file(), &whole).expect("the store as it was");
        // The first place is the header of the file, which every start has to read.
        let at = place * (whole.len() as u64 - BYTES as u64) / PLACES;
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(BYTES).collect();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(home.store_file())
            .expect("the store");
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.write_all(&bytes))
            .expect("damaged");
        std::fs::write(home.words_file(), "").expect("no words yet");
        let mut process = home.spawn(&[]);
        if let Err(status) = process.wait_listening() {
            refused += 1;
            let words = home.words();
            assert_eq!(status.code(), Some(1), "at {at}: {words}");
            assert!(words.contains("OC-300"), "at {at}: {words}");
        }
    }
    assert!(refused > 0, "none of these places was ever read");
}
