//! A change that nobody confirms is as if it had never been.

use super::*;
use crate::kinds::systemd::tests::script;
use crate::{Content, Stop, apply_all, apply_guarded};
use std::os::unix::fs::PermissionsExt;

fn host(folder: &Path) -> Host {
    let host = Host::below(folder, vec![folder.join("bin")]);
    let body = format!(
        "case \"$1\" in show) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n';; \
         *) echo \"$*\" >> {}/log;; esac",
        folder.display()
    );
    script(&folder.join("bin"), "systemctl", &body);
    atomic::write(&host.path(BOOT_ID), 0o644, b"boot-1\n").unwrap();
    atomic::write(&host.path("/proc/sys/net/ipv4/ip_forward"), 0o644, b"0\n").unwrap();
    atomic::write(&host.path("/etc/network"), 0o640, b"before").unwrap();
    std::os::unix::fs::symlink("network", host.path("/etc/link")).unwrap();
    host
}

fn resources() -> Vec<Resource> {
    let content = |text: &str| Content { text: text.to_owned(), sensitive: false };
    let file = |path: &str| Resource::File { path: path.to_owned(), mode: 0o644, content: content("after") };
    vec![
        Resource::Directory { path: "/etc/new".to_owned(), mode: 0o755 },
        file("/etc/new/file"),
        file("/etc/network"),
        file("/etc/link"),
        Resource::Sysctl { key: "net.ipv4.ip_forward".to_owned(), value: "1".to_owned() },
        Resource::Unit {
            name: "network.service".to_owned(),
            content: Some(content("[Service]\n")),
            enabled: true,
            restart_on: Vec::new(),
        },
    ]
}

fn change(host: &Host, seconds: u32) -> Revert {
    let revert = Revert::prepare(host, &resources(), seconds).unwrap();
    apply_guarded(host, &resources(), &Stop::default(), &|| Ok(())).unwrap();
    assert_eq!(fs::read_to_string(host.path("/etc/network")).unwrap(), "after");
    revert
}

fn assert_as_before(host: &Host) {
    assert_eq!(fs::read_to_string(host.path("/etc/network")).unwrap(), "before");
    assert_eq!(atomic::mode(&host.path("/etc/network")).unwrap(), Some(0o640));
    assert_eq!(fs::read_link(host.path("/etc/link")).unwrap(), Path::new("network"));
    assert!(!host.path("/etc/new").exists());
    assert!(!host.path("/etc/sysctl.d/90-naru.conf").exists());
    assert!(!host.path("/etc/systemd/system/network.service").exists());
    assert_eq!(fs::read_to_string(host.path("/proc/sys/net/ipv4/ip_forward")).unwrap().trim(), "0");
    let manifest = Manifest::load(host).unwrap();
    // Folders that were made on the way stay until a reset.
    assert!(manifest.entries.values().all(|entry| entry.kind == crate::kinds::PARENT), "{manifest:?}");
    let log = fs::read_to_string(host.path("/log")).unwrap();
    assert!(log.ends_with("daemon-reload\nreset-failed -- network.service\nrestart -- network.service\n"), "{log}");
    assert_eq!(pending(host), Vec::<String>::new());
}

#[test]
fn put_back_when_nobody_confirms() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let id = change(&host, 0).begin().unwrap();
    let changes = watch(&host, &id, || {}).unwrap();
    assert!(changes.iter().any(|change| change.summary == "restore /etc/network"), "{changes:?}");
    assert_as_before(&host);
    let late = confirm(&host, &id).unwrap_err();
    assert!(late.to_string().contains("put back"), "{late}");
}

#[test]
fn kept_when_it_is_confirmed_even_twice() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let id = change(&host, 1).begin().unwrap();
    assert!(Revert::prepare(&host, &resources(), 1).unwrap_err().is_transient(), "one at a time");
    let refused = apply_all(&host, &resources(), &Stop::default()).unwrap_err().0;
    assert!(refused.is_transient() && refused.to_string().contains(&id), "{refused}");
    confirm(&host, &id).unwrap();
    confirm(&host, &id).unwrap();
    assert_eq!(watch(&host, &id, || {}).unwrap(), []);
    assert_eq!(fs::read_to_string(host.path("/etc/network")).unwrap(), "after");
    assert!(confirm(&host, "../../../etc").is_err());
}

#[test]
fn a_failed_change_is_put_back_at_once_and_one_of_a_dead_agent_by_its_watcher() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    change(&host, 60).abandon().unwrap();
    assert_as_before(&host);
    let revert = change(&host, 0);
    let id = revert.id().to_owned();
    let (watched, told) = (std::sync::mpsc::channel(), host.clone());
    let (sender, receiver) = watched;
    let watcher = std::thread::spawn(move || watch(&told, &id, || sender.send(()).unwrap()).unwrap());
    receiver.recv().unwrap();
    assert_eq!(fs::read_to_string(host.path("/etc/network")).unwrap(), "after", "not while it is being made");
    assert!(is_watched(&host, revert.id()));
    drop(revert);
    assert!(!watcher.join().unwrap().is_empty());
    assert_as_before(&host);
}

#[test]
fn a_start_of_the_host_inside_the_window_puts_back() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let id = change(&host, 600).begin().unwrap();
    // A process that another test starts holds every lock of this one for a moment.
    let started = std::time::Instant::now();
    let unwatched = loop {
        let unwatched = resume(&host).unwrap();
        if !unwatched.is_empty() || started.elapsed() > std::time::Duration::from_secs(5) {
            break unwatched;
        }
    };
    assert_eq!(unwatched, [id], "its time has not come, but nobody watches");
    atomic::write(&host.path(BOOT_ID), 0o644, b"boot-2\n").unwrap();
    assert_eq!(resume(&host).unwrap(), Vec::<String>::new());
    assert_as_before(&host);
}

#[test]
fn what_is_saved_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let host = host(folder.path());
    let revert = Revert::prepare(&host, &resources(), 60).unwrap();
    let saved = host.path(FOLDER).join(revert.id());
    assert_eq!(fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&saved).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
