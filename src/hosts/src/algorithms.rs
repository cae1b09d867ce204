//! The algorithms that are spoken, in one place: nothing with SHA-1, no CBC, no DSA, no 3DES, no RSA host keys (their
//! signatures cannot be checked here; every sshd has an ed25519 or ECDSA key as well).

use std::borrow::Cow;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, compression, kex, mac};

/// The smallest RSA key that proves anything.
pub(crate) const MIN_RSA_BITS: u32 = 2048;
/// What signs with an RSA key; `ssh-rsa`, which is SHA-1, never does.
pub(crate) const RSA_HASH: HashAlg = HashAlg::Sha512;

const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G18_SHA512,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];

const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

const MACS: &[mac::Name] = &[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM, mac::HMAC_SHA512, mac::HMAC_SHA256];

/// Kinds of host keys that can be checked, most wanted first.
pub(crate) const HOST_KEYS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
];

/// What is offered to a host, given the kinds of keys and certificates that are wanted from it.
pub(crate) fn preferred(keys: Vec<Algorithm>, certificates: Vec<Algorithm>) -> Preferred {
    Preferred {
        kex: Cow::Borrowed(KEX),
        key: Cow::Owned(keys),
        host_key_certificates: Cow::Owned(certificates),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        // Programs do not shrink enough to pay for it.
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_weak_is_offered() {
        let offered = preferred(HOST_KEYS.to_vec(), HOST_KEYS.to_vec());
        let mut names: Vec<String> = Vec::new();
        names.extend(offered.kex.iter().map(|name| name.as_ref().to_owned()));
        names.extend(offered.cipher.iter().map(|name| name.as_ref().to_owned()));
        names.extend(offered.mac.iter().map(|name| name.as_ref().to_owned()));
        names.extend(offered.key.iter().map(|name| name.as_str().to_owned()));
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            let weak = ["sha1", "cbc", "3des", "dss", "ssh-rsa", "md5", "arcfour", "group1-", "none"];
            assert!(!weak.iter().any(|weak| name.contains(weak)), "{name}");
        }
    }
}
