//! Leaves out of an answer what another entry of it says already.
//!
//! Refuses to know: where entries come from. Invariants: pure; the better one of two that say the same stays; two texts
//! with different numbers or names never count as the same.

/// From this cosine on two texts may say the same.
const SAME_COSINE: f32 = 0.97;

/// The numbers and words of a text in order, without case, punctuation and blanks.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Whether two texts say the same: the same words but for case and punctuation, or nearly the same direction with no
/// word of more than three letters and no number that only one of them has.
pub fn says_the_same(a: &str, b: &str, cosine: f32) -> bool {
    if words(a).next().is_none() || words(b).next().is_none() {
        return a == b;
    }
    if words(a).eq(words(b)) {
        return true;
    }
    if cosine < SAME_COSINE {
        return false;
    }
    let telling = |text: &str| {
        let telling = words(text).filter(|word| word.len() > 3 || word.bytes().any(|byte| byte.is_ascii_digit()));
        let mut telling: Vec<String> = telling.collect();
        telling.sort_unstable();
        telling.dedup();
        telling
    };
    telling(a) == telling(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::embed::table::embed_quantised;

    #[test]
    fn only_what_says_the_same_counts_as_the_same() {
        let check = |a: &str, b: &str, expected: bool| {
            let cosine = match (embed_quantised(a), embed_quantised(b)) {
                (Some(a), Some(b)) => a.cosine(&b),
                _ => 0.0,
            };
            assert_eq!(says_the_same(a, b, cosine), expected, "{a:?} {b:?} {cosine}");
        };
        check("The key is in the vault.", "the key is in the vault", true);
        check("The deploy key is in the vault.", "The deploy key is in a vault.", true);
        check("Tokens rotate on Monday.", "Tokens rotate on Friday.", false);
        check("The limit is 10 seconds.", "The limit is 20 seconds.", false);
        check("🙂", "🙃", false);
        check("The deploy key is in the vault.", "Two eggs and flour.", false);
    }
}
