//! Records as bytes: one version byte, then the record in bincode's standard configuration.
//!
//! The only user of bincode, so that another encoding can take its place under a new version byte. bincode has
//! no evolution of its own: a changed record gets a new version and an upcaster in `record`, and the golden files
//! of every earlier version stay readable.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::error::DecodeError;
use bincode::{BorrowDecode, Decode, Encode};

use super::error::StoreError;

/// The version of all records written now.
pub const RECORD_VERSION: u8 = 1;
/// Decoded memory that one record may claim.
const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;

fn configuration() -> Configuration<LittleEndian, Varint, Limit<DECODED_BYTES_MAX>> {
    bincode::config::standard().with_limit::<DECODED_BYTES_MAX>()
}

/// Encodes a record.
pub fn encode<R: Encode>(record: &R) -> Vec<u8> {
    let mut bytes = vec![RECORD_VERSION];
    bincode::encode_into_std_write(record, &mut bytes, configuration())
        .expect("records hold plain data, and writing to memory cannot fail");
    bytes
}

/// Decodes a record; bytes left over count as damage.
pub fn decode<R: Decode<()>>(what: impl FnOnce() -> String, bytes: &[u8]) -> Result<R, StoreError> {
    decoded(what, bytes, |body| bincode::decode_from_slice(body, configuration()))
}

/// The same for a view that borrows its texts from the bytes.
pub fn decode_borrowed<'r, R: BorrowDecode<'r, ()>>(
    what: impl FnOnce() -> String,
    bytes: &'r [u8],
) -> Result<R, StoreError> {
    decoded(what, bytes, |body| {
        bincode::borrow_decode_from_slice(body, configuration())
    })
}

fn decoded<'r, R>(
    what: impl FnOnce() -> String,
    bytes: &'r [u8],
    decode: impl FnOnce(&'r [u8]) -> Result<(R, usize), DecodeError>,
) -> Result<R, StoreError> {
    let corrupt = |what: String, reason: String| StoreError::Corrupt { what, reason };
    match bytes.split_first() {
        None => Err(corrupt(what(), "it is empty".into())),
        Some((&RECORD_VERSION, body)) => match decode(body) {
            Ok((record, used)) if used == body.len() => Ok(record),
            Ok((_, used)) => Err(corrupt(what(), format!("{} bytes are left over", body.len() - used))),
            Err(error) => Err(corrupt(what(), error.to_string())),
        },
        Some((version, _)) => Err(corrupt(what(), format!("its version {version} is not known"))),
    }
}
