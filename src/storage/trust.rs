//! Reading what trust is kept of: keys with their terms, certificates, sealed secrets.
//!
//! A store that was made by an earlier program has none of the later tables until the first row is written.

use std::collections::BTreeMap;

use redb::{ReadableDatabase, ReadableTable};

use super::codec;
use super::error::{StoreError, step};
use super::record::certificate::CertificateRecord;
use super::record::key::{KeyRecord, KeyTermsRecord};
use super::record::secret::SecretRecord;
use super::store::Store;
use super::table::{CERTIFICATES, KEY_TERMS, KEY_USES, KEYS, SECRETS};
use super::tape::open;

/// One key with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its first record.
    pub key: KeyRecord,
    /// Its terms.
    pub terms: KeyTermsRecord,
    /// When it was last used, in milliseconds since 1970; coarse.
    pub used_at: Option<u64>,
}

impl Store {
    /// All keys, oldest first.
    pub fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(keys) = open(&transaction, KEYS, "open the keys")? else {
            return Ok(Vec::new());
        };
        let terms = open(&transaction, KEY_TERMS, "open the terms of keys")?;
        let uses = open(&transaction, KEY_USES, "open the uses of keys")?;
        let mut found = Vec::new();
        for row in keys.iter().map_err(step("read the keys"))? {
            let (id, value) = row.map_err(step("read the keys"))?;
            let key: KeyRecord = codec::decode(|| "a key".into(), value.value())?;
            let terms = match &terms {
                None => None,
                Some(terms) => terms.get(id.value()).map_err(step("read the terms of a key"))?,
            };
            let terms = match terms {
                None => KeyTermsRecord::default(),
                Some(value) => codec::decode(|| "the terms of a key".into(), value.value())?,
            };
            let used_at = match &uses {
                None => None,
                Some(uses) => uses.get(id.value()).map_err(step("read the use of a key"))?,
            };
            found.push(KeyRow {
                key,
                terms,
                used_at: used_at.map(|value| value.value()),
            });
        }
        Ok(found)
    }

    /// All certificates, by serial number.
    pub fn certificates(&self) -> Result<Vec<CertificateRecord>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, CERTIFICATES, "open the certificates")? else {
            return Ok(Vec::new());
        };
        let rows = table.iter().map_err(step("read the certificates"))?;
        rows.map(|row| {
            let (_, value) = row.map_err(step("read the certificates"))?;
            codec::decode(|| "a certificate".into(), value.value())
        })
        .collect()
    }

    /// All secrets by name, sealed.
    pub fn secrets(&self) -> Result<BTreeMap<String, SecretRecord>, StoreError> {
        let transaction = self.database().begin_read().map_err(step("begin reading"))?;
        let Some(table) = open(&transaction, SECRETS, "open the secrets")? else {
            return Ok(BTreeMap::new());
        };
        let rows = table.iter().map_err(step("read the secrets"))?;
        rows.map(|row| {
            let (name, value) = row.map_err(step("read the secrets"))?;
            let record = codec::decode(|| "a secret".into(), value.value())?;
            Ok((name.value().to_owned(), record))
        })
        .collect()
    }
}
