//! Certificate authorities: making one, asking one for a certificate, and signing. The signer takes only the public
//! key from a request; every other word in the certificate comes from the profile that the caller decided on.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};

use crate::{CertificateFacts, PkiError, PrivateKey};

/// Clocks of hosts differ: a certificate is valid from a little before it was made.
const BACKDATED: Duration = Duration::from_secs(5 * 60);
const SERIAL_BYTES: usize = 16;
/// Subject organizations that can be written (see `distinguished_name`).
const MAX_ORGANIZATIONS: usize = 2;
const SECONDS_PER_DAY: u64 = 86_400;
/// X.520 organizationName, once more by number.
const ORGANIZATION_OID: &[u64] = &[2, 5, 4, 10];

/// What the certificate is for (extended key usage).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Server,
    Client,
}

/// Everything a leaf certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub common_name: String,
    pub organizations: Vec<String>,
    /// DNS names and IP addresses.
    pub alternative_names: Vec<String>,
    pub purposes: Vec<Purpose>,
    pub validity: Duration,
}

impl Profile {
    #[must_use]
    pub fn days(days: u32) -> Duration {
        Duration::from_secs(u64::from(days) * SECONDS_PER_DAY)
    }

    fn parameters(&self) -> Result<CertificateParams, PkiError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = distinguished_name(&self.common_name, &self.organizations)?;
        parameters.subject_alt_names =
            self.alternative_names.iter().map(|name| alternative_name(name)).collect::<Result<_, _>>()?;
        Ok(parameters)
    }
}

/// A certificate authority: its certificate and its key.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    key: PrivateKey,
}

impl Authority {
    /// Makes a self-signed authority with a new key.
    pub fn generate(common_name: &str, days: u32) -> Result<Self, PkiError> {
        Self::with_key(common_name, days, PrivateKey::generate()?)
    }

    /// Makes a self-signed authority for a key that exists already.
    pub fn with_key(common_name: &str, days: u32, key: PrivateKey) -> Result<Self, PkiError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = distinguished_name(common_name, &[])?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut parameters, Profile::days(days));
        parameters.serial_number = Some(random_serial()?);
        let certificate = parameters
            .self_signed(key.pair())
            .map_err(|source| PkiError::Make { what: format!("the authority `{common_name}`"), source })?;
        Ok(Self { certificate_pem: certificate.pem(), key })
    }

    /// Reads an authority; the certificate must be one of an authority, and belong to the key.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let facts = CertificateFacts::read(certificate_pem)?;
        let key = PrivateKey::from_pem(key_pem)?;
        if !facts.belongs_to(&key) {
            return Err(PkiError::KeyMismatch { common_name: facts.common_name });
        }
        if !facts.is_authority {
            return Err(PkiError::Certificate { reason: format!("`{}` is not an authority", facts.common_name) });
        }
        Ok(Self { certificate_pem: certificate_pem.to_owned(), key })
    }

    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Signs the public key of a request into a certificate that says what `profile` says.
    pub fn sign(&self, signing_request_pem: &str, profile: &Profile) -> Result<String, PkiError> {
        let request =
            CertificateSigningRequestParams::from_pem(signing_request_pem).map_err(PkiError::SigningRequest)?;
        self.certify(&request.public_key, profile)
    }

    /// Makes a key here and a certificate for it; for identities that live in this process only.
    pub fn issue(&self, profile: &Profile) -> Result<(String, PrivateKey), PkiError> {
        let key = PrivateKey::generate()?;
        let certificate_pem = self.certify(key.pair(), profile)?;
        Ok((certificate_pem, key))
    }

    fn certify(&self, public_key: &impl PublicKeyData, profile: &Profile) -> Result<String, PkiError> {
        let mut parameters = profile.parameters()?;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = profile.purposes.iter().map(|purpose| extended(*purpose)).collect();
        parameters.use_authority_key_identifier_extension = true;
        parameters.serial_number = Some(random_serial()?);
        set_validity(&mut parameters, profile.validity);
        let make = |source| PkiError::Make { what: format!("a certificate for `{}`", profile.common_name), source };
        let issuer = Issuer::from_ca_cert_pem(&self.certificate_pem, self.key.pair()).map_err(make)?;
        Ok(parameters.signed_by(public_key, &issuer).map_err(make)?.pem())
    }
}

/// A PKCS#10 request for `profile`, signed with the key that will own the certificate.
pub fn signing_request(key: &PrivateKey, profile: &Profile) -> Result<String, PkiError> {
    let make = |source| PkiError::Make { what: format!("a signing request for `{}`", profile.common_name), source };
    let request = profile.parameters()?.serialize_request(key.pair()).map_err(make)?;
    request.pem().map_err(make)
}

fn extended(purpose: Purpose) -> ExtendedKeyUsagePurpose {
    match purpose {
        Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }
}

fn distinguished_name(common_name: &str, organizations: &[String]) -> Result<DistinguishedName, PkiError> {
    if organizations.len() > MAX_ORGANIZATIONS {
        return Err(PkiError::TooManyOrganizations {
            common_name: common_name.to_owned(),
            count: organizations.len(),
            limit: MAX_ORGANIZATIONS,
        });
    }
    let mut name = DistinguishedName::new();
    // The library keeps one value per attribute type; a second organization goes in under the bare number.
    let types = [DnType::OrganizationName, DnType::CustomDnType(ORGANIZATION_OID.to_vec())];
    for (kind, organization) in types.into_iter().zip(organizations) {
        name.push(kind, organization.clone());
    }
    name.push(DnType::CommonName, common_name.to_owned());
    Ok(name)
}

