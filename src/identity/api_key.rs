//! API keys as text: `ocl_<id>_<secret><checksum>`.
//!
//! **Shape**: 26 base-32 digits of the id, then 52 digits of a 256-bit secret and 6 of a checksum over all before
//! it. The checksum tells a mistyped key from a wrong one without asking the store, and lets scanners of leaked
//! secrets be sure.

use crate::domain::id::KeyId;

const PREFIX: &str = "ocl";
const SECRET_DIGITS: usize = 52;
const CHECKSUM_DIGITS: usize = 6;
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A key as its owner has it. Not printable by accident: `Debug` leaves the secret out.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The public half.
    pub id: KeyId,
    secret: String,
}

/// Says why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It does not have the form.
    #[error("the key does not have the form ocl_<id>_<secret>")]
    Form,
    /// The checksum is wrong: it was mistyped or cut.
    #[error("the key is mistyped or cut: its checksum is wrong")]
    Checksum,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({})", self.id)
    }
}

fn digits(bytes: &[u8], count: usize) -> String {
    let bit = |index: usize| bytes.get(index / 8).map_or(0, |byte| (byte >> (7 - index % 8)) & 1);
    let digit = |position: usize| (0..5).fold(0u8, |value, offset| (value << 1) | bit(position * 5 + offset));
    (0..count)
        .map(|position| char::from(DIGITS[usize::from(digit(position))]))
        .collect()
}

fn checksum(text: &str) -> String {
    digits(blake3::hash(text.as_bytes()).as_bytes(), CHECKSUM_DIGITS)
}

impl ApiKey {
    /// A key of this id with 256 random bits.
    pub fn new(id: KeyId, random: [u8; 32]) -> Self {
        Self {
            id,
            secret: digits(&random, SECRET_DIGITS),
        }
    }

    /// The text that its owner sends.
    pub fn to_text(&self) -> String {
        let id = self.id.to_string();
        let body = format!("{PREFIX}_{}_{}", id.trim_start_matches("key_"), self.secret);
        let sum = checksum(&body);
        body + &sum
    }

    /// Reads the text of a key.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let mut parts = text.split('_');
        let (Some(PREFIX), Some(id), Some(rest), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyTextError::Form);
        };
        if rest.len() != SECRET_DIGITS + CHECKSUM_DIGITS || !rest.is_ascii() {
            return Err(KeyTextError::Form);
        }
        let id: KeyId = format!("key_{id}").parse().map_err(|_| KeyTextError::Form)?;
        let (secret, sum) = rest.split_at(SECRET_DIGITS);
        if checksum(&format!(
            "{PREFIX}_{}_{secret}",
            id.to_string().trim_start_matches("key_")
        )) != sum
        {
            return Err(KeyTextError::Checksum);
        }
        Ok(Self {
            id,
            secret: secret.to_owned(),
        })
    }

    /// What is kept of the secret. A fast hash is enough, because the secret has 256 random bits.
    pub fn secret_hash(&self) -> [u8; 32] {
        *blake3::hash(self.secret.as_bytes()).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::UtcMillis;

    #[test]
    fn a_key_reads_back_and_every_mistyped_one_is_refused() {
        let key = ApiKey::new(KeyId::new(UtcMillis(5), 6), [7; 32]);
        let text = key.to_text();
        assert_eq!(ApiKey::parse(&text), Ok(key.clone()));
        assert!(
            !format!("{key:?}").contains(&text[31..]),
            "the secret is not in the debug text"
        );
        for position in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[position] = if wrong[position] == b'q' { b'r' } else { b'q' };
            let wrong = String::from_utf8(wrong).expect("ASCII");
            assert!(ApiKey::parse(&wrong).is_err(), "position {position}");
        }
        assert_eq!(ApiKey::parse(&text[..text.len() - 1]), Err(KeyTextError::Form));
        assert_eq!(ApiKey::parse(""), Err(KeyTextError::Form));
    }
}
