//! Real short texts: the definitions of WordNet, which Debian packages as `wordnet-base`.

use std::path::Path;

/// Where the package puts them.
pub const FOLDER: &str = "/usr/share/wordnet";

/// All definitions in an order that is mixed and always the same; none when the package is not there.
pub fn glosses(folder: &Path) -> Option<Vec<String>> {
    let mut found = Vec::new();
    for part in ["noun", "verb", "adj", "adv"] {
        let text = std::fs::read_to_string(folder.join(format!("data.{part}"))).ok()?;
        let lines = text.lines().filter(|line| !line.starts_with("  "));
        found.extend(lines.filter_map(|line| Some(line.split_once(" | ")?.1.trim().to_owned())));
    }
    fastrand::Rng::with_seed(7).shuffle(&mut found);
    Some(found)
}

/// As many texts as wanted: the definitions, then pairs of them, no two alike.
pub fn texts(glosses: &[String], count: usize) -> impl Iterator<Item = String> + '_ {
    (0..count).map(move |number| {
        let (round, at) = (number / glosses.len(), number % glosses.len());
        if round == 0 {
            format!("{number}: {}", glosses[at])
        } else {
            let other = (at * 31 + round * 7_919) % glosses.len();
            format!("{number}: {}; {}", glosses[at], glosses[other])
        }
    })
}
