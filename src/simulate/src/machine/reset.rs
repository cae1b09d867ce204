//! What must not be there any more, and drift: what is not as Naru left it.

use std::path::Path;

use naru_resources::{Change, Disruption, Pending};

use super::check::change;
use super::unit::FOLDER;
use super::{Body, Machine, Micro};

/// Kinds that are not removed but only forgotten: others may use them by now.
const FORGOTTEN: [&str; 2] = ["package", "image"];
/// Kinds of the manifest whose names are no paths, or whose files come and go without harm.
const WITHOUT_PATH: [&str; 3] = ["package", "image", "artifact"];

const RUNTIME_UNIT: &str = "containerd.service";
/// Wholly ours: they go with all that is in them.
const FOLDERS: [&str; 3] = ["/etc/naru", "/opt/naru", "/var/lib/naru"];

/// What is to be done about something that must not be there.
enum Step {
    Forget(&'static str),
    Unit(String),
    File,
    Folder,
}

impl Machine {
    fn absent_step(&self, path: &str, pending: &Pending) -> Option<Step> {
        let entry = self.manifest.get(path)?;
        if FORGOTTEN.contains(&entry.kind.as_str()) {
            return Some(Step::Forget("others may use it"));
        }
        let Some(file) = self.files.get(path) else { return Some(Step::Forget("it is gone")) };
        if file.body == Body::Folder {
            let stays = self.inside(path).any(|name| !pending.removed(name));
            return Some(if stays { Step::Forget("it is not empty") } else { Step::Folder });
        }
        Some(match path.rsplit_once('/') {
            Some((_, name)) if entry.kind == "unit" => Step::Unit(name.to_owned()),
            _ => Step::File,
        })
    }

