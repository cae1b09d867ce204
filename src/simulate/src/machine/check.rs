//! What differs from a resource: the same questions, in the same words, as `naru-resources` asks on a real host.

use std::collections::BTreeSet;

use naru_agent::{Checked, Failure};
use naru_resources::{Authority, Change, Pending, Resource, normalized_reference};

use super::certificates::refused;
use super::files::{normalized, sysctl_values, without_swap};
use super::unit::Wanted;
use super::{Body, Machine};

const SHORT_HASH: usize = 12;
const SYSCTL_FILE: &str = "/etc/sysctl.d/90-naru.conf";

pub(crate) fn change(summary: impl Into<String>) -> Change {
    Change { resource: 0, summary: summary.into(), diff: None, disruption: None }
}

/// A diff that hides nothing: all old lines, then all new ones. What is in it must be fit to be shown.
pub(crate) fn naive_diff(path: &str, old: Option<&str>, new: &str) -> Option<String> {
    let mut text = format!("+++ {path}\n");
    for (sign, lines) in [('-', old.unwrap_or_default()), ('+', new)] {
        for line in lines.lines() {
            text.push(sign);
            text.push_str(line);
            text.push('\n');
        }
    }
    Some(text)
}

impl Machine {
    /// The answer to `Check`.
    ///
    /// # Errors
    /// When a resource cannot be compared at all.
    pub fn check_all(&self, resources: &[Resource]) -> Result<Checked, Failure> {
        let mut pending = Pending::default();
        let mut checked = Checked { manifest: self.manifest.clone(), drifted: self.drifted(), ..Checked::default() };
        for (index, resource) in resources.iter().enumerate() {
            if let Some(change) = self.check(resource, &pending)? {
                pending.note(resource);
                checked.changes.push(Change { resource: index, ..change });
            }
        }
        let wanted: BTreeSet<&str> = resources.iter().filter_map(Resource::artifact).collect();
        let missing = wanted.into_iter().filter(|sha256| !self.artifacts.contains_key(*sha256));
        checked.missing_artifacts = missing.map(str::to_owned).collect();
        Ok(checked)
    }

    /// # Errors
    /// When the resource cannot be compared at all.
    pub fn check(&self, resource: &Resource, pending: &Pending) -> Result<Option<Change>, Failure> {
        match resource {
            Resource::Directory { path, mode } => self.check_directory(path, *mode),
            Resource::File { path, mode, content } => self.check_file(path, *mode, &content.text, content.sensitive),
            Resource::Binary { path, sha256 } => Ok(self.check_binary(path, sha256)),
            Resource::Packages { names } => {
                let missing: Vec<&str> =
                    names.iter().map(String::as_str).filter(|name| !self.packages.contains(*name)).collect();
                Ok((!missing.is_empty()).then(|| change(format!("install {}", missing.join(" ")))))
            }
            Resource::Sysctl { key, value } => Ok(self.check_parameter(key, value)),
            Resource::KernelModule { name } => {
                Ok((!self.modules.contains(name)).then(|| change(format!("load the kernel module {name}"))))
            }
            Resource::Swap { enabled } => Ok(self.check_swap(*enabled)),
            Resource::Unit { name, content, enabled, restart_on } => {
                let wanted = Wanted { name, content: content.as_ref(), enabled: *enabled, restart_on };
                Ok(self.check_unit(wanted, pending))
            }
            Resource::Image { reference, sha256 } => {
                let reference = normalized_reference(reference);
                let same = self.images.get(&reference) == Some(sha256);
                Ok((!same).then(|| change(format!("import image {reference}"))))
            }
            Resource::PauseImage { reference } => {
                let there = self.images.contains_key(&normalized_reference(reference));
                Ok((!there).then(|| change(format!("import pause image {reference}"))))
            }
            Resource::Absent { path } => Ok(self.check_absent(path, pending)),
            Resource::Authority(authority) => self.check_authority(authority),
            Resource::Certificate(certificate) => {
                if let Some(reason) = self.certificate_reason(certificate) {
                    let path = &certificate.certificate_path;
                    let text = match reason.as_str() {
                        "there is none" => format!("issue {path}"),
                        reason => format!("renew {path}: {reason}"),
                    };
                    return Ok(Some(change(text)));
                }
                let mode = self.files.get(&certificate.key_path).map(|file| file.mode);
                Ok((mode != Some(0o600)).then(|| change(format!("chmod 0600 {}", certificate.key_path))))
            }
            Resource::KeyPair { private_path, public_path } => Ok(self.check_key_pair(private_path, public_path)),
        }
    }

