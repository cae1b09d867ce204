//! Versions of installed programs. Asking a program takes tens of milliseconds, so the answer is kept with what the
//! program's file looked like; it is kept where a new start of the host forgets it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use fs_err as fs;
use naru_resources::{Host, Program, write_whole};
use serde::{Deserialize, Serialize};

/// Name of the version, path for what lies outside the program folders, argument that shows it.
const PROGRAMS: [(&str, &str); 6] = [
    ("containerd", ""),
    ("runc", ""),
    ("nft", ""),
    ("etcd", ""),
    ("naru-node", "/opt/naru/bin/naru-node"),
    ("naru-control-plane", "/opt/naru/bin/naru-control-plane"),
];
const ARGUMENT: &str = "--version";
const DEADLINE: Duration = Duration::from_secs(5);
const CACHE: &str = "/run/naru/versions.json";
const CACHE_MODE: u32 = 0o600;

/// A version, and the file that told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    path: PathBuf,
    inode: u64,
    size_bytes: u64,
    changed_seconds: i64,
    changed_nanoseconds: i64,
    version: String,
}

pub(super) async fn gather(host: &Host) -> BTreeMap<String, String> {
    let cache = host.path(CACHE);
    let known: BTreeMap<String, Told> =
        fs::read(&cache).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let questions = PROGRAMS.into_iter().map(|(name, path)| {
        let (host, known) = (host.clone(), known.get(name).cloned());
        tokio::task::spawn_blocking(move || Some((name.to_owned(), version(&host, name, path, known)?)))
    });
    let answers = futures::future::join_all(questions).await;
    let told: BTreeMap<String, Told> = answers.into_iter().filter_map(|answer| answer.ok().flatten()).collect();
    if told != known
        && let Ok(bytes) = serde_json::to_vec(&told)
        && let Err(error) = write_whole(&cache, CACHE_MODE, &bytes)
    {
        tracing::debug!(%error, "versions are not kept");
    }
    told.into_iter().map(|(name, told)| (name, told.version)).collect()
}

fn version(host: &Host, name: &str, path: &str, known: Option<Told>) -> Option<Told> {
    let path = if path.is_empty() { host.program(name)? } else { host.path(path) };
    let metadata = fs::metadata(&path).ok()?;
    let told = |version: String| Told {
        path: path.clone(),
        inode: metadata.ino(),
        size_bytes: metadata.len(),
        changed_seconds: metadata.ctime(),
        changed_nanoseconds: metadata.ctime_nsec(),
        version,
    };
    if let Some(known) = known
        && told(known.version.clone()) == known
    {
        return Some(known);
    }
    let output = Program::new(host, &path.to_string_lossy()).arguments([ARGUMENT]).deadline(DEADLINE).run().ok()?;
    Some(told(version_in(&output.stdout)?))
}

/// The first word with a digit and a dot: `runc version 1.1.15+ds1`, `nftables v1.1.3 (…)`,
/// `containerd github.com/containerd/containerd 1.7.24~ds1 …`, `naru-node 0.1.0`.
fn version_in(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    let words = line.split_whitespace().map(|word| word.trim_start_matches('v'));
    let is_version = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_digit()) && word.contains('.');
    words.into_iter().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_programs() {
        let of = |text| version_in(text).unwrap();
        assert_eq!(of("containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6"), "1.7.24~ds1");
        assert_eq!(of("runc version 1.1.15+ds1\ncommit: 1.1.15"), "1.1.15+ds1");
        assert_eq!(of("nftables v1.1.3 (Commodore Bullmoose #4)"), "1.1.3");
        assert_eq!(of("etcd Version: 3.5.16\nGit SHA: 1"), "3.5.16");
        assert_eq!(of("naru-node 0.1.0"), "0.1.0");
    }

    #[tokio::test]
    async fn a_program_is_asked_once_and_again_when_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), vec![PathBuf::from("/bin")]);
        let path = host.path("/opt/naru/bin/naru-node");
        let log = folder.path().join("log");
        let program = |version: &str| {
            let text = format!("#!/bin/sh\necho asked >> {}\necho naru-node {version}\n", log.display());
            write_whole(&path, 0o755, text.as_bytes()).unwrap();
        };
        program("0.1.0");
        for _ in 0..2 {
            assert_eq!(gather(&host).await["naru-node"], "0.1.0");
        }
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 1);
        program("0.2.0");
        assert_eq!(gather(&host).await["naru-node"], "0.2.0");
    }
}
