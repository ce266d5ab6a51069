//! The composition root as a whole is tested by the integration tests; here is what needs no process.

use super::layers::{ORDER, place};

#[test]
fn every_layer_has_one_place() {
    let all: Vec<&str> = ORDER.iter().flat_map(|group| group.iter().copied()).collect();
    for layer in &all {
        assert_eq!(all.iter().filter(|other| *other == layer).count(), 1, "{layer}");
    }
    assert!(place("domain") < place("storage") && place("gateway") < place("cli"));
}
