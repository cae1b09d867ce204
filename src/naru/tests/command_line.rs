//! The real binary: exit codes, what goes to standard output and what to standard error.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A cluster whose hosts nobody gets to: the hook before connecting fails.
fn unreachable_cluster(folder: &Path) {
    let text = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: prod}\nspec:\n  hooks:\n    \
                - {name: gate, when: beforeConnect, on: operator, command: echo the gate is shut; exit 3}\n  \
                hosts:\n    \
                - {name: cp1, role: control-plane, address: 192.0.2.11}\n    \
                - {name: w1, role: worker, address: 192.0.2.21}\n    \
                - {name: w2, role: worker, address: 192.0.2.22}\n";
    fs_err::write(folder.join("cluster.yaml"), text).unwrap();
}

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
    // Executing it would make real machines; that is for the end-to-end tests. Flags that belong to planning end it.
    let saved = ["apply", "plan.json", "--artifacts", ".", "--only", "w1"];
    insta::assert_snapshot!("apply_saved", seen(&naru(folder.path(), &saved)));
    assert!(!folder.path().join("machines").exists(), "machines were made");
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
    assert!(schema["title"].as_str().unwrap().starts_with("Inventory"));
    let output = naru(folder.path(), &["completions", "bash"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("_naru"));
    insta::assert_snapshot!("version", seen(&naru(folder.path(), &["version"])));
    insta::assert_snapshot!("help", seen(&naru(folder.path(), &["--help"])));
    assert_eq!(naru(folder.path(), &["aply"]).status.code(), Some(1));
}

#[test]
fn hosts_that_cannot_be_reached_are_told_by_every_verb() {
    let folder = folder_with_programs();
    unreachable_cluster(folder.path());
    for verb in [&["explain", "w1"][..], &["status"], &["diff"], &["plan"], &["apply", "--yes"]] {
        let arguments = [verb, &["--artifacts", "."]].concat();
        insta::assert_snapshot!(format!("unreachable_{}", verb[0]), seen(&naru(folder.path(), &arguments)));
    }
    assert!(!folder.path().join("XDG_STATE_HOME").exists(), "no journal was begun");
}

