//! The life of real machines, on this computer, as root. Slow the first time (images), then a few seconds.
//! Ignored by default; `cargo xtask test` asks for it.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use naru_machines::local::{Config, Local};
use naru_machines::{ClusterSpec, ImageSpec, Power, Provider as _, Release};

/// Own state folder, shared cache: machines of others stay out of sight, images are made once.
fn local(folder: &Path) -> Local {
    Local::new(Config { state: folder.join("state"), ..Config::from_environment() })
}

/// Removes a cluster when its test ends, however it ends: the state folder must not go before the machines.
struct Cleanup<'a>(&'a Local, &'a str);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let _ = self.0.delete(self.1);
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn remote(local: &Local, cluster: &str, host: &str, command: &str) -> String {
    let machine = local.list(cluster).unwrap().into_iter().find(|machine| machine.host == host).unwrap();
    output(local.ssh(&machine).arg(command))
}

/// Everything on this computer that carries the cluster's name or its interfaces' number.
fn traces(cluster: &str, bridge: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = |text: String| found.extend(text.lines().filter(|line| line.contains(cluster)).map(str::to_owned));
    look(fs_err::read_to_string("/proc/self/mountinfo").unwrap());
    look(output(Command::new("find").args(["/sys/fs/cgroup", "-type", "d"])));
    look(output(Command::new("ip").args(["netns", "list"])));
    let processes = output(Command::new("ps").args(["ax", "-o", "stat=,args="]));
    look(processes.lines().filter(|line| !line.starts_with('Z')).collect::<Vec<_>>().join("\n"));
    let number = bridge.trim_start_matches("naru-br");
    let links = output(Command::new("ip").args(["-brief", "link"]));
    let ours = |line: &&str| line.starts_with(&format!("{bridge} ")) || line.starts_with(&format!("naru{number}-"));
    found.extend(links.lines().filter(ours).map(str::to_owned));
    let tables = output(Command::new("nft").args(["list", "tables"]));
    found.extend(tables.lines().filter(|line| line.ends_with(&format!("naru_machines_{number}"))).map(str::to_owned));
    found
}

/// The bridge's name, read from the default route that machines have.
fn bridge(local: &Local, cluster: &str) -> String {
    let address = local.list(cluster).unwrap()[0].address.clone();
    let route = output(Command::new("ip").args(["route", "get", &address]));
    route.split_whitespace().skip_while(|word| *word != "dev").nth(1).unwrap().to_owned()
}

#[test]
#[ignore = "makes real machines; needs root"]
fn machines_live_fall_rise_and_leave_nothing() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let local = local(folder.path());
    let cluster = format!("life{}", std::process::id());
    let spec = ClusterSpec::simple(&cluster, 1, 1, &ImageSpec::prepared(Release::Trixie));
    let _cleanup = Cleanup(&local, &cluster);
    let machines = local.ensure(&spec, &|_| {}).unwrap();
    assert!(machines.iter().all(|machine| machine.power == Power::On && machine.host_key.is_some()));
    let bridge = bridge(&local, &cluster);
    assert_eq!(remote(&local, &cluster, "w1", "systemctl is-system-running --wait").trim(), "running");
    assert!(remote(&local, &cluster, "cp1", &format!("ping -c1 -W2 {}", machines[1].address)).contains("1 received"));

    remote(&local, &cluster, "w1", "echo kept >/etc/kept; ip link add left type bridge; nft add table inet left; sync");
    local.power_cut(&cluster, "w1").unwrap();
    assert_eq!(local.list(&cluster).unwrap()[1].power, Power::Off);
    assert!(
        std::net::TcpStream::connect_timeout(
            &format!("{}:22", machines[1].address).parse().unwrap(),
            Duration::from_secs(1)
        )
        .is_err()
    );
    local.power_on(&cluster, "w1").unwrap();
    assert_eq!(remote(&local, &cluster, "w1", "cat /etc/kept; nft list tables; ls /sys/class/net"), "kept\neth0\nlo\n");
    assert_eq!(local.list(&cluster).unwrap()[1].host_key, machines[1].host_key);

    // A reboot from inside, without anyone's help.
    let boot = || remote(&local, &cluster, "w1", "cat /proc/sys/kernel/random/boot_id");
    let before = boot();
    remote(&local, &cluster, "w1", "ip link add left type bridge; (sleep 0.2; systemctl reboot) >/dev/null 2>&1 &");
    std::thread::sleep(Duration::from_millis(1500));
    local.wait_for_ssh(&cluster, "w1", Duration::from_secs(60)).unwrap();
    assert_ne!(boot(), before);
    assert_eq!(remote(&local, &cluster, "w1", "ls /sys/class/net"), "eth0\nlo\n");

    local.stop(&cluster, "cp1").unwrap();
    assert_eq!(local.list(&cluster).unwrap()[0].power, Power::Off);
    local.ensure(&spec, &|_| {}).unwrap();
    local.delete(&cluster).unwrap();
    assert_eq!(traces(&cluster, &bridge), Vec::<String>::new());
    local.delete(&cluster).unwrap();
}

/// Makes a cluster in another process, which is killed at the given time.
fn killed_ensure(state: &Path, cluster: &str, after: Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "make_machines_for_a_test"])
        .env("NARU_TEST_STATE", state)
        .env("NARU_TEST_CLUSTER", cluster)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
#[ignore = "helper of the next test"]
fn make_machines_for_a_test() {
    let (Some(state), Ok(cluster)) = (std::env::var_os("NARU_TEST_STATE"), std::env::var("NARU_TEST_CLUSTER")) else {
        return;
    };
    let spec = ClusterSpec::simple(&cluster, 1, 1, &ImageSpec::prepared(Release::Trixie));
    local(&PathBuf::from(state)).ensure(&spec, &|_| {}).unwrap();
}

#[test]
#[ignore = "makes real machines; needs root"]
fn a_run_killed_at_any_moment_is_completed_or_removed() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let local = local(folder.path());
    local.ensure_image(&ImageSpec::prepared(Release::Trixie), &|_| {}).unwrap();
    for round in 0..10 {
        let cluster = format!("crash{}r{round}", std::process::id());
        let _cleanup = Cleanup(&local, &cluster);
        killed_ensure(folder.path(), &cluster, Duration::from_millis(15 + 45 * round));
        if round % 2 == 0 {
            let spec = ClusterSpec::simple(&cluster, 1, 1, &ImageSpec::prepared(Release::Trixie));
            let start = Instant::now();
            local.ensure(&spec, &|_| {}).unwrap();
            assert!(start.elapsed() < Duration::from_secs(60));
            remote(&local, &cluster, "w1", "true");
        }
        local.delete(&cluster).unwrap();
        assert_eq!(traces(&cluster, "naru-br-none"), Vec::<String>::new(), "round {round}");
    }
}
