//! Where this process panicked last. The store's library panics at pages that cannot be right: that is a damaged file
//! and no fault of this program, and a person has to be told so.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// From now on the place of a panic is kept; it is printed as before. Called once, at the start of the process.
pub fn keep_places() {
    let printing = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|place| place.file().to_owned());
        *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place;
        printing(panic);
    }));
}

/// Whether the last panic was the store's library's.
pub fn was_in_the_store() -> bool {
    let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
    place.as_deref().is_some_and(is_of_the_store)
}

/// What a panic said.
pub fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "no word of why".into())
}

/// The library's sources lie in a folder of its name, with or without a version.
fn is_of_the_store(file: &str) -> bool {
    file.split('/').any(|part| part == "redb" || part.starts_with("redb-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_of_the_stores_library_are_known_by_their_folder() {
        let check = |file: &str, expected: bool| assert_eq!(is_of_the_store(file), expected, "{file}");
        check(
            "/home/me/.cargo/registry/src/index/redb-4.5.0/src/tree_store/btree_base.rs",
            true,
        );
        check("vendor/redb/src/db.rs", true);
        check("src/storage/store.rs", false);
        check("src/storage/redbird.rs", false);
    }
}
