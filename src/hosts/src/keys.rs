//! Private keys of the operator: read once per run, opened once per run (asking for the passphrase), shared by all
//! hosts, with the certificate that lies beside each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use aws_lc_rs::rsa::KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::ssh_key::{Certificate, PublicKey};
use russh::keys::{PrivateKey, decode_secret_key};
use zeroize::Zeroizing;

use crate::algorithms::MIN_RSA_BITS;
use crate::error::chain;
use crate::rsa;

/// Wrong passphrases before a key is given up.
const MAX_PASSPHRASES: u32 = 3;
/// No key file is longer.
const MAX_KEY_BYTES: u64 = 64 * 1024;
const PEM_RSA: &str = "RSA PRIVATE KEY";
const PEM_PKCS8: &str = "PRIVATE KEY";

/// Asks a person for the passphrase of a key.
pub trait PassphrasePrompt: Send + Sync {
    /// `attempt` counts from 1.
    ///
    /// # Errors
    /// When there is nobody to ask, or who was asked gave up: the reason, for people.
    fn ask(&self, key_file: &Path, attempt: u32) -> Result<Zeroizing<String>, String>;
}

/// A key that can sign.
pub(crate) enum Secret {
    OpenSsh(Arc<PrivateKey>),
    Rsa(KeyPair),
}

/// What is known of a key file.
#[derive(Clone)]
pub(crate) enum KeyFile {
    Open(Arc<OpenKey>),
    /// Readable only with its passphrase; its public half is there to be offered.
    Locked(Box<Public>),
    Unusable(String),
}

pub(crate) struct OpenKey {
    pub(crate) public: Public,
    pub(crate) secret: Secret,
}

#[derive(Clone)]
pub(crate) struct Public {
    pub(crate) key: PublicKey,
    pub(crate) certificate: Option<Certificate>,
}

/// The keys of one run.
#[derive(Default)]
pub(crate) struct KeyRing {
    prompt: Option<Arc<dyn PassphrasePrompt>>,
    files: std::sync::Mutex<BTreeMap<PathBuf, KeyFile>>,
    /// Held while somebody is asked: one question at a time.
    asking: tokio::sync::Mutex<()>,
}

impl KeyRing {
    pub(crate) fn new(prompt: Option<Arc<dyn PassphrasePrompt>>) -> Self {
        Self { prompt, ..Self::default() }
    }

    pub(crate) fn get(&self, path: &Path) -> KeyFile {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.entry(path.to_owned()).or_insert_with(|| read(path).unwrap_or_else(KeyFile::Unusable)).clone()
    }

    /// Opens a locked key; whoever comes while the question is asked gets the same answer.
    pub(crate) async fn unlock(self: &Arc<Self>, path: &Path) -> KeyFile {
        let _one_at_a_time = self.asking.lock().await;
        let now = self.get(path);
        if !matches!(now, KeyFile::Locked(_)) {
            return now;
        }
        let (ring, file) = (self.clone(), path.to_owned());
        let opened = tokio::task::spawn_blocking(move || ring.ask(&file)).await;
        let opened = match opened {
            Ok(Ok(key)) => KeyFile::Open(Arc::new(key)),
            Ok(Err(reason)) => KeyFile::Unusable(reason),
            Err(crash) => KeyFile::Unusable(crash.to_string()),
        };
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), opened.clone());
        opened
    }

    fn ask(&self, path: &Path) -> Result<OpenKey, String> {
        let prompt = self.prompt.as_ref().ok_or("it is protected by a passphrase and there is nobody to ask for it")?;
        let text = text(path)?;
        for attempt in 1..=MAX_PASSPHRASES {
            let passphrase = prompt.ask(path, attempt)?;
            let opened = match PrivateKey::from_openssh(text.as_str()) {
                Ok(key) => key.decrypt(passphrase.as_bytes()).map_err(|error| chain(&error)),
                Err(_) => decode_secret_key(&text, Some(&passphrase)).map_err(|error| chain(&error)),
            };
            match opened {
                Ok(key) => return open(key, path),
                Err(reason) => tracing::debug!(key = %path.display(), reason, "the passphrase does not open the key"),
            }
        }
        Err(format!("none of {MAX_PASSPHRASES} passphrases opens it"))
    }
}

