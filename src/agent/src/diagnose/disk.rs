//! Room on the disks that a node writes to.

use naru_resources::{Host, journal};

use super::{LOG_LINES, broken, holds};
use crate::{Link, LinkName};

const FOLDERS: [&str; 4] = ["/var/lib/containerd", "/var/lib/kubelet", "/var/lib/naru", "/var/log"];
/// With less than both of these, images cannot be unpacked and logs not written.
const LEAST_FREE_BYTES: u64 = 512 * 1024 * 1024;
const LEAST_FREE_PERCENT: u64 = 2;
const LEAST_FREE_INODES_PERCENT: u64 = 1;
const FULL: &str = "No space left on device";
const BYTES_PER_GIB: f64 = 1024.0 * 1024.0 * 1024.0;

pub(super) fn link(host: &Host) -> Link {
    let mut tightest: Option<(u64, String)> = None;
    for folder in FOLDERS {
        // What is not there yet will lie where its parent lies.
        let mut path = host.path(folder);
        while !path.exists() && path.pop() {}
        let Ok(status) = rustix::fs::statvfs(&path) else { continue };
        let (free, all) = (status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize);
        let words = format!("{folder} has {:.1} of {:.1} GiB free", gib(free), gib(all));
        if free < LEAST_FREE_BYTES || free * 100 < all * LEAST_FREE_PERCENT {
            return full(host, words);
        }
        if status.f_files > 0 && status.f_favail * 100 < status.f_files * LEAST_FREE_INODES_PERCENT {
            return full(host, format!("{folder} has {} of {} files left", status.f_favail, status.f_files));
        }
        if tightest.as_ref().is_none_or(|(least, _)| free < *least) {
            tightest = Some((free, words));
        }
    }
    holds(LinkName::Disk, tightest.map_or_else(|| "no disk could be asked".to_owned(), |(_, words)| words))
}

fn full(host: &Host, found: String) -> Link {
    let units = [super::RUNTIME_UNIT, super::NODE_UNIT];
    let log = units.iter().find_map(|unit| {
        let lines = journal(host, unit, LOG_LINES);
        lines.into_iter().rfind(|line| line.contains(FULL))
    });
    let hint = "free space there: old logs, unused images (`ctr -n k8s.io images ls`), or a larger disk".to_owned();
    Link { log, hint: Some(hint), ..broken(LinkName::Disk, found) }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / BYTES_PER_GIB
}
