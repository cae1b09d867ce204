//! Who is who: the cluster's authority, the service-account keys, certificates.

use std::time::Duration;

use naru_inventory::{Host, Role};
use naru_resources::{Authority, Certificate, Resource, Usage};

use super::{Blueprint, Desired, Stage, etcd};

pub const AUTHORITY_CERTIFICATE: &str = "/etc/naru/pki/ca.crt";
pub const AUTHORITY_KEY: &str = "/etc/naru/pki/ca.key";
const SERVICE_ACCOUNT_KEY: &str = "/etc/naru/pki/service-account.key";
const SERVICE_ACCOUNT_PUBLIC_KEY: &str = "/etc/naru/pki/service-account.pub";
const AUTHORITY_DAYS: u32 = 3_650;
const CERTIFICATE_DAYS: u32 = 365;
const SECONDS_PER_DAY: u64 = 86_400;

/// What every control plane has a copy of.
pub(crate) fn shared_files(with_etcd: bool) -> Vec<String> {
    let mut paths = vec![AUTHORITY_CERTIFICATE, AUTHORITY_KEY, SERVICE_ACCOUNT_KEY, SERVICE_ACCOUNT_PUBLIC_KEY];
    if with_etcd {
        paths.extend([etcd::ETCD_AUTHORITY_CERTIFICATE, etcd::ETCD_AUTHORITY_KEY]);
    }
    paths.into_iter().map(str::to_owned).collect()
}

impl Blueprint<'_> {
    pub(super) fn identity(&self, desired: &mut Desired) {
        let stage = Stage::Identity;
        let authority = |certificate: &str, key: &str, name: &str| {
            Resource::Authority(Authority {
                certificate_path: certificate.to_owned(),
                key_path: key.to_owned(),
                common_name: format!("{name}-{}", self.inventory.name()),
                days: AUTHORITY_DAYS,
            })
        };
        desired.add(stage, authority(AUTHORITY_CERTIFICATE, AUTHORITY_KEY, "naru-ca"));
        desired.add(
            stage,
            Resource::KeyPair {
                private_path: SERVICE_ACCOUNT_KEY.to_owned(),
                public_path: SERVICE_ACCOUNT_PUBLIC_KEY.to_owned(),
            },
        );
        if self.has_etcd() {
            let (certificate, key) = (etcd::ETCD_AUTHORITY_CERTIFICATE, etcd::ETCD_AUTHORITY_KEY);
            desired.add(stage, authority(certificate, key, "naru-etcd-ca"));
        }
    }

    pub(super) fn certificates(&self, host: &Host, desired: &mut Desired) {
        let kubelet_name = format!("system:node:{}", host.name);
        let names = vec![host.name.clone(), host.address.clone()];
        let both = vec![Usage::ServerAuth, Usage::ClientAuth];
        let mut all = vec![certificate("kubelet", &kubelet_name, Some("system:nodes"), names, both)];
        if host.role == Role::ControlPlane {
            let names = self.api_names(host);
            all.push(certificate("apiserver", "kube-apiserver", None, names, vec![Usage::ServerAuth]));
            let name = "kube-apiserver-kubelet-client";
            let client = vec![Usage::ClientAuth];
            all.push(certificate("apiserver-kubelet-client", name, Some("system:masters"), Vec::new(), client));
        }
        for certificate in all {
            desired.add(Stage::Certificates, Resource::Certificate(certificate));
        }
    }

    /// Names and addresses under which clients reach the API server of a host.
    fn api_names(&self, host: &Host) -> Vec<String> {
        let inventory = self.inventory;
        let mut names: Vec<String> =
            ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"].map(str::to_owned).to_vec();
        names.push(format!("kubernetes.default.svc.{}", inventory.spec.network.domain));
        names.push(host.name.clone());
        let endpoint = inventory.spec.control_plane.endpoint.as_deref();
        if let Some((name, _)) = endpoint.and_then(|text| text.rsplit_once(':')) {
            names.push(name.to_owned());
        }
        names.extend(["127.0.0.1".to_owned(), host.address.clone(), inventory.kubernetes_service_ip().to_string()]);
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

/// A certificate of the cluster's authority at `/etc/naru/pki/{file}.crt`.
pub(super) fn certificate(
    file: &str,
    common_name: &str,
    organization: Option<&str>,
    alternative_names: Vec<String>,
    usages: Vec<Usage>,
) -> Certificate {
    Certificate {
        certificate_path: format!("/etc/naru/pki/{file}.crt"),
        key_path: format!("/etc/naru/pki/{file}.key"),
        authority_path: AUTHORITY_CERTIFICATE.to_owned(),
        common_name: common_name.to_owned(),
        organizations: organization.map(str::to_owned).into_iter().collect(),
        alternative_names,
        usages,
        days: CERTIFICATE_DAYS,
        validity_seconds: None,
    }
}

/// The certificate of an administrator who asks for a kubeconfig; its key is made by `naru` itself.
#[must_use]
pub fn administrator_certificate(validity: Duration) -> Certificate {
    Certificate {
        certificate_path: String::new(),
        key_path: String::new(),
        authority_path: AUTHORITY_CERTIFICATE.to_owned(),
        common_name: "naru:admin".to_owned(),
        organizations: vec!["system:masters".to_owned()],
        alternative_names: Vec::new(),
        usages: vec![Usage::ClientAuth],
        days: u32::try_from(validity.as_secs().div_ceil(SECONDS_PER_DAY)).unwrap_or(1),
        validity_seconds: Some(validity.as_secs()),
    }
}
