//! A certificate for a key that was made on this host: checked here, requested here, signed on the authority's host,
//! installed here.

use std::os::unix::fs::PermissionsExt;

use fs_err as fs;
use jiff::Timestamp;
use naru_pki::{CertificateFacts, PkiError, PrivateKey, Profile, Purpose};
use zeroize::Zeroizing;

use super::{Kind, change};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Certificate, Change, Host, ResourceError, Usage, atomic};

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

pub(crate) struct CertificateFiles<'a> {
    pub(crate) certificate: &'a Certificate,
}

/// The profile that a certificate resource stands for.
#[must_use]
pub fn profile(certificate: &Certificate) -> Profile {
    let purpose = |usage: &Usage| match usage {
        Usage::ServerAuth => Purpose::Server,
        Usage::ClientAuth => Purpose::Client,
    };
    Profile {
        common_name: certificate.common_name.clone(),
        organizations: certificate.organizations.clone(),
        alternative_names: certificate.alternative_names.clone(),
        purposes: certificate.usages.iter().map(purpose).collect(),
        validity: certificate.validity(),
    }
}

impl CertificateFiles<'_> {
    /// Why the certificate has to be made anew.
    fn reason(&self, host: &Host) -> Result<Option<String>, ResourceError> {
        let Some(pem) = atomic::read(&host.path(&self.certificate.certificate_path))? else {
            return Ok(Some("there is none".to_owned()));
        };
        let Ok(facts) = CertificateFacts::read(&String::from_utf8_lossy(&pem)) else {
            return Ok(Some("it cannot be read".to_owned()));
        };
        let Ok(Some(key)) = private_key(host, &self.certificate.key_path) else {
            return Ok(Some("its key is not there".to_owned()));
        };
        if !facts.belongs_to(&key) {
            return Ok(Some("it belongs to another key".to_owned()));
        }
        let authority = atomic::read(&host.path(&self.certificate.authority_path))?.unwrap_or_default();
        match facts.is_signed_by(&String::from_utf8_lossy(&authority)) {
            Ok(true) => {}
            Ok(false) => return Ok(Some("another authority signed it".to_owned())),
            Err(_) => return Ok(Some("its authority is not there".to_owned())),
        }
        if let Some(difference) = facts.difference(&profile(self.certificate)) {
            return Ok(Some(difference));
        }
        let now = Timestamp::now();
        Ok(facts.is_due(now).then(|| format!("it has {} days left", facts.days_left(now))))
    }
}

impl Kind for CertificateFiles<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        if let Some(reason) = self.reason(host)? {
            let path = &self.certificate.certificate_path;
            let verb =
                if reason == "there is none" { format!("issue {path}") } else { format!("renew {path}: {reason}") };
            return Ok(Some(change(verb)));
        }
        let mode = atomic::mode(&host.path(&self.certificate.key_path))?;
        Ok((mode != Some(KEY_MODE)).then(|| change(format!("chmod {KEY_MODE:04o} {}", self.certificate.key_path))))
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        if let Some(reason) = self.reason(host)? {
            return Err(ResourceError::refused(
                format!("the certificate {} has to be issued first: {reason}", self.certificate.certificate_path),
                "apply again: certificates are issued before anything that needs them",
            ));
        }
        let path = host.path(&self.certificate.key_path);
        Ok(fs::set_permissions(&path, std::fs::Permissions::from_mode(KEY_MODE))?)
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        record(self.certificate, manifest);
        Ok(())
    }
}

fn record(certificate: &Certificate, manifest: &mut Manifest) {
    for (path, mode) in [(&certificate.certificate_path, CERTIFICATE_MODE), (&certificate.key_path, KEY_MODE)] {
        manifest.put_with_mode(path, "certificate", "", mode);
    }
    if !manifest.entries.contains_key(&certificate.authority_path) {
        manifest.put_with_mode(&certificate.authority_path, "certificate", "", CERTIFICATE_MODE);
    }
}

fn private_key(host: &Host, path: &str) -> Result<Option<PrivateKey>, ResourceError> {
    let Some(bytes) = atomic::read(&host.path(path))?.map(Zeroizing::new) else { return Ok(None) };
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    Ok(Some(PrivateKey::from_pem(&text)?))
}

