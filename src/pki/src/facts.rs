//! What a certificate says, read from its PEM text.

use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

use crate::{PkiError, PrivateKey, Profile, Purpose};

const SECONDS_PER_DAY: i64 = 86_400;

/// The facts of one certificate.
#[derive(Debug, Clone)]
pub struct CertificateFacts {
    pub common_name: String,
    pub organizations: Vec<String>,
    /// DNS names and IP addresses in the order of the certificate.
    pub alternative_names: Vec<String>,
    pub purposes: Vec<Purpose>,
    pub issuer_common_name: String,
    pub is_authority: bool,
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// SHA-256 of the DER form, lower-case hexadecimal.
    pub fingerprint: String,
    der: Vec<u8>,
    public_key: Vec<u8>,
}

impl CertificateFacts {
    /// Reads the first certificate of a PEM text.
    pub fn read(pem: &str) -> Result<Self, PkiError> {
        Self::from_der(&pem_block(pem)?.contents)
    }

    /// Reads a certificate as it comes over TLS.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let certificate = parse(der)?;
        let (alternative_names, purposes) = extensions(&certificate)?;
        Ok(Self {
            common_name: first(certificate.subject().iter_common_name()),
            organizations: certificate.subject().iter_organization().filter_map(text).collect(),
            alternative_names,
            purposes,
            issuer_common_name: first(certificate.issuer().iter_common_name()),
            is_authority: certificate.is_ca(),
            serial: certificate.raw_serial_as_string(),
            not_before: timestamp(certificate.validity().not_before.timestamp())?,
            not_after: timestamp(certificate.validity().not_after.timestamp())?,
            fingerprint: fingerprint(der),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
            der: der.to_vec(),
        })
    }

    /// Whether the key of this authority made the signature.
    pub fn is_signed_by(&self, authority_pem: &str) -> Result<bool, PkiError> {
        let block = pem_block(authority_pem)?;
        let authority = parse(&block.contents)?;
        let certificate = parse(&self.der)?;
        Ok(certificate.issuer() == authority.subject()
            && certificate.verify_signature(Some(authority.public_key())).is_ok())
    }

    /// Whether this certificate certifies that key.
    #[must_use]
    pub fn belongs_to(&self, key: &PrivateKey) -> bool {
        key.matches_public(&self.public_key)
    }

    /// Whole days until the end; negative once it is over.
    #[must_use]
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.not_after.as_second() - now.as_second()).div_euclid(SECONDS_PER_DAY)
    }

    /// Less than a third of its life is left (or it is over, or not yet begun).
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let life_seconds = self.not_after.as_second() - self.not_before.as_second();
        let left_seconds = self.not_after.as_second() - now.as_second();
        left_seconds * 3 < life_seconds || now < self.not_before
    }

    /// In which way the certificate differs from the profile, in words; `None` when it says the same.
    #[must_use]
    pub fn difference(&self, profile: &Profile) -> Option<String> {
        if self.common_name != profile.common_name {
            return Some(format!("its name is {} instead of {}", self.common_name, profile.common_name));
        }
        if sorted(&self.organizations) != sorted(&profile.organizations) {
            let (has, wanted) = (self.organizations.join(", "), profile.organizations.join(", "));
            return Some(format!("its organization is [{has}] instead of [{wanted}]"));
        }
        let (has, wanted) = (sorted(&self.alternative_names), sorted(&normalized(&profile.alternative_names)));
        if has != wanted {
            return Some(format!("it covers [{}] instead of [{}]", has.join(", "), wanted.join(", ")));
        }
        let same_purposes = profile.purposes.iter().all(|purpose| self.purposes.contains(purpose))
            && self.purposes.iter().all(|purpose| profile.purposes.contains(purpose));
        (!same_purposes).then(|| "its usage differs".to_owned())
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    names
}

/// Addresses have several spellings; a certificate shows the canonical one.
fn normalized(names: &[String]) -> Vec<String> {
    names.iter().map(|name| name.parse::<IpAddr>().map_or_else(|_| name.clone(), |ip| ip.to_string())).collect()
}

