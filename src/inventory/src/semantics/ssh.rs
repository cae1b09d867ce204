//! How hosts are reached: logins, keys, bastions.

use super::grammar;
use crate::document::Path;
use crate::spec::{Bastion, Host, Ssh};
use crate::structure::Finding;

/// A longer chain is surely a mistake.
const MAX_BASTIONS: usize = 4;
/// 32 bytes in base64 without padding.
const DIGEST_CHARACTERS: usize = 43;

pub(super) fn ssh(ssh: &Ssh, path: &Path, findings: &mut Vec<Finding>) {
    login(ssh.user.as_deref(), ssh.key_path.as_deref(), path, findings);
    not_empty(ssh.config_path.as_deref(), &path.key("configPath"), findings);
    for (index, file) in ssh.known_hosts.iter().enumerate() {
        not_empty(Some(file), &path.key("knownHosts").index(index), findings);
    }
    bastion(ssh.bastion.as_ref(), &path.key("bastion"), findings);
}

/// What a host says of itself over those.
pub(super) fn host(host: &Host, path: &Path, findings: &mut Vec<Finding>) {
    login(host.user.as_deref(), host.key_path.as_deref(), path, findings);
    host_key(host.host_key.as_deref(), &path.key("hostKey"), findings);
    bastion(host.bastion.as_ref(), &path.key("bastion"), findings);
}

fn bastion(first: Option<&Bastion>, path: &Path, findings: &mut Vec<Finding>) {
    let (mut next, mut path) = (first, path.clone());
    for number in 0..=MAX_BASTIONS {
        let Some(bastion) = next else { return };
        if number == MAX_BASTIONS {
            let finding = Finding::new(path, format!("more than {MAX_BASTIONS} bastions in a row"));
            return findings.push(finding.of_key());
        }
        if !grammar::is_host(&bastion.address) {
            let primary = format!("`{}` is neither a name nor an IPv4 address", bastion.address);
            let finding = Finding::new(path.key("address"), primary);
            findings.push(match bastion.address.contains([':', '@']) {
                true => finding.hint("login and port stand beside it: `user`, `port`"),
                false => finding,
            });
        }
        login(bastion.user.as_deref(), bastion.key_path.as_deref(), &path, findings);
        host_key(bastion.host_key.as_deref(), &path.key("hostKey"), findings);
        next = bastion.bastion.as_deref();
        path = path.key("bastion");
    }
}

fn login(user: Option<&str>, key_path: Option<&str>, path: &Path, findings: &mut Vec<Finding>) {
    if let Some(user) = user
        && (user.is_empty() || user.chars().any(|character| character.is_whitespace() || character == '@'))
    {
        findings.push(Finding::new(path.key("user"), format!("`{user}` is not a login name")));
    }
    not_empty(key_path, &path.key("keyPath"), findings);
    if key_path.is_some_and(|text| text.contains("PRIVATE KEY")) {
        let finding = Finding::new(path.key("keyPath"), "a private key does not belong into the inventory");
        findings.push(finding.detail("expected the path of its file"));
    }
}

fn not_empty(text: Option<&str>, path: &Path, findings: &mut Vec<Finding>) {
    if text.is_some_and(|text| text.trim().is_empty()) {
        findings.push(Finding::new(path.clone(), "expected the path of a file, found empty text"));
    }
}

fn host_key(key: Option<&str>, path: &Path, findings: &mut Vec<Finding>) {
    let Some(key) = key else { return };
    if is_fingerprint(key) {
        return;
    }
    let mut words = key.split_whitespace();
    let algorithm = words.next().unwrap_or_default();
    let known = algorithm.starts_with("ssh-") || algorithm.starts_with("ecdsa-sha2-");
    if !known || !words.next().is_some_and(|body| body.starts_with("AAAA")) {
        findings.push(
            Finding::new(path.clone(), "this is not an SSH public key")
                .detail("expected the algorithm and the key in base64: ssh-ed25519 AAAAC3…")
                .hint("`ssh-keyscan ADDRESS` prints it; compare it with the host's console"),
        );
    }
}

/// As `ssh-keygen -l` prints it.
fn is_fingerprint(text: &str) -> bool {
    text.strip_prefix("SHA256:").is_some_and(|digest| {
        digest.len() == DIGEST_CHARACTERS
            && digest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
    })
}
