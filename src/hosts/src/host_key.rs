//! Judging the key that a host shows, and asking for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::algorithms::HOST_KEYS;
use crate::known_hosts::{self, KnownHosts, Recorded, Verdict};
use crate::session::{self, EventSink};
use crate::{Deadlines, HostAddress, HostError, HostEvent, HostKeyPolicy};

/// What the handshake leaves behind for the one who waits for it.
pub(crate) type Finding = Arc<Mutex<Option<HostError>>>;

/// Decides on one host's key.
#[derive(Clone)]
pub(crate) struct Judge {
    host: HostAddress,
    policy: HostKeyPolicy,
    recorded: Recorded,
    finding: Finding,
    events: EventSink,
}

impl Judge {
    pub(crate) fn new(host: &HostAddress, policy: &HostKeyPolicy, known: &KnownHosts, events: EventSink) -> Self {
        let recorded = known.about(&host.address, &host.name, host.port);
        Self { host: host.clone(), policy: policy.clone(), recorded, finding: Finding::default(), events }
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
            _ => self.recorded.algorithms(),
        };
        let mut algorithms: Vec<Algorithm> =
            recorded.into_iter().filter(|algorithm| HOST_KEYS.contains(algorithm)).collect();
        for algorithm in HOST_KEYS {
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }

    /// Kinds of certificates to ask for: none unless an authority is recorded for this host.
    pub(crate) fn certificate_algorithms(&self) -> Vec<Algorithm> {
        let is_pinned = matches!(self.policy, HostKeyPolicy::Pinned(_));
        if is_pinned || self.recorded.authorities().is_empty() { Vec::new() } else { HOST_KEYS.to_vec() }
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
        match &self.policy {
            HostKeyPolicy::Pinned(pins) => self.judge_pins(key, pins),
            _ => match self.recorded.judge(key) {
                Verdict::Unknown => self.unknown(key),
                verdict => self.as_recorded(key, verdict),
            },
        }
    }

    fn as_recorded(&self, key: &PublicKey, verdict: Verdict) -> Result<(), HostError> {
        let (host, address, found) = (self.host.name.clone(), self.host.address.clone(), fingerprint(key));
        match verdict {
            Verdict::Known => Ok(()),
            Verdict::Unknown => {
                Err(HostError::HostKeyUnknown { host, address, key: known_hosts::openssh(key), fingerprint: found })
            }
            Verdict::Revoked { place } => Err(HostError::HostKeyRevoked { host, address, found, place }),
            Verdict::Changed { recorded, place } => {
                Err(HostError::HostKeyChanged { host, address, found, recorded: fingerprint(&recorded), place })
            }
        }
    }

    fn judge_pins(&self, key: &PublicKey, pins: &[String]) -> Result<(), HostError> {
        let host = self.host.name.clone();
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
        let (address, recorded) = (self.host.address.clone(), recorded.join(", "));
        let place = "hostKey in the inventory".to_owned();
        Err(HostError::HostKeyChanged { host, address, found: fingerprint(key), recorded, place })
    }

    fn unknown(&self, key: &PublicKey) -> Result<(), HostError> {
        let HostKeyPolicy::AcceptNew(files) = &self.policy else { return self.as_recorded(key, Verdict::Unknown) };
        let Some(file) = files.first() else { return self.as_recorded(key, Verdict::Unknown) };
        let added = known_hosts::add(file, &self.host.address, self.host.port, key)
            .map_err(|source| HostError::KnownHosts { host: self.host.name.clone(), source })?;
        if let Some(recorded) = added {
            return self.as_recorded(key, recorded);
        }
        (self.events)(HostEvent::HostKeyAccepted {
            host: self.host.name.clone(),
            address: self.host.address.clone(),
            fingerprint: fingerprint(key),
            file: file.clone(),
        });
        Ok(())
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
        for key in [certificate.public_key(), certificate.signature_key()] {
            if let Some(place) = self.recorded.revoked(key) {
                let (host, address) = (self.host.name.clone(), self.host.address.clone());
                let found = fingerprint(&PublicKey::from(key.clone()));
                return Err(HostError::HostKeyRevoked { host, address, found, place: place.to_owned() });
            }
        }
        let names = certificate.valid_principals();
        let ours = [self.host.address.to_ascii_lowercase(), self.host.name.to_ascii_lowercase()];
        if !names.iter().any(|pattern| ours.iter().any(|name| known_hosts::covers(pattern, name))) {
            return refuse(&format!("it is made for [{}]", names.join(", ")));
        }
        let authorities = self.recorded.authorities();
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
    let policy = HostKeyPolicy::KnownHosts(Vec::new());
    let judge = Judge::new(&host, &policy, &KnownHosts::default(), Arc::new(|_| ()));
    let deadlines = Deadlines { connect: deadline, login: deadline, ..Deadlines::default() };
    let stream = session::open(&host, &deadlines).await?;
    match session::handshake(&host, stream, judge, &deadlines).await {
        Err(HostError::HostKeyUnknown { key, .. }) => Ok(key),
        Err(error) => Err(error),
        Ok(_) => Err(HostError::Broken { host: host.name, reason: "the host showed no key".to_owned() }),
    }
}
