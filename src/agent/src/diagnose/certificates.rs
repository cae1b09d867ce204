//! Certificates: there, in date, for their key, signed by the cluster's authority.

use fs_err as fs;
use jiff::Timestamp;
use naru_pki::{CertificateFacts, PrivateKey};
use naru_resources::Host;
use zeroize::Zeroizing;

use super::{broken, holds};
use crate::facts::certificates::paths;
use crate::{Link, LinkName};

const KUBELET: &str = "/etc/naru/pki/kubelet.crt";
const AUTHORITY_FILE: &str = "ca.crt";

pub(super) fn link(host: &Host) -> Link {
    let paths = paths(host);
    if !paths.iter().any(|path| path == KUBELET) {
        let hint = "`naru apply` issues it".to_owned();
        return Link { hint: Some(hint), ..broken(LinkName::Certificates, format!("{KUBELET} is not there")) };
    }
    let now = Timestamp::now();
    let mut soonest: Option<(i64, String)> = None;
    for path in &paths {
        match look(host, path, now) {
            Ok(days) if soonest.as_ref().is_none_or(|(least, _)| days < *least) => {
                soonest = Some((days, path.clone()));
            }
            Ok(_) => {}
            Err((found, hint)) => {
                return Link { hint: Some(hint.to_owned()), ..broken(LinkName::Certificates, found) };
            }
        }
    }
    let (days, path) = soonest.unwrap_or_default();
    holds(LinkName::Certificates, format!("{} certificates are good, {path} for {days} days more", paths.len()))
}

/// Whole days left, or what is wrong and what to do.
fn look(host: &Host, path: &str, now: Timestamp) -> Result<i64, (String, &'static str)> {
    let renew = "`naru apply` issues a new one";
    let pem = fs::read_to_string(host.path(path)).map_err(|error| (error.to_string(), renew))?;
    let facts = CertificateFacts::read(&pem).map_err(|error| (format!("{path}: {error}"), renew))?;
    if now > facts.not_after {
        return Err((format!("{path} ended on {}", facts.not_after), renew));
    }
    if now < facts.not_before {
        let hint = "set the host's clock: it is behind, or that of the host which signed was ahead";
        return Err((format!("{path} is good only from {} on, and here it is {now}", facts.not_before), hint));
    }
    let (folder, file) = path.rsplit_once('/').unwrap_or_default();
    if file != AUTHORITY_FILE {
        let key = key(host, &format!("{}.key", path.trim_end_matches(".crt")))
            .map_err(|reason| (format!("the key of {path} {reason}"), renew))?;
        if !facts.belongs_to(&key) {
            return Err((format!("{path} does not belong to its key"), renew));
        }
        let authority = fs::read_to_string(host.path(folder).join(AUTHORITY_FILE)).unwrap_or_default();
        if !facts.is_signed_by(&authority).unwrap_or(false) {
            return Err((format!("{path} was signed by another authority than {folder}/{AUTHORITY_FILE}"), renew));
        }
    }
    Ok(facts.days_left(now))
}

fn key(host: &Host, path: &str) -> Result<PrivateKey, String> {
    let pem = fs::read_to_string(host.path(path)).map(Zeroizing::new).map_err(|_| "is not there".to_owned())?;
    PrivateKey::from_pem(&pem).map_err(|_| "cannot be read".to_owned())
}
