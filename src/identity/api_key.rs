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
    secret: [u8; SECRET_DIGITS],
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

/// The first digits of these bytes, five bits each; bits beyond the last byte are zero.
fn digits<const COUNT: usize>(bytes: &[u8]) -> [u8; COUNT] {
    let mut rest = bytes.iter();
    let (mut held, mut bits) = (0u32, 0u32);
    std::array::from_fn(|_| {
        if bits < 5 {
            held = (held << 8) | u32::from(rest.next().copied().unwrap_or(0));
            bits += 8;
        }
        bits -= 5;
        DIGITS[((held >> bits) & 31) as usize]
    })
}

fn checksum(text: &str) -> [u8; CHECKSUM_DIGITS] {
    digits(blake3::hash(text.as_bytes()).as_bytes())
}

impl ApiKey {
    /// A key of this id with 256 random bits.
    pub fn new(id: KeyId, random: [u8; 32]) -> Self {
        Self {
            id,
            secret: digits(&random),
        }
    }

    /// The text that its owner sends.
    pub fn to_text(&self) -> String {
        let id = self.id.to_string();
        let mut text = format!("{PREFIX}_{}_", id.trim_start_matches("key_"));
        text.extend(self.secret.map(char::from));
        let sum = checksum(&text);
        text.extend(sum.map(char::from));
        text
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
        let id = KeyId::from_digits(id).ok_or(KeyTextError::Form)?;
        let (body, sum) = text.split_at(text.len() - CHECKSUM_DIGITS);
        if checksum(body) != *sum.as_bytes() {
            return Err(KeyTextError::Checksum);
        }
        let mut secret = [0; SECRET_DIGITS];
        secret.copy_from_slice(&rest.as_bytes()[..SECRET_DIGITS]);
        Ok(Self { id, secret })
    }

    /// What is kept of the secret. A fast hash is enough, because the secret has 256 random bits.
    pub fn secret_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.secret).as_bytes()
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
