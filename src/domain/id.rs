//! Identifiers that print with a prefix and parse back; two kinds never mix because they are two types.
//!
//! **Shape**: prefix, underscore, 26 lower-case Crockford base-32 digits of a 128-bit number whose upper 48 bits
//! are milliseconds since 1970. Ids made later sort later, as bytes and as text.
//! **Source**: layout after the ULID specification; digits after Crockford's base 32.

use std::fmt;
use std::str::FromStr;

use super::time::UtcMillis;

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS_LEN: usize = 26;

/// Says why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `{prefix}_` and 26 base-32 digits, found `{found}`")]
pub struct IdError {
    /// The prefix that the wanted kind of id has.
    pub prefix: &'static str,
    /// What was given, cut to 64 characters.
    pub found: String,
}

fn encode(value: u128) -> [u8; DIGITS_LEN] {
    let mut out = [b'0'; DIGITS_LEN];
    let mut rest = value;
    for slot in out.iter_mut().rev() {
        *slot = DIGITS[(rest & 31) as usize];
        rest >>= 5;
    }
    out
}

/// What each byte is worth as a digit; 255 for those that are none. Every request reads an id: its key's.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

fn decode(text: &str) -> Option<u128> {
    if text.len() != DIGITS_LEN {
        return None;
    }
    let mut value: u128 = 0;
    for (position, byte) in text.bytes().enumerate() {
        let digit = VALUES[usize::from(byte)];
        // 26 digits hold 130 bits: the first may only carry three.
        if digit > 31 || (position == 0 && digit > 7) {
            return None;
        }
        value = (value << 5) | u128::from(digit);
    }
    Some(value)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The text before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an id from the time and 80 random bits (upper bits of `random` are ignored).
            pub fn new(at: UtcMillis, random: u128) -> Self {
                Self((u128::from(at.0 & 0xffff_ffff_ffff) << 80) | (random & ((1 << 80) - 1)))
            }

            /// The id of these digits, without the prefix.
            pub fn from_digits(digits: &str) -> Option<Self> {
                decode(digits).map(Self)
            }

            /// The 16 bytes, most significant first; sorts as the id does.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The id of these 16 bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }

            /// When the id was made.
            pub fn made_at(self) -> UtcMillis {
                UtcMillis((self.0 >> 80) as u64)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let digits = encode(self.0);
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(std::str::from_utf8(&digits).expect("base-32 digits are ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(Self::from_digits)
                    .ok_or_else(|| IdError { prefix: $prefix, found: crate::domain::text::preview(text, 64) })
            }
        }
    };
}

id! {
    /// One accepted piece of work.
    RunId, "run"
}
id! {
    /// One conversation of an agent within a step.
    SessionId, "ses"
}
id! {
    /// One record of a fault or a repair.
    IncidentId, "inc"
}
id! {
    /// One message to people, over all tries to deliver it.
    AlertId, "alr"
}
id! {
    /// One life of the process: leases of another boot are void.
    BootId, "boot"
}
id! {
    /// One API key; the public half.
    KeyId, "key"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prints_and_parses_back_and_sorts_by_time(at in 0u64..(1 << 48), random: u128, later in 0u64..(1 << 48)) {
            let id = RunId::new(UtcMillis(at), random);
            prop_assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
            prop_assert_eq!(RunId::from_bytes(id.to_bytes()), id);
            prop_assert_eq!(id.made_at(), UtcMillis(at));
            let other = RunId::new(UtcMillis(later), random);
            prop_assert_eq!(at.cmp(&later), id.cmp(&other));
            prop_assert_eq!(id.cmp(&other), id.to_string().cmp(&other.to_string()));
        }

        #[test]
        fn any_other_text_is_refused(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<RunId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn a_kind_does_not_parse_as_another() {
        let run = RunId::new(UtcMillis(1), 2);
        assert!(run.to_string().replace("run_", "ses_").parse::<RunId>().is_err());
        assert!(
            "run_zzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<RunId>().is_err(),
            "130 bits do not fit"
        );
    }
}