fn text(path: &Path) -> Result<Zeroizing<String>, String> {
    let length = fs_err::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_KEY_BYTES {
        return Err(format!("it has {length} bytes, which no key has"));
    }
    fs_err::read_to_string(path).map(Zeroizing::new).map_err(|error| error.to_string())
}

fn read(path: &Path) -> Result<KeyFile, String> {
    let text = text(path)?;
    let key = match PrivateKey::from_openssh(text.as_str()) {
        Ok(key) => key,
        Err(other_format) => {
            if let Some(pair) = rsa_pem(&text) {
                let public = with_certificate(rsa::public(&pair)?, path)?;
                return Ok(KeyFile::Open(Arc::new(OpenKey { public, secret: Secret::Rsa(pair) })));
            }
            match decode_secret_key(&text, None) {
                Ok(key) => key,
                Err(russh::keys::Error::KeyIsEncrypted) => return locked_pem(path),
                Err(russh::keys::Error::CouldNotReadKey) => return Err(chain(&other_format)),
                Err(error) => return Err(chain(&error)),
            }
        }
    };
    if key.is_encrypted() {
        return Ok(KeyFile::Locked(Box::new(with_certificate(key.public_key().clone(), path)?)));
    }
    open(key, path).map(|key| KeyFile::Open(Arc::new(key)))
}

/// An encrypted key of an older format hides its public half, which lies beside it then.
fn locked_pem(path: &Path) -> Result<KeyFile, String> {
    let beside = beside(path, ".pub");
    let key = fs_err::read_to_string(&beside).ok().and_then(|text| PublicKey::from_openssh(text.trim()).ok());
    let key = key.ok_or_else(|| {
        format!("it is protected by a passphrase and {} is not there to tell which key it is", beside.display())
    })?;
    Ok(KeyFile::Locked(Box::new(with_certificate(key, path)?)))
}

fn open(key: PrivateKey, path: &Path) -> Result<OpenKey, String> {
    let public = with_certificate(key.public_key().clone(), path)?;
    let secret = match key.key_data() {
        KeypairData::Rsa(pair) => Secret::Rsa(rsa::from_openssh(pair)?),
        KeypairData::Ed25519(_) | KeypairData::Ecdsa(_) => Secret::OpenSsh(Arc::new(key)),
        _ => return Err(format!("{} keys are not used here", key.algorithm().as_str())),
    };
    Ok(OpenKey { public, secret })
}

fn with_certificate(key: PublicKey, path: &Path) -> Result<Public, String> {
    strong(&key)?;
    let beside = beside(path, "-cert.pub");
    let text = fs_err::read_to_string(&beside).ok();
    let certificate = text.and_then(|text| match Certificate::from_openssh(text.trim()) {
        Ok(certificate) if certificate.public_key() == key.key_data() => Some(certificate),
        Ok(_) => {
            tracing::warn!(certificate = %beside.display(), "it is for another key and is not used");
            None
        }
        Err(error) => {
            tracing::warn!(certificate = %beside.display(), %error, "it cannot be read");
            None
        }
    });
    Ok(Public { key, certificate })
}

/// Refuses RSA keys that are too short to prove anything.
pub(crate) fn strong(key: &PublicKey) -> Result<(), String> {
    match key.key_data().rsa().map(russh::keys::ssh_key::public::RsaPublicKey::key_size) {
        Some(bits) if bits < MIN_RSA_BITS => Err(format!("an RSA key of {bits} bits; at least {MIN_RSA_BITS} count")),
        _ => Ok(()),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// An RSA key in one of the two older formats without a passphrase.
fn rsa_pem(text: &str) -> Option<KeyPair> {
    for (label, read) in [
        (PEM_RSA, KeyPair::from_der as fn(&[u8]) -> Result<KeyPair, aws_lc_rs::error::KeyRejected>),
        (PEM_PKCS8, KeyPair::from_pkcs8),
    ] {
        let Some((_, after)) = text.split_once(&format!("-----BEGIN {label}-----")) else { continue };
        let (body, _) = after.split_once("-----END ")?;
        // Headers mean encryption.
        if body.contains(':') {
            return None;
        }
        let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
        let der = Zeroizing::new(STANDARD.decode(body.as_bytes()).ok()?);
        return read(&der).ok();
    }
    None
}
