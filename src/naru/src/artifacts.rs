//! The programs that go to hosts: found beside this one, or where `--artifacts` says, with their hashes. A hash is
//! remembered by path, size and time of change, so that a second run does not read tens of megabytes again.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use fs_err as fs;
use naru_execute::ProgramFiles;
use naru_plan::{Artifact, ProgramVersion, Programs};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::exit::Failure;

/// A larger memory of hashes is started anew.
const MAX_REMEMBERED: usize = 256;
const READ_BYTES: usize = 1 << 20;

/// The programs as data for the planner and as files for the executor.
pub(crate) struct Found {
    pub(crate) programs: Programs,
    pub(crate) files: ProgramFiles,
    /// Also the agent.
    pub(crate) node_path: PathBuf,
}

const NODE: &str = "naru-node";
const CONTROL_PLANE: &str = "naru-control-plane";
/// More folders of versions are surely a mistake.
const MAX_VERSIONS: usize = 64;

/// The programs of this version in the folder itself or in its `vX.Y.Z/`, those of other versions in theirs.
pub(crate) fn find(folder: Option<&Path>) -> Result<Found, Failure> {
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => beside_this_program()?,
    };
    let mut memory = Memory::load();
    let mut folders = version_folders(&folder)?;
    let own = naru_inventory::VERSION;
    if folder.join(NODE).is_file() || !folders.contains_key(own) {
        folders.insert(own.to_owned(), folder.clone());
    }
    let (mut versions, mut files) = (BTreeMap::new(), Vec::new());
    for (version, folder) in &folders {
        let mut of = |name: &str| -> Result<Artifact, Failure> {
            let path = folder.join(name);
            if !path.is_file() {
                return Err(Failure::user(format!("the program {name} is not in {}", folder.display()))
                    .detail("naru installs naru-node and naru-control-plane, and takes them from beside itself")
                    .hint("--artifacts DIR names another folder"));
            }
            let (sha256, size_bytes) = memory.hash(&path)?;
            files.push((sha256.clone(), path));
            Ok(Artifact { name: name.to_owned(), sha256, size_bytes })
        };
        let programs = ProgramVersion { node: of(NODE)?, control_plane: of(CONTROL_PLANE)? };
        versions.insert(version.clone(), programs);
    }
    memory.save();
    let node_path = folders[own].join(NODE);
    Ok(Found { programs: Programs { versions }, files: ProgramFiles::new(files), node_path })
}

/// Folders called by a version that hold programs.
fn version_folders(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut folders = BTreeMap::new();
    // That there is no such folder shows when a program is looked for in it.
    let Ok(entries) = fs::read_dir(folder) else { return Ok(folders) };
    for entry in entries {
        let entry = entry.map_err(|error| Failure::user(error.to_string()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let holds_programs = || [NODE, CONTROL_PLANE].iter().any(|program| entry.path().join(program).is_file());
        if is_version(&name) && holds_programs() {
            folders.insert(name, entry.path());
        }
        if folders.len() > MAX_VERSIONS {
            return Err(Failure::user(format!("{} holds programs of over {MAX_VERSIONS} versions", folder.display())));
        }
    }
    Ok(folders)
}

/// `v1.2.3`, with a suffix such as `-rc.1` or without.
fn is_version(name: &str) -> bool {
    let Some(rest) = name.strip_prefix('v') else { return false };
    let core = rest.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

fn beside_this_program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().and_then(fs::canonicalize);
    let own = own.map_err(|error| Failure::because("this program's own path cannot be told", &error))?;
    Ok(own.parent().unwrap_or(Path::new("/")).to_owned())
}

/// The hash and size of a file.
pub(crate) fn hash_file(path: &Path) -> Result<(String, u64), Failure> {
    let fail = |error: std::io::Error| Failure::user(error.to_string());
    let mut file = fs::File::open(path).map_err(fail)?;
    let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0, vec![0; READ_BYTES]);
    loop {
        let count = file.read(&mut buffer).map_err(fail)?;
        if count == 0 {
            return Ok((hex::encode(hasher.finalize()), size));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Memory {
    hashes: BTreeMap<String, Remembered>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Remembered {
    size_bytes: u64,
    modified_ns: u64,
    sha256: String,
}

impl Memory {
    fn path() -> Option<PathBuf> {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
        cache.map(|cache| cache.join("naru").join("hashes.json"))
    }

    /// A memory that cannot be read is an empty one: it only saves time.
    fn load() -> Self {
        let text = Self::path().and_then(|path| fs::read(path).ok());
        let memory: Self = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        if memory.hashes.len() > MAX_REMEMBERED { Self::default() } else { memory }
    }

    fn save(&self) {
        let Some(path) = Self::path() else { return };
        let Some(folder) = path.parent() else { return };
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let text = serde_json::to_vec(self).expect("a map of plain data");
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&temporary, text));
        if let Err(error) = written.and_then(|()| fs::rename(&temporary, &path)) {
            tracing::debug!(%error, "hashes of programs are not remembered");
        }
    }

    fn hash(&mut self, path: &Path) -> Result<(String, u64), Failure> {
        let metadata = fs::metadata(path).map_err(|error| Failure::user(error.to_string()))?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = modified.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(0);
        let key = path.to_string_lossy().into_owned();
        if let Some(known) = self.hashes.get(&key)
            && known.size_bytes == metadata.len()
            && known.modified_ns == modified_ns
            && modified_ns > 0
        {
            return Ok((known.sha256.clone(), known.size_bytes));
        }
        let (sha256, size_bytes) = hash_file(path)?;
        self.hashes.insert(key, Remembered { size_bytes, modified_ns, sha256: sha256.clone() });
        Ok((sha256, size_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        for name in [NODE, CONTROL_PLANE] {
            fs::write(folder.join(name), format!("{name} of {}", folder.display())).unwrap();
        }
    }

    #[test]
    fn programs_of_several_versions_lie_in_folders_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        programs(folder.path());
        programs(&folder.path().join("v9.1.0"));
        programs(&folder.path().join("v9.2.0-rc.1"));
        programs(&folder.path().join("vendor"));
        fs::create_dir(folder.path().join("v9.3.0")).unwrap();
        let found = find(Some(folder.path())).unwrap();
        let versions: Vec<&str> = found.programs.versions.keys().map(String::as_str).collect();
        assert_eq!(versions, [naru_inventory::VERSION, "v9.1.0", "v9.2.0-rc.1"]);
        assert_eq!(found.node_path, folder.path().join(NODE));
        for programs in found.programs.versions.values() {
            assert!(found.files.path(&programs.node.sha256).is_some_and(Path::is_file));
        }
        fs::remove_file(folder.path().join("v9.1.0").join(NODE)).unwrap();
        assert!(find(Some(folder.path())).is_err(), "half a version is told, not left out");
    }

    #[test]
    fn our_own_version_may_lie_in_its_folder_too() {
        let folder = tempfile::tempdir().unwrap();
        programs(&folder.path().join(naru_inventory::VERSION));
        let found = find(Some(folder.path())).unwrap();
        assert_eq!(found.node_path, folder.path().join(naru_inventory::VERSION).join(NODE));
    }
}
