//! Secrets from one host to another through hands that must not read them: sealed with the receiver's public key
//! (X25519, HKDF-SHA-256, AES-256-GCM, in the manner of RFC 9180's base mode), which lives for one exchange only.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use crate::PkiError;

const PUBLIC_KEY_BYTES: usize = 32;
/// Keeps these keys apart from any other use of the same mathematics.
const PURPOSE: &[u8] = b"naru sealed identity 1";

/// The receiver's half of one exchange.
pub struct Recipient {
    private: PrivateKey,
    public: Vec<u8>,
}

impl Recipient {
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, PkiError> {
        let private = PrivateKey::generate(&X25519).map_err(|_| PkiError::Randomness)?;
        let public = private.compute_public_key().map_err(|_| PkiError::Randomness)?.as_ref().to_vec();
        Ok(Self { private, public })
    }

    /// What the sender needs.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// # Errors
    /// When it was sealed for somebody else, or changed on its way.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        let (sender, body) = sealed.split_at_checked(PUBLIC_KEY_BYTES).ok_or(PkiError::Sealed)?;
        let key = key(&self.private, sender, sender, &self.public)?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let opened = key.open_in_place(nonce, Aad::from(PURPOSE), &mut body).map_err(|_| PkiError::Sealed)?.len();
        body.truncate(opened);
        Ok(body)
    }
}

/// Seals for the receiver with this public key.
///
/// # Errors
/// When the key is none, or the system has no randomness to give.
pub fn seal(recipient: &[u8], secret: &[u8]) -> Result<Vec<u8>, PkiError> {
    let sender = PrivateKey::generate(&X25519).map_err(|_| PkiError::Randomness)?;
    let public = sender.compute_public_key().map_err(|_| PkiError::Randomness)?;
    let key = key(&sender, recipient, public.as_ref(), recipient)?;
    let mut body = Zeroizing::new(secret.to_vec());
    // The key is used for this one message, so the nonce needs no randomness.
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    key.seal_in_place_append_tag(nonce, Aad::from(PURPOSE), &mut *body).map_err(|_| PkiError::Sealed)?;
    Ok([public.as_ref(), body.as_slice()].concat())
}

/// The key that both sides come to, bound to both public keys.
fn key(private: &PrivateKey, other: &[u8], sender: &[u8], recipient: &[u8]) -> Result<LessSafeKey, PkiError> {
    agree(private, UnparsedPublicKey::new(&X25519, other), PkiError::Sealed, |shared| {
        let secret = Salt::new(HKDF_SHA256, PURPOSE).extract(shared);
        let info = [sender, recipient];
        let expanded = secret.expand(&info, &AES_256_GCM).map_err(|_| PkiError::Sealed)?;
        Ok(LessSafeKey::new(UnboundKey::from(expanded)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_receiver_opens_it_and_only_unchanged() {
        let (recipient, other) = (Recipient::generate().unwrap(), Recipient::generate().unwrap());
        let sealed = seal(recipient.public_key(), b"the authority's key").unwrap();
        assert!(!sealed.windows(9).any(|window| window == b"authority"));
        assert_eq!(recipient.open(&sealed).unwrap().as_slice(), b"the authority's key");
        assert!(other.open(&sealed).is_err());
        for place in [0, PUBLIC_KEY_BYTES, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(recipient.open(&changed).is_err(), "changed at {place}");
        }
        assert!(recipient.open(&sealed[..10]).is_err());
        assert!(seal(b"short", b"x").is_err());
    }
}
