//! Broken inventories under `tests/inventories-bad`, each with the message it must give; and whole ones.

use super::*;

const BAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/inventories-bad");
const GOOD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../inventories");

fn yaml_files(folder: &str) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[expect(clippy::disallowed_methods, reason = "a test panics with the path itself")]
fn read(path: &std::path::Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_broken_inventory_gives_its_message() {
    let files = yaml_files(BAD);
    assert!(files.len() >= 50, "{} broken inventories", files.len());
    insta::with_settings!({ prepend_module_to_snapshot => false, snapshot_path => format!("{BAD}/snapshots") }, {
        for path in files {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let error = parse(&format!("{name}.yaml"), &read(&path)).expect_err(name);
            assert!(!error.to_string().contains("hunter"), "{name}: a secret is shown");
            insta::assert_snapshot!(name, error.to_string());
        }
    });
}

#[test]
fn examples_are_whole() {
    let files = yaml_files(GOOD);
    assert!(!files.is_empty());
    for path in files {
        parse(path.to_str().unwrap(), &read(&path)).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_readme_shows_a_whole_inventory() {
    let readme = read(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")));
    let (_, example) = readme.split_once("    apiVersion: naru.dev/v1alpha1").expect("an inventory in the readme");
    let lines = example.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let text: Vec<&str> = lines.map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    parse("README.md", &format!("apiVersion: naru.dev/v1alpha1{}", text.join("\n")))
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Everything that the schema knows, said at once.
const ALL: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: first}
---
apiVersion: naru.dev/v1alpha1
kind: Cluster
metadata: {name: all}
spec:
  version: v1.22.333
  controlPlane:
    endpoint: api.example.com:6443
    apiServer: {extraArgs: {event-ttl: 2h, min-request-timeout: 600}}
  runtime:
    registries:
      - {host: docker.io, mirrors: ["https://mirror.example.com/v2"], username: me, password: "${HUB}"}
      - {host: "registry.example.com:5000", skipTlsVerification: true, username: me, password: "file:registry.pw"}
  ssh:
    user: admin
    bastion: {address: jump.example.com, port: 2222, bastion: {address: 203.0.113.7}}
    become: {method: doas, password: "${DOAS}"}
  kubelet: {maxPods: 200, systemReserved: {cpu: 1, memory: 512Mi}, extraArgs: {container-log-max-files: 7}}
  proxy: {http: "http://proxy.example.com:3128", noProxy: [.example.com, 192.168.0.0/16, 10.9.8.7]}
  rollout: {maxUnavailable: 2, maxFailures: 1, drainTimeoutSeconds: 60}
  hooks:
    - {name: vpn, when: beforeConnect, on: operator, command: "true"}
    - {name: check, when: afterApply, hosts: [w1], roles: [worker], command: "true", timeoutSeconds: 5}
  files:
    - {path: /etc/motd, content: "hello
", mode: "0600", roles: [worker]}
    - {path: /etc/issue, source: issue.txt, hosts: [w1]}
  hosts:
    - {name: cp1, role: control-plane, address: 10.0.0.11, annotations: {example.com/rack: "1"}}
    - {name: cp0, role: control-plane, address: 10.0.0.10, state: absent}
    - {name: w1, role: worker, address: 10.0.0.21, kubelet: {maxPods: 50, extraArgs: {container-log-max-size: 1Mi}}}
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: second}}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: second, namespace: second}, data: {a: "1"}}
---
# nothing
"#;

#[test]
fn the_whole_schema_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("issue.txt"), "welcome\n").unwrap();
    let file = folder.path().join("cluster.yaml");
    let inventory = parse(file.to_str().unwrap(), ALL).unwrap_or_else(|error| panic!("{error}"));
    let spec = &inventory.spec;
    assert_eq!(spec.rollout.max_unavailable, "2");
    assert_eq!(spec.control_plane.api_server.extra_args["min-request-timeout"], "600");
    assert_eq!(spec.files[1].content.as_deref(), Some("welcome\n"));
    assert_eq!((spec.files[0].mode_bits(), spec.files[1].mode_bits()), (0o600, 0o644));
    let worker = inventory.host("w1").unwrap();
    let kubelet = inventory.kubelet_of(worker);
    assert_eq!((kubelet.max_pods, kubelet.system_reserved["cpu"].as_str()), (Some(50), "1"));
    assert_eq!(kubelet.extra_args.len(), 2);
    assert!(spec.files[1].is_for(worker) && !spec.hooks[1].is_for(inventory.host("cp1").unwrap()));
    assert_eq!(inventory.control_planes().count(), 1);
    let names: Vec<&str> =
        inventory.manifests.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "second", "second"]);
    // What a plan or journal would keep of the secrets is where they are.
    assert!(serde_json::to_string(&inventory).unwrap().contains("${HUB}"));
}

#[test]
fn files_beside_the_inventory_must_be_texts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cluster.yaml");
    let said = |bytes: &[u8]| {
        fs_err::write(folder.path().join("issue.txt"), bytes).unwrap();
        parse(file.to_str().unwrap(), ALL).unwrap_err().to_string()
    };
    assert!(said(b"\xff\xfe").contains("it is no UTF-8 text"));
    assert!(said(&vec![b'x'; (1 << 20) + 1]).contains("at most 1048576 are possible"));
}

#[test]
fn control_planes_come_and_go_over_an_even_number() {
    let host =
        |name: &str, rest: &str| format!("    - {{name: {name}, role: control-plane, address: 10.0.0.{rest}}}\n");
    let text = |third: &str| {
        let head = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec:\n  controlPlane: {store: etcd}\n  hosts:\n";
        format!("{head}{}{}{}", host("a", "1"), host("b", "2"), host("c", third))
    };
    assert!(parse_ahead("x", &text("3")).is_ok() && parse_ahead("x", &text("3, state: absent")).is_ok());
    let error = parse("x", &text("3")).unwrap_err().to_string();
    assert!(error.contains("3 control planes are not supported yet") && error.contains("`etcd` is not supported"));
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let text = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: small}\nspec:\n  hosts:\n  - {name: a, role: control-plane, address: 10.0.0.1}\n";
    let inventory = parse("x", text).unwrap();
    assert_eq!(inventory.spec.version, VERSION);
    assert_eq!(inventory.spec.ssh, Ssh::default());
    assert_eq!(inventory.dns_service_ip().to_string(), "10.96.0.10");
    assert_eq!(inventory.kubernetes_service_ip().to_string(), "10.96.0.1");
    assert_eq!(inventory.spec.hosts[0].connection, Connection::Ssh);
    let again: Inventory = serde_json::from_value(serde_json::to_value(&inventory).unwrap()).unwrap();
    assert_eq!(again, inventory);
}

#[test]
fn anchors_and_merges_work() {
    let text = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: small}\nspec:\n  hosts:\n  - &first {name: a, role: control-plane, address: 10.0.0.1}\n  - {<<: *first, name: b, role: worker, address: 10.0.0.2}\n";
    let inventory = parse("x", text).unwrap();
    assert_eq!(inventory.spec.hosts[1].name, "b");
}

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/inventory.md");

#[test]
fn the_reference_page_is_that_of_the_schema() {
    let page = fs_err::read_to_string(REFERENCE).unwrap_or_default();
    assert!(page == reference(), "docs/reference/inventory.md is not that of the schema: run `cargo xtask docs`");
}
