//! Proving who we are: the keys and certificates of an ssh-agent, then those in files.

use std::path::{Path, PathBuf};

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKeyWithHashAlg, PublicKey};

use crate::algorithms::RSA_HASH;
use crate::error::chain;
use crate::keys::{self, KeyFile, KeyRing, Public, Secret};
use crate::rsa::{LockedSigner, RsaSigner, SignError};
use crate::session::Handler;
use crate::{Credentials, HostAddress, HostError};

/// Keys of an agent that are offered; hosts close the door after six wrong ones by default.
const MAX_AGENT_KEYS: usize = 5;

/// Why nobody is logged in.
pub(crate) enum NoLogin {
    /// The host takes this key, which has to be opened first.
    Locked(PathBuf),
    Failed(Box<HostError>),
}

impl From<HostError> for NoLogin {
    fn from(error: HostError) -> Self {
        Self::Failed(Box::new(error))
    }
}

pub(crate) struct Login<'a> {
    pub(crate) host: &'a HostAddress,
    pub(crate) handle: &'a mut Handle<Handler>,
    pub(crate) keys: &'a KeyRing,
    tried: Vec<String>,
    methods: String,
    /// Keys that the host has seen already.
    offered: Vec<PublicKey>,
}

impl<'a> Login<'a> {
    pub(crate) fn new(host: &'a HostAddress, handle: &'a mut Handle<Handler>, keys: &'a KeyRing) -> Self {
        Self { host, handle, keys, tried: Vec::new(), methods: "nothing".to_owned(), offered: Vec::new() }
    }