#[test]
fn what_verbs_show_is_also_json() {
    let folder = folder_with_programs();
    unreachable_cluster(folder.path());
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = naru(folder.path(), &[arguments, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", seen(&output)))
    };
    let chain = json(&["explain", "w1", "--artifacts", "."]);
    assert_eq!(
        (&chain["broken"], &chain["links"][0]["name"], &chain["links"][1]["state"]),
        (&"machine".into(), &"machine".into(), &"unknown".into())
    );
    let status = json(&["status", "--artifacts", "."]);
    assert_eq!((&status["isWell"], &status["hosts"][1]["state"]), (&false.into(), &"unreachable".into()));
    let diff = json(&["diff", "w1", "--artifacts", "."]);
    assert_eq!((&diff["hosts"][0]["host"], diff["hosts"].as_array().unwrap().len()), (&"w1".into(), 1));
    assert_eq!(json(&["journal"]), serde_json::json!([]));
}

#[test]
fn names_that_no_host_has_are_the_users_mistake() {
    let folder = folder_with_programs();
    unreachable_cluster(folder.path());
    for verb in [&["explain", "w9"][..], &["diff", "w9"]] {
        let output = naru(folder.path(), &[verb, &["--artifacts", "."]].concat());
        assert_eq!(output.status.code(), Some(1), "{verb:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("its hosts: cp1, w1, w2"), "{}", seen(&output));
    }
}

#[test]
fn journals_are_listed_and_shown_also_torn_ones() {
    let folder = tempfile::tempdir().unwrap();
    unreachable_cluster(folder.path());
    insta::assert_snapshot!(
        "journal_none",
        seen(&naru(folder.path(), &["journal", "--last"])).replace(&folder.path().display().to_string(), "FOLDER")
    );
    let state = folder.path().join("XDG_STATE_HOME/naru/prod");
    fs_err::create_dir_all(&state).unwrap();
    let lines = [
        r#"{"time":"2026-11-20T12:00:00Z","event":"started","cluster":"prod","fingerprint":"ab","steps":3,"owner":"ann@desk"}"#,
        r#"{"time":"2026-11-20T12:00:01Z","event":"stepStarted","step":"w1/a","host":"w1","title":"prepare the host"}"#,
        r#"{"time":"2026-11-20T12:00:02Z","event":"stepSucceeded","step":"w1/a","host":"w1","title":"prepare the host","elapsedMs":900,"changes":["create /etc/naru"]}"#,
        r#"{"time":"2026-11-20T12:00:03Z","event":"stepFailed","step":"w1/b","host":"w1","title":"install the container runtime","elapsedMs":1000,"error":{"primary":"no room","detail":"ENOSPC","hint":"make room"}}"#,
        r#"{"time":"2026-11-20T12:00:03Z","event":"stepSkipped","step":"w1/c","host":"w1","title":"run the node","because":"it needs w1/b"}"#,
        r#"{"time":"2026-11-20T12:00:04Z","event":"finished","succeeded":1,"failed":1,"skipped":1,"interrupted":false,"elapsedMs":4000}"#,
    ];
    fs_err::write(state.join("20261120T120000.000Z.ndjson"), lines.join("\n") + "\n").unwrap();
    fs_err::write(state.join("20261120T130000.000Z.ndjson"), lines[..2].join("\n") + "\n{\"time\":\"2026-1").unwrap();
    insta::assert_snapshot!("journal_list", seen(&naru(folder.path(), &["journal"])));
    insta::assert_snapshot!("journal_last", seen(&naru(folder.path(), &["journal", "--last"])));
    insta::assert_snapshot!(
        "journal_run",
        seen(&naru(folder.path(), &["journal", "20261120T12", "--cluster", "prod"]))
    );
    assert_eq!(naru(folder.path(), &["journal", "20261120"]).status.code(), Some(1), "two runs begin like that");
    assert_eq!(naru(folder.path(), &["journal", "--cluster", "../x"]).status.code(), Some(1));
}

#[test]
fn edits_of_the_inventory_are_shown_and_kept_only_if_something_was_done() {
    let folder = folder_with_programs();
    unreachable_cluster(folder.path());
    let file = folder.path().join("cluster.yaml");
    let before = fs_err::read_to_string(&file).unwrap();
    let add = ["node", "add", "root@192.0.2.23", "--label", "disk=ssd", "--taint", "gpu=a:NoSchedule", "--yes"];
    let reach = ["--artifacts", "."];
    insta::assert_snapshot!("node_add", seen(&naru(folder.path(), &[&add[..], &reach].concat())));
    let remove = ["node", "remove", "w1", "--yes"];
    insta::assert_snapshot!("node_remove", seen(&naru(folder.path(), &[&remove[..], &reach].concat())));
    let replace = ["node", "replace", "w1", "root@192.0.2.29", "--yes"];
    insta::assert_snapshot!("node_replace_dead", seen(&naru(folder.path(), &[&replace[..], &reach].concat())));
    let named = ["--name", "w7"];
    insta::assert_snapshot!("node_replace_named", seen(&naru(folder.path(), &[&replace[..], &named, &reach].concat())));
    let control_plane = ["node", "replace", "cp1", "root@192.0.2.29", "--yes"];
    let said = seen(&naru(folder.path(), &[&control_plane[..], &reach].concat()));
    assert!(said.contains("exit code: 1") && said.contains("it holds the cluster's state"), "{said}");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), before);
    for wrong in [
        &["node", "remove", "w9"][..],
        &["node", "remove", "cp1"],
        &["node", "add", "192.0.2.21"],
        &["node", "replace", "w9", "192.0.2.29"],
        &["node", "replace", "w1", "192.0.2.22"],
        &["node", "replace", "w1", "192.0.2.22:2222"],
        &["node", "replace", "w1", "192.0.2.29", "--name", "w2"],
        &["node", "replace", "w1", "192.0.2.29:ssh"],
        &["node", "replace", "cp1", "192.0.2.29", "--name", "cp1"],
    ] {
        let output = naru(folder.path(), &[wrong, &["--yes"], &reach].concat());
        assert_eq!(output.status.code(), Some(1), "{wrong:?}: {}", seen(&output));
    }
    assert_eq!(fs_err::read_to_string(&file).unwrap(), before);
}

#[test]
fn nothing_is_removed_without_a_yes() {
    let folder = folder_with_programs();
    unreachable_cluster(folder.path());
    let reset = |more: &[&str]| seen(&naru(folder.path(), &[&["reset", "--artifacts", "."], more].concat()));
    insta::assert_snapshot!("reset_in_a_pipe", reset(&[]));
    insta::assert_snapshot!("reset_unreachable", reset(&["--yes"]));
    let said = reset(&["--yes", "--without-lock"]);
    for part in ["exit code: 2", "1 are needed; going on without it, as asked", "w1, w2, cp1: it is not cleaned"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("error:"), "{said}");
    assert!(reset(&["--yes", "--without-lock", "--host", "w1"]).starts_with("exit code: 1"));
    insta::assert_snapshot!("reset_unknown_host", reset(&["--yes", "--host", "w9"]));
    assert!(!folder.path().join("XDG_STATE_HOME").exists(), "no journal was begun");
}

#[test]
fn a_saved_plan_is_for_its_maker_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder_with_programs();
    unreachable_cluster(folder.path());
    let plan = ["plan", "--artifacts", ".", "--json", "-o", "plan.json", "--only", "w1", "--skip-unreachable"];
    let output = naru(folder.path(), &plan);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let saved = fs_err::read_to_string(folder.path().join("plan.json")).unwrap();
    assert_eq!(shown, serde_json::from_str::<serde_json::Value>(&saved).unwrap());
    assert_eq!(shown["made"]["only"], serde_json::json!(["w1"]));
    let mode = fs_err::metadata(folder.path().join("plan.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(naru(folder.path(), &["plan", "--artifacts", ".", "--only", "w9"]).status.code(), Some(1));
}
