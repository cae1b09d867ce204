//! One host in memory: what lies on its disk, what runs, and what its agent would find and do there. `check` and
//! `apply` mean what they mean in `naru-resources`; a test compares the two, so that they cannot drift apart.

mod certificates;
mod check;
mod facts;
mod files;
mod micro;
mod reset;
mod unit;

use std::collections::{BTreeMap, BTreeSet};

use naru_agent::Entry;

pub use self::certificates::{Issued, Key, Signer};
pub use self::files::{Body, FileModel};
pub use self::micro::Micro;
pub use self::unit::UnitModel;
use crate::Random;

/// The free space of a new disk.
const DISK_FREE_BYTES: u64 = 40 << 30;
/// Unix time at which every simulation begins.
pub const BEGIN_UNIX_MS: i64 = 1_790_000_000_000;

/// A host's whole state. Plain data: a copy of it is another host in the same state.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    pub name: String,
    pub address: String,
    pub os_id: String,
    pub os_version_id: String,
    pub memory_bytes: u64,
    pub disk_free_bytes: u64,
    /// By absolute path, folders included.
    pub files: BTreeMap<String, FileModel>,
    pub units: BTreeMap<String, UnitModel>,
    pub packages: BTreeSet<String>,
    /// What the kernel does now.
    pub parameters: BTreeMap<String, String>,
    pub modules: BTreeSet<String>,
    pub swap_active: bool,
    /// Images of the container runtime: reference → archive's hash.
    pub images: BTreeMap<String, String>,
    /// Whole artifacts: hash → size.
    pub artifacts: BTreeMap<String, u64>,
    /// Artifacts on their way.
    pub partial: BTreeMap<String, Partial>,
    pub manifest: BTreeMap<String, Entry>,
    /// Permission bits as they were left, of the manifest's files and folders.
    pub modes: BTreeMap<String, u32>,
    /// Units that have to be restarted, with the path that made it so.
    pub restarts: BTreeMap<String, String>,
    /// Files of the host's that ours stand in place of.
    pub originals: BTreeMap<String, (Body, u32)>,
    /// The highest fence that was said here.
    pub fence: u64,
    /// The host's clock, set by the world before anything asks.
    pub clock_unix_ms: i64,
    /// How far it goes ahead.
    pub skew_ms: i64,
    /// Counts boots; connections of an earlier boot are gone.
    pub boot: u64,
    pub is_on: bool,
    /// Keys that were made here so far; the next one's number.
    pub keys_made: u64,
}

/// What arrived of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    pub have_bytes: u64,
}

impl Machine {
    /// A freshly installed Debian.
    #[must_use]
    pub fn new(name: &str, address: &str, random: &mut Random) -> Self {
        let mut machine = Self {
            name: name.to_owned(),
            address: address.to_owned(),
            os_id: "debian".to_owned(),
            os_version_id: if random.one_in(2) { "12" } else { "13" }.to_owned(),
            memory_bytes: 8 << 30,
            disk_free_bytes: DISK_FREE_BYTES,
            files: BTreeMap::new(),
            units: BTreeMap::new(),
            packages: BTreeSet::new(),
            parameters: BTreeMap::new(),
            modules: BTreeSet::new(),
            swap_active: random.one_in(3),
            images: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            partial: BTreeMap::new(),
            manifest: BTreeMap::new(),
            modes: BTreeMap::new(),
            restarts: BTreeMap::new(),
            originals: BTreeMap::new(),
            fence: 0,
            clock_unix_ms: BEGIN_UNIX_MS,
            skew_ms: 0,
            boot: 1,
            is_on: true,
            keys_made: 0,
        };
        for (key, value) in [
            ("net.ipv4.ip_forward", "0"),
            ("fs.inotify.max_user_instances", "128"),
            ("fs.inotify.max_user_watches", "65536"),
        ] {
            machine.parameters.insert(key.to_owned(), value.to_owned());
        }
        if machine.swap_active {
            machine.put("/etc/fstab", Body::text("UUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n"), 0o644);
        }
        machine
    }

    /// Power goes and comes: what does not last is gone. The world brings enabled units up when the boot is over.
    pub fn reboot(&mut self) {
        self.boot += 1;
        // Whoever is started by a reboot has read what is there.
        self.restarts.clear();
        for unit in self.units.values_mut() {
            unit.stop();
        }
        let kept = files::sysctl_values(&self.text("/etc/sysctl.d/90-naru.conf"));
        for (key, value) in kept {
            self.parameters.insert(key, value);
        }
        self.swap_active = files::without_swap(&self.text("/etc/fstab")) != self.text("/etc/fstab");
    }

    /// What systemd does at boot.
    pub fn start_enabled_units(&mut self) {
        let names: Vec<String> =
            self.units.iter().filter(|(_, unit)| unit.enabled && !unit.masked).map(|(name, _)| name.clone()).collect();
        for name in names {
            // One that cannot start stays down, as on a real host.
            let _ = self.start_unit(&name);
        }
    }

    #[must_use]
    pub fn runs(&self, unit: &str) -> bool {
        self.is_on && self.units.get(unit).is_some_and(|unit| unit.is_active)
    }

    /// A key that is like no other.
    pub(crate) fn new_key(&mut self) -> Key {
        self.keys_made += 1;
        format!("{}#{}", self.name, self.keys_made)
    }
}