    pub(crate) async fn run(mut self, credentials: &Credentials) -> Result<(), NoLogin> {
        if let Some(socket) = &credentials.agent_socket {
            match self.with_agent(socket, credentials).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(reason) => self.tried.push(format!("ssh-agent {}: {reason}", socket.display())),
            }
        }
        let mut unusable = None;
        for path in &credentials.identity_files {
            match self.keys.get(path) {
                KeyFile::Unusable(reason) => {
                    self.tried.push(format!("{}: {reason}", path.display()));
                    unusable.get_or_insert((path.display().to_string(), reason));
                }
                KeyFile::Locked(public) => {
                    if !self.has_offered(&public.key) && self.would_take(&public).await? {
                        return Err(NoLogin::Locked(path.clone()));
                    }
                    self.tried.push(format!("{}: refused", path.display()));
                }
                KeyFile::Open(key) => {
                    if !self.has_offered(&key.public.key) && self.with_key(&key.public, &key.secret).await? {
                        return Ok(());
                    }
                    self.tried.push(format!("{}: refused", path.display()));
                }
            }
        }
        let (host, user) = (self.host.name.clone(), self.host.user.clone());
        match unusable {
            // Nothing was ever offered to the host, so it is not the host that refuses.
            Some((path, reason)) if self.offered.is_empty() => Err(HostError::Identity { host, path, reason }.into()),
            _ => Err(HostError::Authentication { host, user, tried: self.tried, methods: self.methods }.into()),
        }
    }

    fn has_offered(&self, key: &PublicKey) -> bool {
        self.offered.iter().any(|offered| offered.key_data() == key.key_data())
    }

    async fn with_agent(&mut self, socket: &Path, credentials: &Credentials) -> Result<bool, String> {
        let mut agent = AgentClient::connect_uds(socket).await.map_err(|error| chain(&error))?;
        let identities = agent.request_identities().await.map_err(|error| chain(&error))?;
        for identity in self.wanted(identities, credentials) {
            let key = identity.public_key().into_owned();
            if let Err(reason) = keys::strong(&key) {
                self.tried.push(format!("ssh-agent key {}: {reason}", identity.comment()));
                continue;
            }
            let hash = key.algorithm().is_rsa().then_some(RSA_HASH);
            let user = self.host.user.clone();
            let result = match &identity {
                AgentIdentity::PublicKey { key, .. } => {
                    self.handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    self.handle.authenticate_certificate_with(user, certificate.clone(), hash, &mut agent).await
                }
            };
            let is_plain = matches!(identity, AgentIdentity::PublicKey { .. });
            match result {
                Ok(result) if self.accepted(&result) => return Ok(true),
                Ok(_) => self.tried.push(format!("ssh-agent key {}: refused", identity.comment())),
                Err(error) => self.tried.push(format!("ssh-agent key {}: {}", identity.comment(), chain(&error))),
            }
            if is_plain {
                self.offered.push(key);
            }
        }
        Ok(false)
    }

    /// Those of the files first, as they were named; the others only if nothing else was asked for.
    fn wanted(&self, identities: Vec<AgentIdentity>, credentials: &Credentials) -> Vec<AgentIdentity> {
        let named: Vec<PublicKey> = credentials
            .identity_files
            .iter()
            .filter_map(|path| match self.keys.get(path) {
                KeyFile::Open(key) => Some(key.public.key.clone()),
                KeyFile::Locked(public) => Some(public.key),
                KeyFile::Unusable(_) => None,
            })
            .collect();
        let is_named = |identity: &AgentIdentity| {
            named.iter().any(|key| key.key_data() == identity.public_key().into_owned().key_data())
        };
        let (mut wanted, others): (Vec<_>, Vec<_>) = identities.into_iter().partition(is_named);
        if !credentials.only_these {
            wanted.extend(others);
        }
        wanted.truncate(MAX_AGENT_KEYS);
        wanted
    }

    /// Whether the host would take a key that is not open yet.
    async fn would_take(&mut self, public: &Public) -> Result<bool, HostError> {
        let user = self.host.user.clone();
        let hash = public.key.algorithm().is_rsa().then_some(RSA_HASH);
        if let Some(certificate) = public.certificate.clone() {
            let signer = &mut LockedSigner;
            match self.handle.authenticate_certificate_with(user.clone(), certificate, hash, signer).await {
                Err(SignError::Locked) => return Ok(true),
                Err(error) => return Err(self.broken(&error)),
                Ok(result) => self.accepted(&result),
            };
        }
        self.offered.push(public.key.clone());
        match self.handle.authenticate_publickey_with(user, public.key.clone(), hash, &mut LockedSigner).await {
            Err(SignError::Locked) => Ok(true),
            Err(error) => Err(self.broken(&error)),
            Ok(result) => Ok(self.accepted(&result)),
        }
    }

    async fn with_key(&mut self, public: &Public, secret: &Secret) -> Result<bool, HostError> {
        let user = self.host.user.clone();
        if let Some(certificate) = public.certificate.clone() {
            let result = match secret {
                Secret::OpenSsh(key) => {
                    let result = self.handle.authenticate_openssh_cert(user.clone(), key.clone(), certificate).await;
                    result.map_err(|error| self.broken(&error))?
                }
                Secret::Rsa(pair) => {
                    let (hash, mut signer) = (Some(RSA_HASH), RsaSigner(pair));
                    let user = user.clone();
                    let result = self.handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await;
                    result.map_err(|error| self.broken(&error))?
                }
            };
            if self.accepted(&result) {
                return Ok(true);
            }
        }
        self.offered.push(public.key.clone());
        let result = match secret {
            Secret::OpenSsh(key) => {
                let key = PrivateKeyWithHashAlg::new(key.clone(), None);
                self.handle.authenticate_publickey(user, key).await.map_err(|error| self.broken(&error))?
            }
            Secret::Rsa(pair) => {
                let (hash, mut signer) = (Some(RSA_HASH), RsaSigner(pair));
                let result = self.handle.authenticate_publickey_with(user, public.key.clone(), hash, &mut signer).await;
                result.map_err(|error| self.broken(&error))?
            }
        };
        Ok(self.accepted(&result))
    }

    fn accepted(&mut self, result: &AuthResult) -> bool {
        match result {
            AuthResult::Success => true,
            AuthResult::Failure { remaining_methods, .. } => {
                let names: Vec<String> = remaining_methods.iter().map(String::from).collect();
                self.methods = names.join(", ");
                false
            }
        }
    }

    fn broken(&self, error: &dyn std::error::Error) -> HostError {
        HostError::Broken { host: self.host.name.clone(), reason: chain(error) }
    }
}
