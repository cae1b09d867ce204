//! A certificate authority whose key is made on this host. Once there it is never made anew by itself: every
//! certificate of the cluster would be worth nothing.

use fs_err as fs;
use naru_pki::{CertificateFacts, PrivateKey};

use super::{Kind, announce, change};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Authority, Change, Host, ResourceError, atomic};

const KEY_MODE: u32 = 0o600;
const CERTIFICATE_MODE: u32 = 0o644;

pub(crate) struct AuthorityFiles<'a> {
    pub(crate) authority: &'a Authority,
}

impl AuthorityFiles<'_> {
    /// Certificate and key, as far as they are there.
    fn files(&self, host: &Host) -> Result<[Option<Vec<u8>>; 2], ResourceError> {
        let certificate = atomic::read(&host.path(&self.authority.certificate_path))?;
        let key = atomic::read(&host.path(&self.authority.key_path))?;
        Ok([certificate, key])
    }

    fn verify(&self, certificate: &[u8], key: &[u8]) -> Result<(), ResourceError> {
        let facts = CertificateFacts::read(&String::from_utf8_lossy(certificate))?;
        let key = PrivateKey::from_pem(&String::from_utf8_lossy(key))?;
        let refuse = |why: &str| {
            let message = format!("the authority at {} {why}", self.authority.certificate_path);
            Err(ResourceError::refused(message, "restore it, or rotate the authority; it is never replaced by itself"))
        };
        if !facts.belongs_to(&key) {
            return refuse("does not belong to its key");
        }
        if facts.common_name != self.authority.common_name {
            return refuse(&format!("is named `{}` instead of `{}`", facts.common_name, self.authority.common_name));
        }
        Ok(())
    }
}

impl Kind for AuthorityFiles<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        let Authority { certificate_path, key_path, common_name, .. } = self.authority;
        match self.files(host)? {
            [None, None] => Ok(Some(change(format!("make the certificate authority `{common_name}`")))),
            [None, Some(_)] => Ok(Some(change(format!("make {certificate_path} for the key that is there")))),
            [Some(_), None] => Err(ResourceError::refused(
                format!("{certificate_path} is there, but its key {key_path} is not"),
                "restore the key from a backup; a new authority would cut off every node",
            )),
            [Some(certificate), Some(key)] => {
                self.verify(&certificate, &key)?;
                let mode = atomic::mode(&host.path(key_path))?.unwrap_or_default();
                Ok((mode != KEY_MODE).then(|| change(format!("chmod {KEY_MODE:04o} {key_path} (was {mode:04o})"))))
            }
        }
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        use std::os::unix::fs::PermissionsExt;
        let key_path = host.path(&self.authority.key_path);
        let [certificate, key] = self.files(host)?;
        if certificate.is_some() {
            return Ok(fs::set_permissions(&key_path, std::fs::Permissions::from_mode(KEY_MODE))?);
        }
        let key = match key {
            Some(pem) => PrivateKey::from_pem(&String::from_utf8_lossy(&pem))?,
            None => PrivateKey::generate()?,
        };
        let made = naru_pki::Authority::with_key(&self.authority.common_name, self.authority.days, key)?;
        // The key first: a certificate without its key is the one state that cannot be repaired.
        atomic::write(&key_path, KEY_MODE, made.key().to_pem().as_bytes())?;
        atomic::write(&host.path(&self.authority.certificate_path), CERTIFICATE_MODE, made.certificate_pem().as_bytes())
    }

    fn announce(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        announce(host, manifest, &self.authority.certificate_path, "authority");
        announce(host, manifest, &self.authority.key_path, "authority");
        Ok(())
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        manifest.put_with_mode(&self.authority.certificate_path, "authority", "", CERTIFICATE_MODE);
        manifest.put_with_mode(&self.authority.key_path, "authority", "", KEY_MODE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> Authority {
        Authority {
            certificate_path: "/etc/naru/pki/ca.crt".to_owned(),
            key_path: "/etc/naru/pki/ca.key".to_owned(),
            common_name: "naru".to_owned(),
            days: 3650,
        }
    }

    #[test]
    fn made_once_with_a_private_key_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let wanted = authority();
        let files = AuthorityFiles { authority: &wanted };
        assert!(files.check(&host, &Pending::default()).unwrap().is_some());
        files.apply(&host).unwrap();
        assert_eq!(files.check(&host, &Pending::default()).unwrap(), None);
        assert_eq!(atomic::mode(&host.path(&wanted.key_path)).unwrap(), Some(0o600));
        let other = Authority { common_name: "other".to_owned(), ..authority() };
        let renamed = AuthorityFiles { authority: &other };
        assert!(matches!(renamed.check(&host, &Pending::default()), Err(ResourceError::Refused { .. })));
        fs::remove_file(host.path(&wanted.key_path)).unwrap();
        assert!(matches!(files.check(&host, &Pending::default()), Err(ResourceError::Refused { .. })));
    }

    #[test]
    fn cut_off_between_key_and_certificate_it_continues_with_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let wanted = authority();
        let files = AuthorityFiles { authority: &wanted };
        files.apply(&host).unwrap();
        let key = atomic::read(&host.path(&wanted.key_path)).unwrap();
        fs::remove_file(host.path(&wanted.certificate_path)).unwrap();
        files.apply(&host).unwrap();
        assert_eq!(atomic::read(&host.path(&wanted.key_path)).unwrap(), key);
        assert_eq!(files.check(&host, &Pending::default()).unwrap(), None);
    }
}
