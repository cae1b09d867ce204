//! An ECDSA P-256 private key that wipes its text from memory and never shows itself.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use zeroize::{Zeroize, Zeroizing};

use crate::PkiError;

/// A private key. `Debug` is redacted; there is no `Display`.
pub struct PrivateKey {
    pair: KeyPair,
}

impl PrivateKey {
    pub fn generate() -> Result<Self, PkiError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|source| PkiError::Make { what: "an ECDSA P-256 key".to_owned(), source })?;
        Ok(Self { pair })
    }

    /// Reads a PKCS#8 PEM key.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        KeyPair::from_pem(pem).map(|pair| Self { pair }).map_err(PkiError::Key)
    }

    /// PKCS#8 PEM, wiped when dropped.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.pair.serialize_pem())
    }

    /// SPKI PEM of the public half.
    #[must_use]
    pub fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// Whether `raw` (an uncompressed point, as in a certificate) is the public half of this key, shown by signing.
    pub(crate) fn matches_public(&self, raw: &[u8]) -> bool {
        const PROBE: &[u8] = b"naru key probe";
        let Ok(signature) = self.pair.sign(PROBE) else { return false };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, raw).verify(PROBE, &signature).is_ok()
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_pem_and_hides_from_debug() {
        let key = PrivateKey::generate().unwrap();
        let pem = key.to_pem();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS#8 is what every other part reads");
        assert!(key.public_pem().starts_with("-----BEGIN PUBLIC KEY-----"));
        let again = PrivateKey::from_pem(&pem).unwrap();
        assert_eq!(again.public_pem(), key.public_pem());
        assert_eq!(format!("{key:?}"), "PrivateKey(redacted)");
    }

    #[test]
    fn garbage_is_refused() {
        assert!(matches!(PrivateKey::from_pem("hello"), Err(PkiError::Key(_))));
    }
}
