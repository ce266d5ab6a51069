//! The best entries that fit into a number of tokens.
//!
//! Refuses to know: what an entry is. Invariants: pure; never more tokens than the limit, never more entries; what is
//! taken stays in its order.

/// Which of the entries, given by their tokens and best first, are taken.
///
/// Best first as long as they fit; one that does not fit is passed over and a shorter one may take its place. The
/// best of all is never given up for several lesser ones: prompts are short of attention, not of paper.
pub fn pack(tokens: &[u64], tokens_max: u64, count_max: usize) -> Vec<usize> {
    let mut left = tokens_max;
    let mut taken = Vec::new();
    for (at, tokens) in tokens.iter().enumerate() {
        if taken.len() == count_max {
            break;
        }
        if *tokens <= left {
            left -= tokens;
            taken.push(at);
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_best_that_fit_are_taken() {
        let check = |tokens: &[u64], tokens_max: u64, count_max: usize, expected: &[usize]| {
            assert_eq!(
                pack(tokens, tokens_max, count_max),
                expected,
                "{tokens:?} into {tokens_max}"
            );
        };
        check(&[], 10, 3, &[]);
        check(&[5, 5, 5], 10, 3, &[0, 1]);
        check(&[11, 4, 7, 6], 10, 3, &[1, 3]);
        check(&[1, 1, 1], 10, 2, &[0, 1]);
        check(&[0, 0], 0, 3, &[0, 1]);
        check(&[1], 10, 0, &[]);
    }

    proptest! {
        #[test]
        fn no_limit_is_passed_and_nothing_that_would_fit_is_left(
            tokens in prop::collection::vec(0u64..50, 0..40),
            tokens_max in 0u64..200,
            count_max in 0usize..20,
        ) {
            let taken = pack(&tokens, tokens_max, count_max);
            let used: u64 = taken.iter().map(|at| tokens[*at]).sum();
            prop_assert!(used <= tokens_max && taken.len() <= count_max && taken.is_sorted());
            if taken.len() < count_max {
                for at in (0..tokens.len()).filter(|at| !taken.contains(at)) {
                    prop_assert!(used + tokens[at] > tokens_max, "{at} would fit");
                }
            }
        }
    }
}
