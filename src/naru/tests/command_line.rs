//! The real binary: exit codes, what goes to standard output and what to standard error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn naru(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_naru"));
    command.current_dir(folder).args(arguments).stdin(std::process::Stdio::null());
    command.env("HOME", folder).env("NARU_MACHINES_STATE", folder.join("machines")).env_remove("NARU_LOG");
    for name in ["XDG_STATE_HOME", "XDG_CACHE_HOME"] {
        command.env(name, folder.join(name));
    }
    command.output().unwrap()
}

fn seen(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "exit code: {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// A folder with files that stand where the programs would be; nothing here ever runs them.
fn folder_with_programs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["naru-node", "naru-control-plane"] {
        fs_err::write(folder.path().join(name), name).unwrap();
    }
    folder
}

#[test]
fn broken_inventories_exit_with_1_and_touch_nothing() {
    let folder = folder_with_programs();
    let bad = Path::new(ROOT).join("tests/inventories-bad");
    let mut files: Vec<PathBuf> = fs_err::read_dir(bad).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    assert!(files.len() >= 20);
    for file in files {
        for verb in ["plan", "apply"] {
            let output = naru(folder.path(), &[verb, file.to_str().unwrap(), "--artifacts", "."]);
            assert_eq!(output.status.code(), Some(1), "{verb} {}", file.display());
            assert!(output.stdout.is_empty());
            assert!(String::from_utf8_lossy(&output.stderr).contains("no host was touched"), "{}", file.display());
        }
    }
    assert!(!folder.path().join("XDG_STATE_HOME").exists(), "no journal was begun");
}

#[test]
fn a_missing_file_is_the_users_mistake() {
    let folder = folder_with_programs();
    insta::assert_snapshot!(seen(&naru(folder.path(), &["plan"])));
}

#[test]
fn missing_programs_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let inventory = format!("{ROOT}/inventories/local.yaml");
    let text = seen(&naru(folder.path(), &["plan", &inventory, "--artifacts", "nowhere"]));
    insta::assert_snapshot!(text);
}

#[test]
fn init_writes_what_plan_reads() {
    let folder = folder_with_programs();
    let output = naru(folder.path(), &["init", "--provider", "local"]);
    insta::assert_snapshot!("init_local", seen(&output));
    insta::assert_snapshot!("init_local_file", fs_err::read_to_string(folder.path().join("cluster.yaml")).unwrap());
    insta::assert_snapshot!("init_again", seen(&naru(folder.path(), &["init", "--provider", "local"])));
    let arguments = ["plan", "--artifacts", ".", "--detailed-exitcode", "-o", "plan.json"];
    insta::assert_snapshot!("plan_of_machines", seen(&naru(folder.path(), &arguments)));
    insta::assert_snapshot!("apply_saved", seen(&naru(folder.path(), &["apply", "plan.json", "--artifacts", "."])));
}

#[test]
fn init_for_hosts_that_exist() {
    let folder = folder_with_programs();
    let hosts = ["admin@192.0.2.11", "root@192.0.2.21:2222"];
    let hosts = ["init", "-f", "-", "--no-probe", "--host", hosts[0], "--host", hosts[1], "--name", "prod"];
    insta::assert_snapshot!(seen(&naru(folder.path(), &hosts)));
    insta::assert_snapshot!(
        "init_bad_host",
        seen(&naru(folder.path(), &["init", "-f", "-", "--host", "worker.example.com"]))
    );
    insta::assert_snapshot!("init_in_a_pipe", seen(&naru(folder.path(), &["init"])));
}

#[test]
fn fields_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let of = |path: &str| seen(&naru(folder.path(), &["explain-field", path]));
    insta::assert_snapshot!("explain_field", of("spec.controlPlane.store"));
    insta::assert_snapshot!("explain_field_unknown", of("spec.controlPlane.stoer"));
    assert!(seen(&naru(folder.path(), &["explain-field"])).contains("\nspec "));
}

#[test]
fn schema_and_completions_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    let output = naru(folder.path(), &["schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "Inventory");
    let output = naru(folder.path(), &["completions", "bash"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("_naru"));
    insta::assert_snapshot!("version", seen(&naru(folder.path(), &["version"])));
    insta::assert_snapshot!("help", seen(&naru(folder.path(), &["--help"])));
    assert_eq!(naru(folder.path(), &["aply"]).status.code(), Some(1));
}