    fn check_directory(&self, path: &str, mode: u32) -> Result<Option<Change>, Failure> {
        match self.files.get(path) {
            Some(file) if file.body != Body::Folder => Err(refused(format!("{path} is there, but is no directory"))),
            Some(file) if file.mode != mode => {
                Ok(Some(change(format!("chmod {mode:04o} {path} (was {:04o})", file.mode))))
            }
            Some(_) => Ok(None),
            None => Ok(Some(change(format!("create {}/", path.trim_end_matches('/'))))),
        }
    }

    fn check_file(&self, path: &str, mode: u32, text: &str, sensitive: bool) -> Result<Option<Change>, Failure> {
        let diff = |old: Option<&str>| if sensitive { None } else { naive_diff(path, old, text) };
        Ok(match self.files.get(path) {
            None => Some(Change { diff: diff(None), ..change(format!("create {path}")) }),
            Some(file) => match &file.body {
                Body::Folder => return Err(refused(format!("{path} is there, but is no regular file"))),
                Body::Link => Some(Change { diff: diff(None), ..change(format!("replace the link {path}")) }),
                Body::Text(same) if **same == *text && file.mode == mode => None,
                Body::Text(same) if **same == *text => {
                    Some(change(format!("chmod {mode:04o} {path} (was {:04o})", file.mode)))
                }
                _ => Some(Change { diff: diff(Some(&self.text(path))), ..change(format!("update {path}")) }),
            },
        })
    }

    fn check_binary(&self, path: &str, sha256: &str) -> Option<Change> {
        let short = &sha256[..sha256.len().min(SHORT_HASH)];
        match self.files.get(path) {
            None => Some(change(format!("install {path} ({short})"))),
            Some(file) => {
                let found = file.body.sha256();
                if found != sha256 {
                    return Some(change(format!("replace {path} ({} by {short})", &found[..SHORT_HASH])));
                }
                (file.mode != 0o755).then(|| change(format!("chmod 0755 {path}")))
            }
        }
    }

    fn check_parameter(&self, key: &str, value: &str) -> Option<Change> {
        let wanted = normalized(value);
        let kept = sysctl_values(&self.text(SYSCTL_FILE)).get(key) == Some(&wanted);
        match self.parameters.get(key).map(|value| normalized(value)) {
            Some(current) if current != wanted => Some(change(format!("set {key} = {wanted} (was {current})"))),
            None => Some(change(format!("set {key} = {wanted}"))),
            Some(_) if !kept => Some(change(format!("keep {key} = {wanted} at boot"))),
            Some(_) => None,
        }
    }

    fn check_swap(&self, enabled: bool) -> Option<Change> {
        let fstab = self.text("/etc/fstab");
        if enabled || (!self.swap_active && without_swap(&fstab) == fstab) {
            return None;
        }
        Some(change(if self.swap_active { "turn swap off: /dev/vda2" } else { "turn swap off at boot" }))
    }

    fn check_authority(&self, authority: &Authority) -> Result<Option<Change>, Failure> {
        let Authority { certificate_path, key_path, common_name, .. } = authority;
        let has = |path: &str| self.files.contains_key(path);
        match (has(certificate_path), has(key_path)) {
            (false, false) => Ok(Some(change(format!("make the certificate authority `{common_name}`")))),
            (false, true) => Ok(Some(change(format!("make {certificate_path} for the key that is there")))),
            (true, false) => Err(refused(format!("{certificate_path} is there, but its key {key_path} is not"))),
            (true, true) => {
                let (signer, key) = (self.authority(certificate_path), self.private_key(key_path));
                match signer {
                    Some(signer) if Some(&signer.key) == key.as_ref() && signer.common_name == *common_name => {}
                    _ => {
                        return Err(refused(format!("the authority at {certificate_path} does not belong to its key")));
                    }
                }
                let mode = self.files[key_path].mode;
                Ok((mode != 0o600).then(|| change(format!("chmod 0600 {key_path} (was {mode:04o})"))))
            }
        }
    }

    fn check_key_pair(&self, private_path: &str, public_path: &str) -> Option<Change> {
        let Some(key) = self.private_key(private_path) else {
            return Some(change(format!("make the key pair {private_path} and {public_path}")));
        };
        if self.files[private_path].mode != 0o600 {
            return Some(change(format!("chmod 0600 {private_path}")));
        }
        let public = self.files.get(public_path).map(|file| &file.body);
        (public != Some(&Body::PublicKey(key))).then(|| change(format!("write {public_path} for {private_path}")))
    }
}
