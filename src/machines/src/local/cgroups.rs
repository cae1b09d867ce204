//! The control groups of a machine. They are also how its processes are found: whatever runs in them is the machine,
//! whoever started it and whatever has been forgotten since.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, Result};

/// Deeper trees are not ours.
const DEPTH_MAX: usize = 32;
const KILL_DEADLINE: Duration = Duration::from_secs(20);
const REMOVE_DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) path: PathBuf,
    pub(super) unified: bool,
}

/// All mounted hierarchies, version 1 and 2.
pub(super) fn hierarchies() -> Result<Vec<Hierarchy>> {
    Ok(parse_mounts(&fs_err::read_to_string("/proc/self/mountinfo")?))
}

fn parse_mounts(text: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let kind = right.split(' ').next().unwrap_or_default();
        let (Some(path), true) = (left.split(' ').nth(4), kind == "cgroup" || kind == "cgroup2") else { continue };
        let hierarchy = Hierarchy { path: PathBuf::from(path), unified: kind == "cgroup2" };
        if !found.iter().any(|other| other.path == hierarchy.path) {
            found.push(hierarchy);
        }
    }
    found
}

/// Makes a group in a hierarchy with every group above it, ready to hold processes.
pub(super) fn ensure_group(hierarchy: &Hierarchy, relative: &Path) -> Result<PathBuf> {
    let mut group = hierarchy.path.clone();
    for part in relative {
        if hierarchy.unified {
            // Not all controllers exist everywhere, and with version 1 beside it there are none: best effort, one by one.
            for controller in ["+cpuset", "+cpu", "+io", "+memory", "+pids"] {
                let _ = fs_err::write(group.join("cgroup.subtree_control"), controller);
            }
        }
        let parent = group.clone();
        group.push(part);
        fs_err::create_dir_all(&group)?;
        // A new version 1 cpuset is empty and takes no process.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if !hierarchy.unified && parent.join(file).exists() {
                fs_err::write(group.join(file), fs_err::read_to_string(parent.join(file))?)?;
            }
        }
    }
    Ok(group)
}

/// Every process in these groups and below.
pub(super) fn processes(groups: &[PathBuf]) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for group in groups {
        for folder in tree(group) {
            // Groups come and go while we look: what has gone holds no process.
            let text = fs_err::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|process| *process > 0));
        }
    }
    found.retain(|process| !is_zombie(*process));
    found
}

/// A process that has ended but whose parent has not looked yet.
fn is_zombie(process: i32) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
}

/// The processes among these that run a program of this name.
pub(super) fn named(processes: &BTreeSet<i32>, name: &str) -> Vec<i32> {
    let is = |process: &&i32| {
        fs_err::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|comm| comm.trim_end() == name)
    };
    processes.iter().filter(is).copied().collect()
}

/// Sends a signal; a process that has gone needs none.
pub(super) fn signal(process: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process) {
        let _ = kill_process(pid, signal);
    }
}

/// Kills everything in the groups at once and waits until nothing is left.
pub(super) fn kill_all(groups: &[PathBuf], what: &str) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < KILL_DEADLINE {
        let left = processes(groups);
        if left.is_empty() {
            return Ok(());
        }
        left.into_iter().for_each(|process| signal(process, Signal::KILL));
        std::thread::sleep(POLL);
    }
    let what = format!("killing the processes of {what}");
    Err(Error::Deadline { what, seconds: KILL_DEADLINE.as_secs(), hint: String::new() })
}

/// Removes groups with everything below; they must hold no process. The kernel may need a moment to see that.
pub(super) fn remove(groups: &[PathBuf], what: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        for folder in groups.iter().flat_map(|group| tree(group)) {
            let _ = fs_err::remove_dir(folder);
        }
        if groups.iter().all(|group| !group.exists()) {
            return Ok(());
        }
        if start.elapsed() > REMOVE_DEADLINE {
            let what = format!("removing the control groups of {what}");
            return Err(Error::Deadline { what, seconds: REMOVE_DEADLINE.as_secs(), hint: String::new() });
        }
        std::thread::sleep(POLL);
    }
}

/// A group and all below it, the deepest first.
fn tree(group: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![(group.to_path_buf(), 0)];
    while let Some((folder, depth)) = left.pop() {
        let children = fs_err::read_dir(&folder).into_iter().flatten().flatten();
        for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
            if depth < DEPTH_MAX {
                left.push((child.path(), depth + 1));
            }
        }
        found.push(folder);
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_in_mountinfo() {
        let text = "\
25 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 25 0:26 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids
31 25 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
32 25 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
        let found = parse_mounts(text);
        assert_eq!(found.len(), 2);
        assert!(!found[0].unified && found[0].path == Path::new("/sys/fs/cgroup/pids"));
        assert!(found[1].unified);
    }

    #[test]
    fn trees_come_deepest_first() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(folder.path().join("a/b")).unwrap();
        let found = tree(folder.path());
        assert_eq!(found, [folder.path().join("a/b"), folder.path().join("a"), folder.path().to_path_buf()]);
    }

    #[test]
    fn an_ended_child_is_no_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        fs_err::write(folder.path().join("cgroup.procs"), format!("{}\n", child.id())).unwrap();
        let groups = [folder.path().to_path_buf()];
        assert_eq!(named(&processes(&groups), "sleep"), [child.id() as i32]);
        // Nobody waits for the child meanwhile: a zombie must not count as alive.
        kill_all(&groups, "test").unwrap();
        assert!(processes(&groups).is_empty());
        child.wait().unwrap();
    }
}
