//! The network part of a reset runs in a network namespace of its own: this test starts itself once more in one.

use super::*;
use std::process::Command;

const INNER: &str = "NARU_TEST_IN_NAMESPACE";

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_routes_and_the_address_of_the_dns_go_and_others_stay() {
    let name = "reset::tests::tables_routes_and_the_address_of_the_dns_go_and_others_stay";
    if std::env::var_os(INNER).is_none() {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        let status = command.arg("--net").arg(own).args(["--exact", name]).env(INNER, "1").status();
        assert!(status.unwrap().success());
        return;
    }
    run("ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 10.9.0.1/24 dev v0; ip link set v0 up");
    run("ip addr add 10.96.0.10/32 dev lo; ip addr add 10.96.0.11/32 dev lo; ip link set v1 up");
    run("ip route add 10.244.1.0/24 via 10.9.0.2 proto 155; ip route add 10.244.2.0/24 via 10.9.0.2");
    run("nft add table ip naru-services; nft add table ip theirs");
    let folder = tempfile::tempdir().unwrap();
    let host = Host::rooted(folder.path());
    fs::create_dir_all(host.path("/etc/naru")).unwrap();
    fs::write(host.path(NODE_CONFIGURATION), "kind: NodeConfiguration\ndnsServiceIP: \"10.96.0.10\"\n").unwrap();
    for expected in [3, 0] {
        let mut done = Done { host: host.clone(), changes: Vec::new() };
        done.network().await.unwrap();
        assert_eq!(done.changes.len(), expected, "{:?}", done.changes);
    }
    let left = run("ip addr show lo; ip route; nft list tables");
    for (text, is_left) in [
        ("10.96.0.10/32", false),
        ("10.96.0.11/32", true),
        ("10.244.1.0/24", false),
        ("10.244.2.0/24", true),
        ("naru-services", false),
        ("theirs", true),
    ] {
        assert_eq!(left.contains(text), is_left, "{text}: {left}");
    }
}