/// Makes the private key if it is not there (or unusable), and answers a signing request.
pub fn signing_request(host: &Host, certificate: &Certificate) -> Result<String, ResourceError> {
    let path = host.path(&certificate.key_path);
    let key = match private_key(host, &certificate.key_path) {
        Ok(Some(key)) => {
            fs::set_permissions(&path, std::fs::Permissions::from_mode(KEY_MODE))?;
            key
        }
        Ok(None) | Err(ResourceError::Pki(PkiError::Key(_))) => {
            let key = PrivateKey::generate()?;
            atomic::write(&path, KEY_MODE, key.to_pem().as_bytes())?;
            key
        }
        Err(error) => return Err(error),
    };
    Ok(naru_pki::signing_request(&key, &profile(certificate))?)
}

/// Signs with the authority on this host; answers the certificate and the authority's own.
pub fn sign(
    host: &Host,
    signing_request_pem: &str,
    certificate: &Certificate,
    authority_key_path: &str,
) -> Result<(String, String), ResourceError> {
    // The authority's certificate lies beside its key; its name differs in the ending only.
    let beside = std::path::Path::new(authority_key_path).with_extension("crt");
    let candidates = [host.path(&certificate.authority_path), host.path(beside)];
    let mut authority_pem = None;
    for candidate in &candidates {
        authority_pem = authority_pem.or(atomic::read(candidate)?);
    }
    let key = atomic::read(&host.path(authority_key_path))?.map(Zeroizing::new);
    let (Some(authority_pem), Some(key)) = (authority_pem, key) else {
        return Err(ResourceError::refused(
            format!("the authority at {authority_key_path} is not on this host"),
            "sign on a control-plane host",
        ));
    };
    let key = Zeroizing::new(String::from_utf8_lossy(&key).into_owned());
    let authority = naru_pki::Authority::from_pem(&String::from_utf8_lossy(&authority_pem), &key)?;
    let pem = authority.sign(signing_request_pem, &profile(certificate))?;
    Ok((pem, authority.certificate_pem().to_owned()))
}

