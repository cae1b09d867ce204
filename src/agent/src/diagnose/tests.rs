//! A host below a temporary folder that is broken in one place after the other.

use super::*;
use fs_err as fs;
use naru_pki::{Authority, Profile, Purpose};
use naru_resources::write_whole;
use std::time::Duration;

fn put(host: &Host, path: &str, text: &str) {
    write_whole(&host.path(path), 0o644, text.as_bytes()).unwrap();
}

fn program(host: &Host, name: &str, body: &str) {
    write_whole(&host.path("/bin").join(name), 0o755, format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
}

fn issue(host: &Host, authority: &Authority, life: Duration) {
    let profile = Profile {
        common_name: "system:node:w1".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        alternative_names: vec!["127.0.0.1".to_owned()],
        purposes: vec![Purpose::Client, Purpose::Server],
        validity: life,
    };
    let (certificate, key) = authority.issue(&profile).unwrap();
    put(host, "/etc/naru/pki/ca.crt", authority.certificate_pem());
    put(host, "/etc/naru/pki/kubelet.crt", &certificate);
    put(host, "/etc/naru/pki/kubelet.key", &key.to_pem());
}

fn host(folder: &tempfile::TempDir) -> Host {
    let host = Host::below(folder.path(), vec![folder.path().join("bin")]);
    program(
        &host,
        "systemctl",
        "for unit; do :; done; echo Id=$unit; echo LoadState=loaded; echo ActiveState=failed; echo SubState=failed",
    );
    program(
        &host,
        "journalctl",
        "echo 'starting'; echo 'level=fatal msg=\"invalid plugin config\"'; echo 'Failed with result exit-code'",
    );
    host
}

async fn links(host: &Host) -> Vec<Link> {
    let Response::Diagnosis { links } = diagnose(host).await else { panic!() };
    links
}

fn link(links: &[Link], name: LinkName) -> &Link {
    links.iter().find(|link| link.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_is_told_in_the_order_of_the_chain_with_the_line_that_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    issue(&host, &Authority::generate("naru", 10).unwrap(), Duration::from_secs(86_400));
    put(&host, "/etc/naru/control-plane.yaml", "kind: ControlPlaneConfiguration\n");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    put(&host, "/etc/naru/node.yaml", &format!("controlPlanes: [\"{closed}\"]\n"));
    let links = links(&host).await;
    let names: Vec<LinkName> = links.iter().map(|link| link.name).collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(names, sorted);
    assert_eq!(names.len(), 7, "no etcd here: {names:?}");
    let runtime = link(&links, LinkName::Runtime);
    assert!(!runtime.holds && runtime.found.contains("containerd.service is failed"), "{runtime:?}");
    assert_eq!(runtime.log.as_deref(), Some("level=fatal msg=\"invalid plugin config\""));
    assert!(runtime.hint.as_ref().unwrap().contains("config.toml"));
    assert!(link(&links, LinkName::Certificates).holds, "{links:?}");
    let api = link(&links, LinkName::Api);
    assert!(!api.holds && api.found.contains(&closed.to_string()) && api.found.contains("refused"), "{api:?}");
    let cni = link(&links, LinkName::Cni);
    assert!(!cni.holds && cni.found.contains("no configuration"), "{cni:?}");
    assert!(links.iter().filter(|link| !link.holds).all(|link| link.hint.is_some()), "{links:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_fit_are_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    let certificates = || certificates::link(&host);
    assert!(certificates().found.contains("kubelet.crt is not there"));
    let authority = Authority::generate("naru", 10).unwrap();
    issue(&host, &authority, Duration::from_secs(86_400));
    assert!(certificates().holds);
    let good = fs::read_to_string(host.path("/etc/naru/pki/kubelet.crt")).unwrap();
    issue(&host, &Authority::generate("naru", 10).unwrap(), Duration::from_secs(86_400));
    put(&host, "/etc/naru/pki/ca.crt", authority.certificate_pem());
    assert!(certificates().found.contains("another authority"), "{:?}", certificates());
    put(&host, "/etc/naru/pki/kubelet.crt", &good);
    assert!(certificates().found.contains("does not belong to its key"), "{:?}", certificates());
    issue(&host, &authority, Duration::from_secs(0));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(certificates().found.contains("ended on"), "{:?}", certificates());
}

#[test]
fn a_network_without_its_plugin_is_told_and_a_whole_one_gives_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    put(&host, "/etc/cni/net.d/10-naru.conflist", "{");
    assert!(cni::link(&host).found.contains("no JSON"));
    let text =
        r#"{"plugins": [{"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.1.0/24"}]]}}]}"#;
    put(&host, "/etc/cni/net.d/10-naru.conflist", text);
    put(&host, "/usr/lib/cni/ptp", "");
    assert!(cni::link(&host).found.contains("wants the plugin host-local"));
    put(&host, "/usr/lib/cni/host-local", "");
    let link = cni::link(&host);
    assert!(link.holds && link.found.contains("10.244.1.0/24"), "{link:?}");
}

#[test]
fn the_surest_sign_of_trouble_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(&folder);
    program(&host, "journalctl", "echo 'ERROR disk'; echo 'WARN slow'; echo 'fine'");
    assert_eq!(trouble(&host, "x.service", true).unwrap(), "ERROR disk");
    program(&host, "journalctl", "echo 'all is well'");
    assert_eq!(trouble(&host, "x.service", true), None);
    assert_eq!(trouble(&host, "x.service", false).unwrap(), "all is well", "the last words of a dead unit");
}
