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

pub(crate) fn find(folder: Option<&Path>) -> Result<Found, Failure> {
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => beside_this_program()?,
    };
    let mut memory = Memory::load();
    let mut of = |name: &str| -> Result<(Artifact, PathBuf), Failure> {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(Failure::user(format!("the program {name} is not in {}", folder.display()))
                .detail("naru installs naru-node and naru-control-plane, and takes them from beside itself")
                .hint("--artifacts DIR names another folder"));
        }
        let (sha256, size_bytes) = memory.hash(&path)?;
        Ok((Artifact { name: name.to_owned(), sha256, size_bytes }, path))
    };
    let (node, node_path) = of("naru-node")?;
    let (control_plane, control_plane_path) = of("naru-control-plane")?;
    memory.save();
    let files = [(node.sha256.clone(), node_path.clone()), (control_plane.sha256.clone(), control_plane_path)];
    let programs = Programs::of(naru_inventory::VERSION, ProgramVersion { node, control_plane });
    Ok(Found { programs, files: ProgramFiles::new(files), node_path })
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
