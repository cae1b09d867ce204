//! RSA keys of people: signed with by aws-lc, whose arithmetic tells nothing by its timing, never with SHA-1.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512};
use russh::keys::HashAlg;
use russh::keys::agent::AgentIdentity;
use russh::keys::ssh_key::private::RsaKeypair;
use russh::keys::ssh_key::public::RsaPublicKey;
use russh::keys::ssh_key::{Mpint, PublicKey};
use zeroize::Zeroizing;

const LENGTH_BYTES: usize = 4;

/// An OpenSSH key becomes one that can sign.
pub(crate) fn from_openssh(pair: &RsaKeypair) -> Result<KeyPair, String> {
    let part = |number: &Mpint| -> Result<Zeroizing<Vec<u8>>, String> {
        let bytes = number.as_positive_bytes().ok_or("it holds a negative number")?;
        Ok(Zeroizing::new(bytes.to_vec()))
    };
    let (public, private) = (pair.public(), pair.private());
    let (d, p, q) = (part(private.d())?, part(private.p())?, part(private.q())?);
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n: part(public.n())?, e: part(public.e())? },
        dP: reduced(&d, &p),
        dQ: reduced(&d, &q),
        qInv: part(private.iqmp())?,
        d,
        p,
        q,
    };
    KeyPair::from_components(&components).map_err(|error| format!("its numbers do not fit together ({error})"))
}

/// The public half as OpenSSH writes it.
pub(crate) fn public(pair: &KeyPair) -> Result<PublicKey, String> {
    let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let number = |bytes: &[u8]| Mpint::from_positive_bytes(bytes);
    let key = RsaPublicKey::new(number(&parts.e), number(&parts.n)).map_err(|error| error.to_string())?;
    Ok(PublicKey::from(key))
}

/// `number` modulo `prime - 1`, which OpenSSH's file leaves out: big-endian, by shifting and subtracting.
fn reduced(number: &[u8], prime: &[u8]) -> Zeroizing<Vec<u8>> {
    // A prime is odd, so one less touches only the last byte.
    let mut modulus = Zeroizing::new(prime.to_vec());
    if let Some(last) = modulus.last_mut() {
        *last -= *last & 1;
    }
    let mut rest = Zeroizing::new(vec![0_u8; modulus.len() + 1]);
    let mut less = Zeroizing::new(vec![0_u8; modulus.len() + 1]);
    for bit in number.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)) {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            (*byte, carry) = (*byte << 1 | carry, *byte >> 7);
        }
        let mut borrow = false;
        for (place, target) in less.iter_mut().enumerate().rev() {
            let subtracted = if place == 0 { 0 } else { modulus[place - 1] };
            let (half, first) = rest[place].overflowing_sub(subtracted);
            let (whole, second) = half.overflowing_sub(u8::from(borrow));
            (*target, borrow) = (whole, first || second);
        }
        // Which of the two is kept must not show in the timing either.
        let mask = u8::from(borrow).wrapping_sub(1);
        for (byte, smaller) in rest.iter_mut().zip(less.iter()) {
            *byte = *byte & !mask | *smaller & mask;
        }
    }
    rest
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("the connection ended")]
    Send(#[from] russh::SendError),
    /// The host would take the key, but nobody has opened it yet.
    #[error("the key is protected by a passphrase")]
    Locked,
    #[error("signing failed")]
    Failed,
}

/// Signs as the SSH protocol wants it.
pub(crate) struct RsaSigner<'a>(pub(crate) &'a KeyPair);

impl russh::Signer for RsaSigner<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let (name, padding) = match hash {
            Some(HashAlg::Sha256) => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
            Some(HashAlg::Sha512) => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
            _ => return Err(SignError::Failed),
        };
        let mut signature = vec![0_u8; self.0.public_modulus_len()];
        self.0.sign(padding, &SystemRandom::new(), &data, &mut signature).map_err(|_| SignError::Failed)?;
        append_length(&mut data, name.len() + signature.len() + 2 * LENGTH_BYTES)?;
        for part in [name.as_bytes(), signature.as_slice()] {
            append_length(&mut data, part.len())?;
            data.extend_from_slice(part);
        }
        Ok(data)
    }
}

fn append_length(data: &mut Vec<u8>, length: usize) -> Result<(), SignError> {
    let length = u32::try_from(length).map_err(|_| SignError::Failed)?;
    data.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Stands for a key that nobody has opened yet: finds out whether the host would take it at all.
pub(crate) struct LockedSigner;

impl russh::Signer for LockedSigner {
    type Error = SignError;

    async fn auth_sign(&mut self, _: &AgentIdentity, _: Option<HashAlg>, _: Vec<u8>) -> Result<Vec<u8>, SignError> {
        Err(SignError::Locked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_right() {
        // 1000 mod (17 - 1) = 8; 5 mod 250 = 5; 65536 mod 256 = 0.
        assert_eq!(*reduced(&[0x03, 0xe8], &[17]), [0, 8]);
        assert_eq!(*reduced(&[5], &[251]), [0, 5]);
        assert_eq!(*reduced(&[1, 0, 0], &[1, 1]), [0, 0, 0]);
    }
}
