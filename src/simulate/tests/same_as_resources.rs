//! The simulator's hosts answer as real ones do: the same resources, checked and applied below a temporary root by
//! `naru-resources` and in memory by the simulator, in the same words after every turn.

#![expect(clippy::unwrap_used, reason = "a test may stop")]

use std::os::unix::fs::PermissionsExt;

use naru_resources::{Authority, Certificate, Content, Host, Resource, Stop, Usage, apply_all, check_all, write_whole};
use naru_simulate::Random;
use naru_simulate::machine::Machine;
use sha2::{Digest, Sha256};

const PROGRAM: &[u8] = b"a program";
const PARAMETERS: [&str; 2] = ["net.ipv4.ip_forward", "fs.inotify.max_user_watches"];

struct Pair {
    _folder: tempfile::TempDir,
    real: Host,
    simulated: Machine,
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let real = Host::below(folder.path(), Vec::new());
        let mut simulated = Machine::new("w1", "10.0.0.1", &mut Random::new(0));
        simulated.files.clear();
        simulated.swap_active = false;
        simulated.artifacts.insert(hash(PROGRAM), PROGRAM.len() as u64);
        write_whole(&real.artifact(&hash(PROGRAM)), 0o755, PROGRAM).unwrap();
        for key in PARAMETERS {
            let value = &simulated.parameters[key];
            write_whole(&real.path(format!("/proc/sys/{}", key.replace('.', "/"))), 0o644, value.as_bytes()).unwrap();
        }
        Self { _folder: folder, real, simulated }
    }

    /// Both say the same before and after both have applied it; then neither finds anything more.
    fn same(&mut self, resources: &[Resource]) -> Vec<String> {
        let found = self.said(resources);
        let done = apply_all(&self.real, resources, &Stop::default()).unwrap();
        for resource in resources {
            self.simulated.clock_unix_ms += 5;
            self.simulated.apply(resource).unwrap();
        }
        assert_eq!(done.into_iter().map(|change| change.summary).collect::<Vec<_>>(), found, "done as said");
        assert_eq!(self.said(resources), Vec::<String>::new(), "nothing is left");
        found
    }

    fn said(&self, resources: &[Resource]) -> Vec<String> {
        let real = check_all(&self.real, resources).unwrap();
        let simulated = self.simulated.check_all(resources).unwrap().changes;
        let lines = |changes: &[naru_resources::Change]| -> Vec<(usize, String)> {
            changes.iter().map(|change| (change.resource, change.summary.clone())).collect()
        };
        assert_eq!(lines(&simulated), lines(&real));
        assert_eq!(
            simulated.iter().map(|change| &change.disruption).collect::<Vec<_>>(),
            real.iter().map(|change| &change.disruption).collect::<Vec<_>>()
        );
        real.into_iter().map(|change| change.summary).collect()
    }
}

fn file(path: &str, mode: u32, text: &str, sensitive: bool) -> Resource {
    Resource::File { path: path.to_owned(), mode, content: Content { text: text.to_owned(), sensitive } }
}

fn folder(path: &str, mode: u32) -> Resource {
    Resource::Directory { path: path.to_owned(), mode }
}

fn absent(path: &str) -> Resource {
    Resource::Absent { path: path.to_owned() }
}

#[test]
fn files_folders_and_programs() {
    let mut pair = Pair::new();
    let binary = Resource::Binary { path: "/opt/naru/bin/naru-node".to_owned(), sha256: hash(PROGRAM) };
    let first = [folder("/etc/naru", 0o755), file("/etc/naru/a", 0o644, "a\n", false), binary];
    assert_eq!(pair.same(&first).len(), 3);
    assert_eq!(pair.same(&[folder("/etc/naru", 0o700), file("/etc/naru/a", 0o600, "a\n", false)]).len(), 2);
    assert_eq!(pair.same(&[file("/etc/naru/a", 0o600, "b\n", true)]), ["update /etc/naru/a"]);
    // By hand, on both.
    let path = pair.real.path("/etc/naru/a");
    fs_err::write(&path, "c\n").unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    pair.simulated.put("/etc/naru/a", naru_simulate::machine::Body::text("c\n"), 0o640);
    assert_eq!(pair.same(&[file("/etc/naru/a", 0o600, "b\n", false)]), ["update /etc/naru/a"]);
    let gone = pair.same(&[absent("/etc/naru/a"), absent("/etc/naru"), absent("/etc/never")]);
    assert_eq!(gone, ["remove /etc/naru/a", "remove /etc/naru"]);
}

#[test]
fn parameters_keys_and_authorities() {
    let mut pair = Pair::new();
    let parameter = |value: &str| Resource::Sysctl { key: PARAMETERS[0].to_owned(), value: value.to_owned() };
    assert_eq!(pair.same(&[parameter("1")]).len(), 1);
    assert_eq!(pair.same(&[parameter("0")]), ["set net.ipv4.ip_forward = 0 (was 1)"]);
    let pki = [
        Resource::Authority(Authority {
            certificate_path: "/etc/naru/pki/ca.crt".to_owned(),
            key_path: "/etc/naru/pki/ca.key".to_owned(),
            common_name: "naru".to_owned(),
            days: 3_650,
        }),
        Resource::KeyPair {
            private_path: "/etc/naru/pki/sa.key".to_owned(),
            public_path: "/etc/naru/pki/sa.pub".to_owned(),
        },
    ];
    assert_eq!(pair.same(&pki).len(), 2);
    fs_err::remove_file(pair.real.path("/etc/naru/pki/sa.pub")).unwrap();
    pair.simulated.files.remove("/etc/naru/pki/sa.pub");
    assert_eq!(pair.same(&pki), ["write /etc/naru/pki/sa.pub for /etc/naru/pki/sa.key"]);
    let certificate = Resource::Certificate(Certificate {
        certificate_path: "/etc/naru/pki/kubelet.crt".to_owned(),
        key_path: "/etc/naru/pki/kubelet.key".to_owned(),
        authority_path: "/etc/naru/pki/ca.crt".to_owned(),
        common_name: "system:node:w1".to_owned(),
        organizations: Vec::new(),
        alternative_names: Vec::new(),
        usages: vec![Usage::ClientAuth],
        days: 365,
        validity_seconds: None,
    });
    assert_eq!(pair.said(std::slice::from_ref(&certificate)), ["issue /etc/naru/pki/kubelet.crt"]);
    assert!(pair.simulated.apply(&certificate).is_err(), "it has to be issued first");
}
