//! Judging the key that a host shows, and asking for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::known_hosts::{self, KnownHosts, Verdict};
use crate::{Deadlines, HostAddress, HostError, HostKeyPolicy, session};

/// Kinds of host keys that we can check, most wanted first.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
];

/// What the handshake leaves behind for the one who waits for it.
pub(crate) type Finding = Arc<Mutex<Option<HostError>>>;

/// Decides on one host's key.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    host: HostAddress,
    policy: HostKeyPolicy,
    known: KnownHosts,
    finding: Finding,
}

impl Judge {
    pub(crate) fn new(host: &HostAddress, policy: &HostKeyPolicy) -> Result<Self, HostError> {
        let known = KnownHosts::load(policy.files())
            .map_err(|source| HostError::KnownHosts { host: host.name.clone(), source })?;
        Ok(Self { host: host.clone(), policy: policy.clone(), known, finding: Finding::default() })
    }

    pub(crate) fn finding(&self) -> Finding {
        self.finding.clone()
    }

    /// Kinds of keys to ask for: recorded ones first, or a host would show one that nobody recorded.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let recorded = match &self.policy {
            HostKeyPolicy::Pinned(pins) => {
                pins.iter().filter_map(|pin| PublicKey::from_openssh(pin).ok()).map(|key| key.algorithm()).collect()
            }
            _ => self.known.algorithms(&self.host.address, self.host.port),
        };
        let mut algorithms: Vec<Algorithm> =
            recorded.into_iter().filter(|algorithm| ALGORITHMS.contains(algorithm)).collect();
        for algorithm in ALGORITHMS {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }

    /// Kinds of certificates to ask for: none unless an authority is recorded for this host.
    pub(crate) fn certificate_algorithms(&self) -> Vec<Algorithm> {
        let has_authority = !self.known.authorities(&self.host.address, self.host.port).is_empty();
        if has_authority { ALGORITHMS.to_vec() } else { Vec::new() }
    }

    /// Whether to go on; the reason for a no is left in the finding.
    pub(crate) fn judge(&self, shown: &PublicKeyOrCertificate) -> bool {
        let verdict = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.judge_key(key),
            PublicKeyOrCertificate::Certificate(certificate) => self.judge_certificate(certificate),
        };
        match verdict {
            Ok(()) => true,
            Err(error) => {
                *self.finding.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
                false
            }
        }
    }

    fn judge_key(&self, key: &PublicKey) -> Result<(), HostError> {
        let (host, address) = (self.host.name.clone(), self.host.address.clone());
        let found = fingerprint(key);
        let pins = match &self.policy {
            HostKeyPolicy::Pinned(pins) => pins,
            _ => {
                return match self.known.judge(&self.host.address, self.host.port, key) {
                    Verdict::Known => Ok(()),
                    Verdict::Unknown => self.unknown(key),
                    Verdict::Revoked { place } => Err(HostError::HostKeyRevoked { host, address, found, place }),
                    Verdict::Changed { recorded, place } => {
                        let recorded = fingerprint(&recorded);
                        Err(HostError::HostKeyChanged { host, address, found, recorded, place })
                    }
                };
            }
        };
        let mut recorded = Vec::new();
        let digest = key.fingerprint(HashAlg::Sha256).to_string();
        for pin in pins {
            let pinned =
                pinned_digest(pin).ok_or_else(|| HostError::PinnedKey { host: host.clone(), text: pin.clone() })?;
            if pinned == digest {
                return Ok(());
            }
            recorded.push(pinned);
        }
        let place = "hostKey in the inventory".to_owned();
        Err(HostError::HostKeyChanged { host, address, found, recorded: recorded.join(", "), place })
    }

    fn unknown(&self, key: &PublicKey) -> Result<(), HostError> {
        if let HostKeyPolicy::AcceptNew(files) = &self.policy
            && let Some(file) = files.first()
        {
            tracing::info!(host = self.host.name, fingerprint = fingerprint(key), "new host key accepted");
            return known_hosts::append(file, &self.host.address, self.host.port, key)
                .map_err(|source| HostError::KnownHosts { host: self.host.name.clone(), source });
        }
        Err(HostError::HostKeyUnknown {
            host: self.host.name.clone(),
            address: self.host.address.clone(),
            key: known_hosts::openssh(key),
            fingerprint: fingerprint(key),
        })
    }

    fn judge_certificate(&self, certificate: &Certificate) -> Result<(), HostError> {
        let refuse = |reason: &str| {
            Err(HostError::HostCertificate {
                host: self.host.name.clone(),
                address: self.host.address.clone(),
                reason: reason.to_owned(),
            })
        };
        if certificate.cert_type() != CertType::Host {
            return refuse("it is made for a user, not for a host");
        }
        if certificate.critical_options().iter().next().is_some() {
            return refuse("it has critical options that nobody here understands");
        }
        let names = certificate.valid_principals();
        if !names.iter().any(|pattern| known_hosts::covers(pattern, &self.host.address.to_ascii_lowercase())) {
            return refuse(&format!("it is made for [{}]", names.join(", ")));
        }
        let authorities = self.known.authorities(&self.host.address, self.host.port);
        let trusted: Vec<_> = authorities.iter().map(|key| key.fingerprint(HashAlg::Sha256)).collect();
        match certificate.validate(&trusted) {
            Ok(()) => Ok(()),
            Err(_) => refuse("it has ended, or an authority signed it that is not in known_hosts"),
        }
    }
}

pub(crate) fn fingerprint(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm().as_str(), key.fingerprint(HashAlg::Sha256))
}

/// `SHA256:…` of a pin in either of its two forms.
fn pinned_digest(pin: &str) -> Option<String> {
    let pin = pin.trim();
    if let Ok(key) = PublicKey::from_openssh(pin) {
        return Some(key.fingerprint(HashAlg::Sha256).to_string());
    }
    pin.starts_with("SHA256:").then(|| pin.trim_end_matches('=').to_owned())
}

/// The key that a host shows now (`ssh-ed25519 AAAA…`), without any proof that it is the right one.
pub async fn scan_host_key(address: &str, port: u16, deadline: Duration) -> Result<String, HostError> {
    let host = HostAddress { name: address.to_owned(), address: address.to_owned(), port, user: "root".to_owned() };
    let judge = Judge::new(&host, &HostKeyPolicy::KnownHosts(Vec::new()))?;
    let deadlines = Deadlines { connect: deadline, login: deadline, ..Deadlines::default() };
    match session::handshake(&host, judge, &deadlines).await {
        Err(HostError::HostKeyUnknown { key, .. }) => Ok(key),
        Err(error) => Err(error),
        Ok(_) => Err(HostError::Broken { host: host.name, reason: "the host showed no key".to_owned() }),
    }
}