fn alternative_name(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let refused = || PkiError::AlternativeName { name: name.to_owned() };
    if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._*".contains(letter)) {
        return Err(refused());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| refused())?))
}

fn set_validity(parameters: &mut CertificateParams, validity: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // X.509 has whole seconds.
    let now = Duration::from_secs(now.as_secs());
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + now.saturating_sub(BACKDATED);
    parameters.not_after = epoch + now + validity;
}

fn random_serial() -> Result<SerialNumber, PkiError> {
    let mut bytes = [0_u8; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PkiError::Randomness)?;
    // RFC 5280: positive and not zero.
    bytes[0] = (bytes[0] & 0x7f) | 0x01;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubelet() -> Profile {
        Profile {
            common_name: "system:node:w1".to_owned(),
            organizations: vec!["system:nodes".to_owned()],
            alternative_names: vec!["w1".to_owned(), "10.1.0.21".to_owned(), "fd00::21".to_owned()],
            purposes: vec![Purpose::Server, Purpose::Client],
            validity: Profile::days(365),
        }
    }

    #[test]
    fn a_request_becomes_a_certificate_that_says_what_the_profile_says() {
        let authority = Authority::generate("naru", 3650).unwrap();
        let key = PrivateKey::generate().unwrap();
        let request = signing_request(&key, &kubelet()).unwrap();
        let certificate = authority.sign(&request, &kubelet()).unwrap();
        let facts = CertificateFacts::read(&certificate).unwrap();
        assert_eq!(facts.common_name, "system:node:w1");
        assert_eq!(facts.organizations, ["system:nodes"]);
        assert_eq!(facts.alternative_names, ["w1", "10.1.0.21", "fd00::21"]);
        assert_eq!(facts.purposes, [Purpose::Server, Purpose::Client]);
        assert!(!facts.is_authority);
        assert!(facts.is_signed_by(authority.certificate_pem()).unwrap());
        assert!(facts.belongs_to(&key));
        assert!(!facts.belongs_to(&PrivateKey::generate().unwrap()));
        let other = Authority::generate("naru", 3650).unwrap();
        assert!(!facts.is_signed_by(other.certificate_pem()).unwrap(), "same name, another key");
    }

    #[test]
    fn the_signer_does_not_believe_the_request() {
        let authority = Authority::generate("naru", 3650).unwrap();
        let key = PrivateKey::generate().unwrap();
        let mut greedy = kubelet();
        greedy.organizations = vec!["system:masters".to_owned()];
        let request = signing_request(&key, &greedy).unwrap();
        let facts = CertificateFacts::read(&authority.sign(&request, &kubelet()).unwrap()).unwrap();
        assert_eq!(facts.organizations, ["system:nodes"]);
    }

    #[test]
    fn a_tampered_request_is_refused() {
        let authority = Authority::generate("naru", 3650).unwrap();
        let request = signing_request(&PrivateKey::generate().unwrap(), &kubelet()).unwrap();
        let middle = request.len() / 2;
        let swapped = if request.as_bytes()[middle] == b'A' { "B" } else { "A" };
        let tampered = format!("{}{swapped}{}", &request[..middle], &request[middle + 1..]);
        assert!(matches!(authority.sign(&tampered, &kubelet()), Err(PkiError::SigningRequest(_))));
    }

    #[test]
    fn two_organizations_fit_and_three_are_refused() {
        let authority = Authority::generate("naru", 10).unwrap();
        let mut profile = kubelet();
        profile.organizations = vec!["one".to_owned(), "two".to_owned()];
        let (pem, _) = authority.issue(&profile).unwrap();
        assert_eq!(CertificateFacts::read(&pem).unwrap().organizations, ["one", "two"]);
        profile.organizations.push("three".to_owned());
        assert!(matches!(authority.issue(&profile), Err(PkiError::TooManyOrganizations { count: 3, .. })));
    }

    #[test]
    fn serials_differ_and_names_are_checked() {
        let authority = Authority::generate("naru", 10).unwrap();
        let first = CertificateFacts::read(&authority.issue(&kubelet()).unwrap().0).unwrap();
        let second = CertificateFacts::read(&authority.issue(&kubelet()).unwrap().0).unwrap();
        assert_ne!(first.serial, second.serial);
        let mut profile = kubelet();
        profile.alternative_names = vec!["not a name".to_owned()];
        assert!(matches!(authority.issue(&profile), Err(PkiError::AlternativeName { .. })));
    }

    #[test]
    fn an_authority_is_read_back_only_with_its_own_key() {
        let authority = Authority::generate("naru", 10).unwrap();
        let other = PrivateKey::generate().unwrap();
        assert!(Authority::from_pem(authority.certificate_pem(), &authority.key().to_pem()).is_ok());
        let mixed = Authority::from_pem(authority.certificate_pem(), &other.to_pem());
        assert!(matches!(mixed, Err(PkiError::KeyMismatch { .. })));
        let (leaf, leaf_key) = authority.issue(&kubelet()).unwrap();
        assert!(matches!(Authority::from_pem(&leaf, &leaf_key.to_pem()), Err(PkiError::Certificate { .. })));
    }
}