    /// Paths directly in a folder.
    fn inside<'a>(&'a self, folder: &str) -> impl Iterator<Item = &'a String> {
        let below = format!("{}/", folder.trim_end_matches('/'));
        let from = self.files.range(below.clone()..).map(|(name, _)| name);
        let depth = below.len();
        from.take_while(move |name| name.starts_with(&below)).filter(move |name| !name[depth..].contains('/'))
    }

    pub(crate) fn check_absent(&self, path: &str, pending: &Pending) -> Option<Change> {
        Some(match self.absent_step(path, pending)? {
            Step::Forget(reason) => change(format!("leave {path} to the host: {reason}")),
            Step::Unit(name) if self.units.get(&name).is_some_and(|unit| unit.is_active) => {
                let summary = format!("stop, disable and remove {name}");
                Change { disruption: Some(Disruption::StopUnit(name)), ..change(summary) }
            }
            Step::Unit(name) => change(format!("disable and remove {name}")),
            Step::File | Step::Folder => change(format!("remove {path}")),
        })
    }

    pub(crate) fn absent_micros(&self, path: &str) -> Vec<Micro> {
        let remove = Micro::Remove { path: path.to_owned() };
        match self.absent_step(path, &Pending::default()) {
            None | Some(Step::Forget(_)) => Vec::new(),
            Some(Step::Unit(name)) => vec![Micro::Stop(name.clone()), Micro::Disable(name), remove],
            Some(Step::File) if self.originals.contains_key(path) => vec![Micro::Restore { path: path.to_owned() }],
            Some(Step::File | Step::Folder) => vec![remove],
        }
    }

    /// Removes a file, or a folder in which nothing is left.
    pub(crate) fn remove(&mut self, path: &str) {
        if self.is_folder(path) && self.inside(path).next().is_some() {
            return;
        }
        let is_unit = self.manifest.get(path).is_some_and(|entry| entry.kind == "unit");
        self.files.remove(path);
        self.touch_parent(path);
        if let Some((_, name)) = path.rsplit_once('/').filter(|_| is_unit) {
            self.units.remove(name);
        }
    }

    /// Entries of the manifest that are not as they were left.
    pub(crate) fn drifted(&self) -> Vec<String> {
        let listed = self.manifest.iter().filter(|(_, entry)| !WITHOUT_PATH.contains(&entry.kind.as_str()));
        let drifted = listed.filter(|(path, entry)| {
            self.files.get(path.as_str()).is_none_or(|file| {
                let other_mode = self.modes.get(path.as_str()).is_some_and(|mode| file.mode != *mode);
                let other_text = match entry.kind.as_str() {
                    "directory" => file.body != Body::Folder,
                    _ => !entry.sha256.is_empty() && file.body.sha256() != entry.sha256,
                };
                other_mode || other_text || file.body == Body::Link
            })
        });
        drifted.map(|(path, _)| path.clone()).collect()
    }

    /// Everything that `Reset` does: units, files and images of ours go; packages stay.
    pub(crate) fn reset_micros(&self) -> Vec<Micro> {
        let mut micros = Vec::new();
        let units = self.manifest.iter().filter(|(_, entry)| entry.kind == "unit").map(|(path, _)| path);
        for path in units {
            micros.extend(self.absent_micros(path));
        }
        // Deepest first, so that folders are empty when their turn comes; an authority's certificate before its key.
        let listed = self.manifest.iter().rev().filter(|(path, _)| path.starts_with('/'));
        let mut entries: Vec<_> = listed.collect();
        entries.sort_by_key(|(path, entry)| !(entry.kind == "authority" && path.ends_with(".crt")));
        let files = entries.iter().filter(|(path, entry)| is_read_by_runtime(path, &entry.kind));
        let read: Vec<Micro> = files.map(|(path, _)| Micro::Forget { path: (*path).clone() }).collect();
        micros.extend(entries.into_iter().map(|(path, _)| Micro::Discard { path: path.clone() }));
        if !read.is_empty() && self.runs(RUNTIME_UNIT) {
            // Whatever it reads from now on is not ours.
            let reads = vec![format!("{FOLDER}/{RUNTIME_UNIT}"), format!("{FOLDER}/{RUNTIME_UNIT}.d")];
            micros.extend([
                Micro::Reload(RUNTIME_UNIT.to_owned()),
                Micro::Restart { name: RUNTIME_UNIT.to_owned(), reads },
            ]);
        }
        micros.extend(read);
        micros
    }

    /// Removes what was put there, or gives back what was there before. Entries in folders that are wholly ours stay
    /// until the folders go, those of what containerd read until it has been restarted.
    pub(crate) fn discard(&mut self, path: &str) {
        // It stays kept: who is cut off here does the same again.
        match self.originals.get(path).cloned() {
            Some((body, mode)) => self.put(path, body, mode),
            None => self.remove(path),
        }
        let kind = self.manifest.get(path).map(|entry| entry.kind.clone()).unwrap_or_default();
        if !is_read_by_runtime(path, &kind) && !FOLDERS.iter().any(|folder| Path::new(path).starts_with(folder)) {
            self.forget(path);
        }
    }

    /// Gives back what was there before.
    pub(crate) fn restore(&mut self, path: &str) {
        if let Some((body, mode)) = self.originals.remove(path) {
            self.put(path, body, mode);
            self.forget(path);
        }
    }

    pub(crate) fn forget(&mut self, path: &str) {
        self.manifest.remove(path);
        self.modes.remove(path);
    }

    /// What is left when all of it is gone: data, artifacts, and the list itself.
    pub(crate) fn forget_everything(&mut self) {
        self.files.retain(|path, _| !FOLDERS.iter().any(|folder| Path::new(path).starts_with(folder)));
        self.artifacts.clear();
        self.partial.clear();
        self.manifest.clear();
        self.modes.clear();
        self.originals.clear();
        self.restarts.clear();
    }
}

fn is_read_by_runtime(path: &str, kind: &str) -> bool {
    let read = ["/etc/containerd".to_owned(), format!("{FOLDER}/{RUNTIME_UNIT}.d")];
    kind != "directory" && read.iter().any(|read| Path::new(path).starts_with(read))
}
