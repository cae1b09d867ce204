//! A key pair for signing tokens: the private half for its owner only, the public half for everybody.

use std::os::unix::fs::PermissionsExt;

use fs_err as fs;
use naru_pki::PrivateKey;

use super::{Kind, announce, change};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError, atomic};

const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

pub(crate) struct KeyPair<'a> {
    pub(crate) private_path: &'a str,
    pub(crate) public_path: &'a str,
}

impl KeyPair<'_> {
    fn private(&self, host: &Host) -> Result<Option<PrivateKey>, ResourceError> {
        let Some(bytes) = atomic::read(&host.path(self.private_path))? else { return Ok(None) };
        Ok(Some(PrivateKey::from_pem(&String::from_utf8_lossy(&bytes))?))
    }
}

impl Kind for KeyPair<'_> {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        let Some(private) = self.private(host)? else {
            return Ok(Some(change(format!("make the key pair {} and {}", self.private_path, self.public_path))));
        };
        if atomic::mode(&host.path(self.private_path))? != Some(PRIVATE_MODE) {
            return Ok(Some(change(format!("chmod {PRIVATE_MODE:04o} {}", self.private_path))));
        }
        let public = atomic::read(&host.path(self.public_path))?.unwrap_or_default();
        Ok((public != private.public_pem().as_bytes())
            .then(|| change(format!("write {} for {}", self.public_path, self.private_path))))
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let path = host.path(self.private_path);
        let private = match self.private(host)? {
            Some(private) => private,
            None => {
                let private = PrivateKey::generate()?;
                atomic::write(&path, PRIVATE_MODE, private.to_pem().as_bytes())?;
                private
            }
        };
        fs::set_permissions(&path, std::fs::Permissions::from_mode(PRIVATE_MODE))?;
        atomic::write(&host.path(self.public_path), PUBLIC_MODE, private.public_pem().as_bytes())
    }

    fn announce(&self, host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        announce(host, manifest, self.private_path, "keyPair");
        announce(host, manifest, self.public_path, "keyPair");
        Ok(())
    }

    fn record(&self, _host: &Host, manifest: &mut Manifest) -> Result<(), ResourceError> {
        manifest.put_with_mode(self.private_path, "keyPair", "", PRIVATE_MODE);
        manifest.put_with_mode(self.public_path, "keyPair", "", PUBLIC_MODE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_repaired_without_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let pair = KeyPair { private_path: "/etc/naru/sa.key", public_path: "/etc/naru/sa.pub" };
        let check = || pair.check(&host, &Pending::default()).unwrap();
        assert!(check().is_some());
        pair.apply(&host).unwrap();
        assert_eq!(check(), None);
        let key = atomic::read(&host.path(pair.private_path)).unwrap();
        atomic::write(&host.path(pair.public_path), 0o644, b"other").unwrap();
        assert!(check().unwrap().summary.starts_with("write /etc/naru/sa.pub"));
        pair.apply(&host).unwrap();
        assert_eq!(check(), None);
        assert_eq!(atomic::read(&host.path(pair.private_path)).unwrap(), key);
        fs::set_permissions(host.path(pair.private_path), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(check().unwrap().summary.starts_with("chmod 0600"));
    }
}