/// Writes the certificate and its authority's beside the key, after making sure that the three belong together.
pub fn install_certificate(
    host: &Host,
    certificate: &Certificate,
    certificate_pem: &str,
    authority_pem: &str,
) -> Result<(), ResourceError> {
    let facts = CertificateFacts::read(certificate_pem)?;
    let key = private_key(host, &certificate.key_path)?;
    let belongs = key.is_some_and(|key| facts.belongs_to(&key)) && facts.is_signed_by(authority_pem)?;
    if !belongs {
        return Err(ResourceError::refused(
            format!("the certificate for {} does not belong to the key there", certificate.certificate_path),
            "",
        ));
    }
    for (path, pem) in [(&certificate.authority_path, authority_pem), (&certificate.certificate_path, certificate_pem)]
    {
        let path = host.path(path);
        // An untouched file keeps its time, and the units that read it keep running.
        if atomic::read(&path)?.as_deref() != Some(pem.as_bytes()) {
            atomic::write(&path, CERTIFICATE_MODE, pem.as_bytes())?;
        }
    }
    let mut manifest = Manifest::load(host)?;
    record(certificate, &mut manifest);
    manifest.save(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::authority::AuthorityFiles;

    fn certificate() -> Certificate {
        Certificate {
            certificate_path: "/etc/naru/pki/kubelet.crt".to_owned(),
            key_path: "/etc/naru/pki/kubelet.key".to_owned(),
            authority_path: "/etc/naru/pki/ca.crt".to_owned(),
            common_name: "system:node:w1".to_owned(),
            organizations: vec!["system:nodes".to_owned()],
            alternative_names: vec!["w1".to_owned(), "10.1.0.21".to_owned()],
            usages: vec![Usage::ServerAuth, Usage::ClientAuth],
            days: 365,
            validity_seconds: None,
        }
    }

    fn control_plane(folder: &std::path::Path) -> Host {
        let host = Host::below(folder, Vec::new());
        let authority = crate::Authority {
            certificate_path: "/etc/naru/pki/ca.crt".to_owned(),
            key_path: "/etc/naru/pki/ca.key".to_owned(),
            common_name: "naru".to_owned(),
            days: 3650,
        };
        AuthorityFiles { authority: &authority }.apply(&host).unwrap();
        host
    }

    fn issue(worker: &Host, authority: &Host, wanted: &Certificate) {
        let request = signing_request(worker, wanted).unwrap();
        let (pem, authority_pem) = sign(authority, &request, wanted, "/etc/naru/pki/ca.key").unwrap();
        install_certificate(worker, wanted, &pem, &authority_pem).unwrap();
    }

    #[test]
    fn requested_on_one_host_signed_on_another_and_renewed_when_it_differs() {
        let folder = tempfile::tempdir().unwrap();
        let authority = control_plane(&folder.path().join("cp1"));
        let worker = Host::below(folder.path().join("w1"), Vec::new());
        let wanted = certificate();
        let check = |wanted: &Certificate| {
            let files = CertificateFiles { certificate: wanted };
            files.check(&worker, &Pending::default()).unwrap().map(|change| change.summary)
        };
        assert_eq!(check(&wanted).unwrap(), "issue /etc/naru/pki/kubelet.crt");
        let refused = CertificateFiles { certificate: &wanted }.apply(&worker);
        assert!(matches!(refused, Err(ResourceError::Refused { .. })));
        issue(&worker, &authority, &wanted);
        assert_eq!(check(&wanted), None);
        assert_eq!(atomic::mode(&worker.path(&wanted.key_path)).unwrap(), Some(0o600));
        assert!(!worker.path("/etc/naru/pki/ca.key").exists(), "the authority's key never travels");
        let moved = Certificate { alternative_names: vec!["w1".to_owned(), "10.1.0.22".to_owned()], ..certificate() };
        assert!(check(&moved).unwrap().contains("10.1.0.22"));
        let other = control_plane(&folder.path().join("other"));
        issue(&worker, &other, &wanted);
        let first_authority = atomic::read(&authority.path(&wanted.authority_path)).unwrap().unwrap();
        atomic::write(&worker.path(&wanted.authority_path), 0o644, &first_authority).unwrap();
        assert!(check(&wanted).unwrap().contains("another authority"));
    }

    #[test]
    fn a_key_that_others_may_read_is_closed_by_the_same_steps() {
        let folder = tempfile::tempdir().unwrap();
        let authority = control_plane(&folder.path().join("cp1"));
        let worker = Host::below(folder.path().join("w1"), Vec::new());
        let wanted = certificate();
        issue(&worker, &authority, &wanted);
        let key = worker.path(&wanted.key_path);
        fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        let check = || CertificateFiles { certificate: &wanted }.check(&worker, &Pending::default()).unwrap();
        assert!(check().unwrap().summary.starts_with("chmod 0600"));
        issue(&worker, &authority, &wanted);
        assert_eq!(atomic::mode(&key).unwrap(), Some(0o600));
        assert_eq!(check(), None, "nothing is left to do");
    }

    #[test]
    fn a_life_of_hours_is_signed_as_hours() {
        let folder = tempfile::tempdir().unwrap();
        let authority = control_plane(&folder.path().join("cp1"));
        let worker = Host::below(folder.path().join("w1"), Vec::new());
        let life_seconds = |wanted: &Certificate| {
            let request = signing_request(&worker, wanted).unwrap();
            let before = Timestamp::now().as_second();
            let (pem, _) = sign(&authority, &request, wanted, "/etc/naru/pki/ca.key").unwrap();
            CertificateFacts::read(&pem).unwrap().not_after.as_second() - before
        };
        let eighteen_hours = 18 * 3_600;
        let short = Certificate { validity_seconds: Some(eighteen_hours), ..certificate() };
        let eighteen_hours = i64::try_from(eighteen_hours).unwrap();
        assert!((eighteen_hours..eighteen_hours + 60).contains(&life_seconds(&short)), "{}", life_seconds(&short));
        assert!(life_seconds(&certificate()) >= 365 * 86_400, "without it, days count");
        let text = serde_json::to_string(&certificate()).unwrap();
        assert!(!text.contains("validitySeconds"), "plans of before read and look the same: {text}");
        assert_eq!(serde_json::from_str::<Certificate>(&text).unwrap(), certificate());
    }

    #[test]
    fn a_certificate_for_another_key_is_not_installed() {
        let folder = tempfile::tempdir().unwrap();
        let authority = control_plane(&folder.path().join("cp1"));
        let (one, two) =
            (Host::below(folder.path().join("w1"), Vec::new()), Host::below(folder.path().join("w2"), Vec::new()));
        let wanted = certificate();
        let request = signing_request(&one, &wanted).unwrap();
        signing_request(&two, &wanted).unwrap();
        let (pem, authority_pem) = sign(&authority, &request, &wanted, "/etc/naru/pki/ca.key").unwrap();
        assert!(install_certificate(&two, &wanted, &pem, &authority_pem).is_err());
        assert!(!two.path(&wanted.certificate_path).exists());
    }
}
