//! Until when the certificates on this host are good.

use std::path::Path;

use fs_err as fs;
use naru_pki::CertificateFacts;
use naru_resources::Host;

use crate::CertificateFact;

pub(crate) const FOLDER: &str = "/etc/naru/pki";
const MAX_CERTIFICATES: usize = 64;
/// `/etc/naru/pki/etcd` is the deepest that there is.
const MAX_DEPTH: usize = 2;

/// Paths of all certificates, sorted.
pub(crate) fn paths(host: &Host) -> Vec<String> {
    let mut found = Vec::new();
    collect(host, FOLDER, MAX_DEPTH, &mut found);
    found.sort();
    found.truncate(MAX_CERTIFICATES);
    found
}

fn collect(host: &Host, folder: &str, depth: usize, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(host.path(folder)) else { return };
    for entry in entries.filter_map(Result::ok).take(MAX_CERTIFICATES) {
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth > 1 {
                collect(host, &path, depth - 1, found);
            }
        } else if Path::new(&path).extension().is_some_and(|extension| extension == "crt") {
            found.push(path);
        }
    }
}

pub(super) fn all(host: &Host) -> Vec<CertificateFact> {
    let fact = |path: String| {
        let pem = fs::read_to_string(host.path(&path)).ok()?;
        let not_after_unix_ms = CertificateFacts::read(&pem).ok()?.not_after.as_millisecond();
        Some(CertificateFact { path, not_after_unix_ms })
    };
    paths(host).into_iter().filter_map(fact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use naru_pki::Authority;

    #[test]
    fn every_certificate_is_told_and_keys_are_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs::create_dir_all(host.path("/etc/naru/pki/etcd")).unwrap();
        let authority = Authority::generate("naru", 10).unwrap();
        for path in ["/etc/naru/pki/ca.crt", "/etc/naru/pki/etcd/peer.crt"] {
            fs::write(host.path(path), authority.certificate_pem()).unwrap();
        }
        fs::write(host.path("/etc/naru/pki/ca.key"), "secret").unwrap();
        fs::write(host.path("/etc/naru/pki/damaged.crt"), "x").unwrap();
        let found = all(&host);
        let paths: Vec<&str> = found.iter().map(|fact| fact.path.as_str()).collect();
        assert_eq!(paths, ["/etc/naru/pki/ca.crt", "/etc/naru/pki/etcd/peer.crt"]);
        let days = (found[0].not_after_unix_ms - super::super::unix_time_ms()) / 86_400_000;
        assert!((9..=10).contains(&days), "{days}");
    }
}
