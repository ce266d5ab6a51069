//! Which steps lead from one layout to another: pure.

/// Why no steps lead there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The store is of a later layout.
    #[error("the store has layout {found}, this program knows up to {wanted}")]
    Newer {
        /// The store's.
        found: u64,
        /// The program's.
        wanted: u64,
    },
    /// A step is missing.
    #[error("no step leads on from layout {from}")]
    Missing {
        /// Where the way ends.
        from: u64,
    },
}

/// The steps from `found` to `wanted`, in order, out of those that lead on from the layouts `known`. Each leads on by
/// one.
pub fn way(found: u64, wanted: u64, known: &[u64]) -> Result<Vec<u64>, OrderError> {
    if found > wanted {
        return Err(OrderError::Newer { found, wanted });
    }
    let missing = (found..wanted).find(|from| !known.contains(from));
    match missing {
        Some(from) => Err(OrderError::Missing { from }),
        None => Ok((found..wanted).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_done_in_order_and_none_is_left_out() {
        let check = |found: u64, wanted: u64, known: &[u64], expected: Result<&[u64], OrderError>| {
            let found = way(found, wanted, known);
            assert_eq!(found.as_deref().map_err(|error| *error), expected);
        };
        check(2, 2, &[], Ok(&[]));
        check(1, 2, &[1], Ok(&[1]));
        check(1, 4, &[3, 1, 2], Ok(&[1, 2, 3]));
        check(2, 4, &[1, 2, 3], Ok(&[2, 3]));
        check(1, 4, &[1, 3], Err(OrderError::Missing { from: 2 }));
        check(0, 1, &[1], Err(OrderError::Missing { from: 0 }));
        check(3, 2, &[1, 2, 3], Err(OrderError::Newer { found: 3, wanted: 2 }));
    }
}
