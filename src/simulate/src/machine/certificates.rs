//! Keys, authorities and certificates without cryptography: who made which key, who signed what for how long. The
//! texts that travel as PEM are their JSON.

use std::sync::Arc;

use naru_agent::{Failure, FailureKind};
use naru_resources::{Certificate, Usage};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::files::sha256;
use super::{Body, Machine};

const MS_PER_SECOND: i64 = 1_000;

/// A key is known by the host that made it and a number: `cp1#1`.
pub type Key = String;

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signer {
    pub key: Key,
    pub common_name: String,
}

impl Signer {
    /// As `Facts` report it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        sha256(self.key.as_bytes())
    }
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    pub key: Key,
    pub signer: Signer,
    pub common_name: String,
    pub organizations: Vec<String>,
    pub alternative_names: Vec<String>,
    pub usages: Vec<Usage>,
    pub not_before_ms: i64,
    pub not_after_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct SigningRequest {
    key: Key,
}

pub(crate) fn refused(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Permanent, message: message.into(), detail: None, hint: None }
}

impl Issued {
    /// Why it does not do for this resource, if it does not.
    fn difference(&self, wanted: &Certificate) -> Option<String> {
        let sorted = |names: &[String]| {
            let mut names = names.to_vec();
            names.sort();
            names.dedup();
            names
        };
        if self.common_name != wanted.common_name {
            return Some(format!("its name is {} instead of {}", self.common_name, wanted.common_name));
        }
        let (has, wants) = (sorted(&self.organizations), sorted(&wanted.organizations));
        if has != wants {
            return Some(format!("its organization is [{}] instead of [{}]", has.join(", "), wants.join(", ")));
        }
        let (has, wants) = (sorted(&self.alternative_names), sorted(&wanted.alternative_names));
        if has != wants {
            return Some(format!("it covers [{}] instead of [{}]", has.join(", "), wants.join(", ")));
        }
        let same = wanted.usages.iter().all(|usage| self.usages.contains(usage))
            && self.usages.iter().all(|usage| wanted.usages.contains(usage));
        (!same).then(|| "its usage differs".to_owned())
    }

    /// Less than a third of its life is left, or it has not begun.
    fn is_due(&self, now_ms: i64) -> bool {
        (self.not_after_ms - now_ms) * 3 < self.not_after_ms - self.not_before_ms || now_ms < self.not_before_ms
    }
}

impl Machine {
    pub(crate) fn private_key(&self, path: &str) -> Option<Key> {
        match &self.files.get(path)?.body {
            Body::PrivateKey(key) => Some(key.clone()),
            _ => None,
        }
    }

    #[must_use]
    pub fn authority(&self, path: &str) -> Option<Signer> {
        match &self.files.get(path)?.body {
            Body::Authority(signer) => Some(Signer::clone(signer)),
            _ => None,
        }
    }

    #[must_use]
    pub fn certificate(&self, path: &str) -> Option<Arc<Issued>> {
        match &self.files.get(path)?.body {
            Body::Certificate(issued) => Some(issued.clone()),
            _ => None,
        }
    }

    /// Why a certificate has to be made anew.
    pub(crate) fn certificate_reason(&self, wanted: &Certificate) -> Option<String> {
        if !self.files.contains_key(&wanted.certificate_path) {
            return Some("there is none".to_owned());
        }
        let Some(issued) = self.certificate(&wanted.certificate_path) else {
            return Some("it cannot be read".to_owned());
        };
        let Some(key) = self.private_key(&wanted.key_path) else { return Some("its key is not there".to_owned()) };
        if issued.key != key {
            return Some("it belongs to another key".to_owned());
        }
        match self.authority(&wanted.authority_path) {
            None => return Some("its authority is not there".to_owned()),
            Some(authority) if authority != issued.signer => {
                return Some("another authority signed it".to_owned());
            }
            Some(_) => {}
        }
        if let Some(difference) = issued.difference(wanted) {
            return Some(difference);
        }
        let days_left = (issued.not_after_ms - self.clock_unix_ms).div_euclid(86_400 * MS_PER_SECOND);
        issued.is_due(self.clock_unix_ms).then(|| format!("it has {days_left} days left"))
    }

    /// Makes the key if it is not there and answers a signing request.
    pub fn signing_request(&mut self, wanted: &Certificate) -> String {
        let key = match self.private_key(&wanted.key_path) {
            Some(key) => {
                if let Some(file) = self.files.get_mut(&wanted.key_path).filter(|file| file.mode != 0o600) {
                    (file.mode, file.changed_unix_ms) = (0o600, self.clock_unix_ms);
                }
                key
            }
            None => {
                let key = self.new_key();
                self.put(&wanted.key_path, Body::PrivateKey(key.clone()), 0o600);
                key
            }
        };
        json!(SigningRequest { key }).to_string()
    }

    /// # Errors
    /// When the authority is not on this host, or the request is none.
    pub fn sign(
        &self,
        request_pem: &str,
        wanted: &Certificate,
        authority_key_path: &str,
    ) -> Result<(String, String), Failure> {
        let request: SigningRequest =
            serde_json::from_str(request_pem).map_err(|error| refused(format!("no signing request: {error}")))?;
        let signer = self.authority(&wanted.authority_path);
        let (Some(signer), Some(key)) = (signer, self.private_key(authority_key_path)) else {
            return Err(refused(format!("the authority at {authority_key_path} is not on this host")));
        };
        if signer.key != key {
            return Err(refused("the authority's certificate does not belong to its key"));
        }
        let life_ms = i64::try_from(wanted.validity().as_millis()).unwrap_or(i64::MAX);
        let issued = Issued {
            key: request.key,
            signer: signer.clone(),
            common_name: wanted.common_name.clone(),
            organizations: wanted.organizations.clone(),
            alternative_names: wanted.alternative_names.clone(),
            usages: wanted.usages.clone(),
            // A moment earlier, since clocks differ.
            not_before_ms: self.clock_unix_ms - 300 * MS_PER_SECOND,
            not_after_ms: self.clock_unix_ms + life_ms,
        };
        Ok((json!(issued).to_string(), json!(signer).to_string()))
    }

    /// The two files that a certificate becomes, as far as they are not there already.
    ///
    /// # Errors
    /// When the certificate does not belong to the key here, or the authority did not sign it.
    pub fn certificate_files(
        &self,
        wanted: &Certificate,
        certificate_pem: &str,
        authority_pem: &str,
    ) -> Result<Vec<(String, Body)>, Failure> {
        let unreadable = |error: serde_json::Error| refused(format!("no certificate: {error}"));
        let issued: Issued = serde_json::from_str(certificate_pem).map_err(unreadable)?;
        let signer: Signer = serde_json::from_str(authority_pem).map_err(unreadable)?;
        if self.private_key(&wanted.key_path) != Some(issued.key.clone()) || issued.signer != signer {
            let path = &wanted.certificate_path;
            return Err(refused(format!("the certificate for {path} does not belong to the key there")));
        }
        let files = [
            (wanted.authority_path.clone(), Body::Authority(Arc::new(signer))),
            (wanted.certificate_path.clone(), Body::Certificate(Arc::new(issued))),
        ];
        let differs = |path: &str, body: &Body| self.files.get(path).is_none_or(|file| file.body != *body);
        Ok(files.into_iter().filter(|(path, body)| differs(path, body)).collect())
    }
}
