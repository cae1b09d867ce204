//! etcd on control planes: the distribution's program under a unit of ours, reached only with certificates of an
//! authority of its own.
//!
//! Who the members are is no part of the desired state: it matters only at a member's very first start, so it stands in
//! a file that exists only while the member joins. A change of the members restarts nobody.

use naru_inventory::Host;
use naru_resources::{Content, Resource, Usage};
use serde_json::json;

use super::identity::certificate;
use super::{Blueprint, Desired, Stage};
use crate::templates;

pub const ETCD_AUTHORITY_CERTIFICATE: &str = "/etc/naru/pki/etcd/ca.crt";
pub const ETCD_AUTHORITY_KEY: &str = "/etc/naru/pki/etcd/ca.key";
pub const ETCD_UNIT: &str = "naru-etcd.service";
/// Read by etcd at its first start; a member that has its data looks at it no more.
pub const ETCD_JOIN_FILE: &str = "/etc/naru/etcd-join.env";
pub(super) const PKI_FOLDER: &str = "/etc/naru/pki/etcd";
const CONFIG: &str = "/etc/naru/etcd.env";
/// Keeps the package's own service from starting an etcd beside ours when it is installed.
const PACKAGE_DROP_IN: &str = "/etc/systemd/system/etcd.service.d/10-naru.conf";
pub(crate) const PEER_PORT: u16 = 2380;
pub(crate) const CLIENT_PORT: u16 = 2379;

/// Where other members reach the etcd of this host.
#[must_use]
pub fn peer_url(host: &Host) -> String {
    format!("https://{}:{PEER_PORT}", host.address)
}

/// What a member needs to know at its first start: the members by then, itself included, as (name, peer URL).
pub(crate) fn join_file(members: &[(String, String)], is_first: bool) -> Resource {
    let cluster: Vec<String> = members.iter().map(|(name, url)| format!("{name}={url}")).collect();
    let state = if is_first { "new" } else { "existing" };
    let text = templates::render("etcd-join.env", &json!({"cluster": cluster.join(","), "state": state}));
    Resource::File { path: ETCD_JOIN_FILE.to_owned(), mode: 0o644, content: Content { text, sensitive: false } }
}

impl Blueprint<'_> {
    pub(super) fn etcd_certificates(&self, host: &Host, desired: &mut Desired) {
        let names = vec![host.name.clone(), host.address.clone(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        let both = vec![Usage::ServerAuth, Usage::ClientAuth];
        let client = vec![Usage::ClientAuth];
        let all = [
            ("etcd/server", host.name.as_str(), names.clone(), both.clone()),
            ("etcd/peer", host.name.as_str(), names, both),
            ("etcd/client", "naru-control-plane", Vec::new(), client),
        ];
        for (file, name, names, usages) in all {
            let mut certificate = certificate(file, name, None, names, usages);
            certificate.authority_path = ETCD_AUTHORITY_CERTIFICATE.to_owned();
            desired.add(Stage::EtcdCertificates, Resource::Certificate(certificate));
        }
    }

    pub(super) fn etcd(&self, host: &Host, desired: &mut Desired) {
        let stage = Stage::Etcd;
        desired.directory(stage, "/var/lib/naru/etcd", 0o700);
        desired.file(stage, PACKAGE_DROP_IN, 0o644, templates::render("etcd-package.conf", &json!({"config": CONFIG})));
        let values = json!({
            "name": host.name,
            "address": host.address,
            "cluster": self.inventory.name(),
            "peer_url": peer_url(host),
            "client_port": CLIENT_PORT,
            "pki": PKI_FOLDER,
        });
        desired.file(stage, CONFIG, 0o644, templates::render("etcd.env", &values));
        desired.add(stage, Resource::Packages { names: vec!["etcd-server".to_owned()] });
        let unit = templates::render("naru-etcd.service", &json!({"config": CONFIG, "join": ETCD_JOIN_FILE}));
        let restart_on =
            [CONFIG, ETCD_AUTHORITY_CERTIFICATE, "/etc/naru/pki/etcd/server.crt", "/etc/naru/pki/etcd/peer.crt"];
        desired.unit(stage, ETCD_UNIT, Some(unit), &restart_on);
    }
}