fn pem_block(pem: &str) -> Result<Pem, PkiError> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
        .map_err(|error| PkiError::Certificate { reason: error.to_string() })?;
    Ok(block)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der)
        .map_err(|error| PkiError::Certificate { reason: error.to_string() })?;
    Ok(certificate)
}

fn extensions(certificate: &X509Certificate<'_>) -> Result<(Vec<String>, Vec<Purpose>), PkiError> {
    let bad = |error: x509_parser::error::X509Error| PkiError::Certificate { reason: error.to_string() };
    let names = match certificate.subject_alternative_name().map_err(bad)? {
        None => Vec::new(),
        Some(extension) => extension.value.general_names.iter().filter_map(general_name).collect(),
    };
    let mut purposes = Vec::new();
    if let Some(usage) = certificate.extended_key_usage().map_err(bad)? {
        if usage.value.server_auth {
            purposes.push(Purpose::Server);
        }
        if usage.value.client_auth {
            purposes.push(Purpose::Client);
        }
    }
    Ok((names, purposes))
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|octets| IpAddr::from(octets).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|octets| IpAddr::from(octets).to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn text(attribute: &x509_parser::x509::AttributeTypeAndValue<'_>) -> Option<String> {
    attribute.as_str().ok().map(str::to_owned)
}

fn first<'a>(mut attributes: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>) -> String {
    attributes.next().and_then(text).unwrap_or_default()
}

fn timestamp(unix_seconds: i64) -> Result<Timestamp, PkiError> {
    Timestamp::from_second(unix_seconds).map_err(|error| PkiError::Certificate { reason: error.to_string() })
}

fn fingerprint(der: &[u8]) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    fn profile() -> Profile {
        Profile {
            common_name: "kube-apiserver".to_owned(),
            organizations: Vec::new(),
            alternative_names: vec!["kubernetes".to_owned(), "10.96.0.1".to_owned()],
            purposes: vec![Purpose::Server],
            validity: Profile::days(30),
        }
    }

    #[test]
    fn days_left_and_the_last_third() {
        let authority = Authority::generate("naru", 10).unwrap();
        let facts = CertificateFacts::read(&authority.issue(&profile()).unwrap().0).unwrap();
        let now = Timestamp::now();
        let in_days = |days: i64| Timestamp::from_second(now.as_second() + days * SECONDS_PER_DAY).unwrap();
        assert!((29..=30).contains(&facts.days_left(now)));
        assert!(!facts.is_due(now), "fresh");
        assert!(!facts.is_due(in_days(19)));
        assert!(facts.is_due(in_days(21)), "nine of thirty days left");
        assert!(facts.is_due(in_days(31)), "over");
        assert!(facts.days_left(in_days(31)) < 0);
        assert!(facts.is_due(in_days(-1)), "not yet begun");
    }

    #[test]
    fn every_difference_is_told() {
        let authority = Authority::generate("naru", 10).unwrap();
        let facts = CertificateFacts::read(&authority.issue(&profile()).unwrap().0).unwrap();
        assert_eq!(facts.difference(&profile()), None);
        let mut reordered = profile();
        reordered.alternative_names.reverse();
        assert_eq!(facts.difference(&reordered), None, "order carries no meaning");
        let changed = |change: fn(&mut Profile)| {
            let mut profile = profile();
            change(&mut profile);
            facts.difference(&profile).unwrap_or_default()
        };
        assert!(changed(|profile| profile.common_name = "x".to_owned()).contains("name"));
        assert!(changed(|profile| profile.organizations.push("x".to_owned())).contains("organization"));
        assert!(changed(|profile| profile.alternative_names.push("10.0.0.1".to_owned())).contains("10.0.0.1"));
        assert!(changed(|profile| profile.purposes.push(Purpose::Client)).contains("usage"));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(matches!(CertificateFacts::read("nothing"), Err(PkiError::Certificate { .. })));
    }
}
