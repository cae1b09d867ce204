//! What must not be there any more, and drift: what is not as Naru left it.

use naru_resources::Change;

use super::check::change;
use super::unit::FOLDER;
use super::{Machine, Micro};

impl Machine {
    pub(crate) fn check_absent(&self, path: &str) -> Option<Change> {
        self.files.contains_key(path).then(|| change(format!("remove {path}")))
    }

    pub(crate) fn absent_micros(&self, path: &str) -> Vec<Micro> {
        let mut micros = Vec::new();
        let unit = path.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
        if let Some(name) = unit.filter(|name| self.units.contains_key(*name)) {
            micros.extend([Micro::Stop(name.to_owned()), Micro::Disable(name.to_owned())]);
        }
        micros.push(Micro::Remove { path: path.to_owned() });
        micros
    }

    /// Removes a file, or a folder in which nothing is left.
    pub(crate) fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        let is_full = self.files.range(below.clone()..).next().is_some_and(|(name, _)| name.starts_with(&below));
        if self.is_folder(path) && is_full {
            return;
        }
        self.files.remove(path);
        if let Some(name) = path.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/')) {
            self.units.remove(name);
        }
    }

    /// Entries of the manifest that are not as they were left.
    pub(crate) fn drifted(&self) -> Vec<String> {
        let hashed = self.manifest.iter().filter(|(path, entry)| path.starts_with('/') && !entry.sha256.is_empty());
        let drifted = hashed.filter(|(path, entry)| match self.files.get(path.as_str()) {
            Some(file) => file.body.sha256() != entry.sha256,
            None => !self.artifacts.contains_key(&entry.sha256),
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
        // Deepest first, so that folders are empty when their turn comes.
        for (path, entry) in self.manifest.iter().rev() {
            if path.starts_with('/') && entry.kind != "unit" {
                micros.push(Micro::Remove { path: path.clone() });
            }
        }
        micros
    }

    /// What is left when all of it is gone: data, artifacts, and the list itself.
    pub(crate) fn forget_everything(&mut self) {
        for folder in ["/etc/naru", "/opt/naru", "/var/lib/naru"] {
            let below = format!("{folder}/");
            self.files.retain(|path, _| path != folder && !path.starts_with(&below));
        }
        self.artifacts.clear();
        self.partial.clear();
        self.images.clear();
        self.manifest.clear();
    }
}
