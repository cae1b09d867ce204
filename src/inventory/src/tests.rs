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
