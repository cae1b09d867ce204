//! Swap off: the running kind by `swapoff`, the kind in `/etc/fstab` by a comment, systemd's by masking its units.

use fs_err as fs;

use super::{Kind, change};
use crate::command::Program;
use crate::pending::Pending;
use crate::{Change, Host, ResourceError, atomic, text_diff};

pub(crate) const FSTAB: &str = "/etc/fstab";
const MARK: &str = "# off by naru: ";

pub(crate) struct Swap {
    pub(crate) enabled: bool,
}

impl Kind for Swap {
    fn check(&self, host: &Host, _pending: &Pending) -> Result<Option<Change>, ResourceError> {
        if self.enabled {
            return Ok(None);
        }
        let fstab = atomic::read_text(&host.path(FSTAB))?;
        let without = without_swap(&fstab);
        let active = active(host);
        if active.is_empty() && without == fstab {
            return Ok(None);
        }
        let summary = if active.is_empty() {
            "turn swap off at boot".to_owned()
        } else {
            format!("turn swap off: {}", active.join(" "))
        };
        Ok(Some(Change { diff: text_diff::unified(FSTAB, Some(fstab.as_bytes()), &without), ..change(summary) }))
    }

    fn apply(&self, host: &Host) -> Result<(), ResourceError> {
        let path = host.path(FSTAB);
        let fstab = atomic::read_text(&path)?;
        let without = without_swap(&fstab);
        if without != fstab {
            let mode = atomic::mode(&path)?.unwrap_or(0o644);
            atomic::write(&path, mode, without.as_bytes())?;
        }
        if active(host).is_empty() {
            return Ok(());
        }
        // Units that are not in fstab (zram, discovered partitions) would come back at the next boot.
        if let Ok(listed) = Program::new(host, "systemctl")
            .arguments(["list-units", "--type=swap", "--state=active", "--no-legend", "--plain"])
            .run()
        {
            for unit in listed.stdout.lines().filter_map(|line| line.split_whitespace().next()) {
                Program::new(host, "systemctl").arguments(["mask", "--", unit]).run()?;
            }
        }
        Program::new(host, "swapoff").arguments(["--all"]).run().map(drop)
    }
}

/// Swap areas in use. Inside a container the list is that of the machine outside, which is not ours to change.
fn active(host: &Host) -> Vec<String> {
    if host.path("/run/systemd/container").exists() {
        return Vec::new();
    }
    let text = fs::read_to_string(host.path("/proc/swaps")).unwrap_or_default();
    text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn without_swap(fstab: &str) -> String {
    let mut text = String::with_capacity(fstab.len());
    for line in fstab.split_inclusive('\n') {
        let mut fields = line.split_whitespace();
        let commented = fields.next().is_none_or(|first| first.starts_with('#'));
        if !commented && fields.nth(1) == Some("swap") {
            text.push_str(MARK);
        }
        text.push_str(line);
    }
    text
}

/// Gives the table its swap lines back; tells whether there were any.
pub(crate) fn restore_table(host: &Host) -> Result<bool, ResourceError> {
    let path = host.path(FSTAB);
    let fstab = atomic::read_text(&path)?;
    let with: String = fstab.split_inclusive('\n').map(|line| line.strip_prefix(MARK).unwrap_or(line)).collect();
    if with == fstab {
        return Ok(false);
    }
    let mode = atomic::mode(&path)?.unwrap_or(0o644);
    atomic::write(&path, mode, with.as_bytes())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# /etc/fstab\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n";

    #[test]
    fn the_table_loses_its_swap_lines_once() {
        let without = without_swap(TABLE);
        assert!(without.contains("# off by naru: UUID=2 none swap sw 0 0\n"), "{without}");
        assert!(without.contains("\nUUID=1 / ext4"), "{without}");
        assert_eq!(without_swap(&without), without);
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        atomic::write(&host.path(FSTAB), 0o644, without.as_bytes()).unwrap();
        assert!(restore_table(&host).unwrap() && !restore_table(&host).unwrap());
        assert_eq!(atomic::read_text(&host.path(FSTAB)).unwrap(), TABLE);
    }

    #[test]
    fn swap_in_use_is_seen_but_not_from_inside_a_container() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let off = Swap { enabled: false };
        assert_eq!(off.check(&host, &Pending::default()).unwrap(), None);
        let swaps = "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-1 partition 1 0 -2\n";
        atomic::write(&host.path("/proc/swaps"), 0o644, swaps.as_bytes()).unwrap();
        assert_eq!(off.check(&host, &Pending::default()).unwrap().unwrap().summary, "turn swap off: /dev/dm-1");
        assert_eq!(Swap { enabled: true }.check(&host, &Pending::default()).unwrap(), None);
        atomic::write(&host.path("/run/systemd/container"), 0o644, b"systemd-nspawn").unwrap();
        assert_eq!(off.check(&host, &Pending::default()).unwrap(), None);
        atomic::write(&host.path(FSTAB), 0o644, TABLE.as_bytes()).unwrap();
        off.apply(&host).unwrap();
        assert_eq!(off.check(&host, &Pending::default()).unwrap(), None);
    }
}
