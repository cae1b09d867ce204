//! The smallest changes of a host: each happens wholly or not at all, and between any two of them the power may go.

use std::sync::Arc;

use naru_agent::{Entry, Failure, FailureKind};
use naru_resources::{Authority, Pending, Resource, normalized_reference};

use super::certificates::refused;
use super::files::{normalized, sha256, sysctl_values, without_swap};
use super::unit::{FOLDER, OF_PACKAGES, Wanted};
use super::{Body, Machine, Signer, UnitModel};

const SYSCTL_FILE: &str = "/etc/sysctl.d/90-naru.conf";
const SYSCTL_HEADER: &str = "# Kept by naru; changes here are overwritten.\n";
const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";
const MODULES_FILE: &str = "/etc/modules-load.d/naru.conf";
const FILE_BYTES: u64 = 4 << 10;
const PACKAGE_BYTES: u64 = 60 << 20;
/// What the pause image is known by.
const PAUSE_ARCHIVE: &str = "pause";

#[derive(Debug, Clone, PartialEq)]
pub enum Micro {
    Put {
        path: String,
        body: Body,
        mode: u32,
    },
    MakeFolder {
        path: String,
        mode: u32,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    /// Keeps a file of the host's before ours takes its place.
    Keep {
        path: String,
    },
    Restore {
        path: String,
    },
    Remove {
        path: String,
    },
    /// Removes it, or gives back what was there before, and forgets it.
    Discard {
        path: String,
    },
    /// Takes it off the list.
    Forget {
        path: String,
    },
    Install {
        package: String,
    },
    SetParameter {
        key: String,
        value: String,
    },
    LoadModule {
        name: String,
    },
    SwapOff,
    /// Remembers that a unit has to be restarted.
    OweRestart {
        unit: String,
        path: String,
    },
    Unmask(String),
    Reload(String),
    Enable(String),
    Disable(String),
    Start {
        name: String,
        reads: Vec<String>,
    },
    Restart {
        name: String,
        reads: Vec<String>,
    },
    Stop(String),
    Import {
        reference: String,
        archive: String,
    },
}

impl Micro {
    /// How long it takes, in milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        match self {
            Self::Install { .. } => 4_000,
            Self::Start { .. } | Self::Restart { .. } => 700,
            Self::Stop(_) => 300,
            Self::Import { .. } => 900,
            Self::Put { body: Body::Program(_), .. } => 120,
            Self::Put { .. } | Self::Reload(_) => 8,
            _ => 3,
        }
    }
}

impl Machine {
    /// What has to be done for a resource, given that `check` found a change.
    ///
    /// # Errors
    /// When it cannot be begun.
    pub fn micros(&mut self, resource: &Resource) -> Result<Vec<Micro>, Failure> {
        let put = |path: &str, body: Body, mode: u32| Micro::Put { path: path.to_owned(), body, mode };
        let chmod = |path: &str, mode: u32| Micro::Chmod { path: path.to_owned(), mode };
        Ok(match resource {
            Resource::Directory { path, mode } => {
                if self.is_folder(path) {
                    vec![chmod(path, *mode)]
                } else {
                    vec![Micro::MakeFolder { path: path.clone(), mode: *mode }]
                }
            }
            Resource::File { path, mode, content } => match self.files.get(path).map(|file| &file.body) {
                Some(Body::Text(same)) if **same == *content.text => vec![chmod(path, *mode)],
                present => {
                    let is_theirs = matches!(present, Some(Body::Text(_))) && !self.manifest.contains_key(path);
                    let keep = is_theirs.then(|| Micro::Keep { path: path.clone() });
                    keep.into_iter().chain([put(path, Body::text(&content.text), *mode)]).collect()
                }
            },
            Resource::Binary { path, sha256 } => {
                if !self.artifacts.contains_key(sha256) {
                    return Err(refused(format!("the artifact {sha256} for {path} was not uploaded")));
                }
                vec![put(path, Body::Program(sha256.clone()), 0o755)]
            }
            Resource::Packages { names } => {
                let missing = names.iter().filter(|name| !self.packages.contains(*name));
                missing.map(|package| Micro::Install { package: package.clone() }).collect()
            }
            Resource::Sysctl { key, value } => self.parameter_micros(key, value),
            Resource::KernelModule { name } => {
                let mut names = self.text(MODULES_FILE);
                names.push_str(&format!("{name}\n"));
                vec![Micro::LoadModule { name: name.clone() }, put(MODULES_FILE, Body::text(&names), 0o644)]
            }
            Resource::Swap { .. } => {
                let fstab = self.text("/etc/fstab");
                vec![put("/etc/fstab", Body::text(&without_swap(&fstab)), 0o644), Micro::SwapOff]
            }
            Resource::Unit { name, content, enabled, restart_on } => {
                self.unit_micros(Wanted { name, content: content.as_ref(), enabled: *enabled, restart_on })
            }
            Resource::Image { reference, sha256 } => {
                if !self.artifacts.contains_key(sha256) {
                    return Err(refused(format!("the archive {sha256} of image {reference} was not uploaded")));
                }
                vec![Micro::Import { reference: normalized_reference(reference), archive: sha256.clone() }]
            }
            Resource::PauseImage { reference } => {
                let reference = normalized_reference(reference);
                vec![Micro::Import { reference, archive: PAUSE_ARCHIVE.to_owned() }]
            }
            Resource::Absent { path } => self.absent_micros(path),
            Resource::Authority(authority) => self.authority_micros(authority),
            Resource::Certificate(certificate) => {
                if let Some(reason) = self.certificate_reason(certificate) {
                    let path = &certificate.certificate_path;
                    return Err(refused(format!("the certificate {path} has to be issued first: {reason}")));
                }
                vec![chmod(&certificate.key_path, 0o600)]
            }
            Resource::KeyPair { private_path, public_path } => self.key_pair_micros(private_path, public_path),
        })
    }

    fn key_pair_micros(&mut self, private_path: &str, public_path: &str) -> Vec<Micro> {
        let known = self.private_key(private_path);
        let path = private_path.to_owned();
        let (private, key) = match known {
            Some(key) => (Micro::Chmod { path, mode: 0o600 }, key),
            None => {
                let key = self.new_key();
                (Micro::Put { path, body: Body::PrivateKey(key.clone()), mode: 0o600 }, key)
            }
        };
        vec![private, Micro::Put { path: public_path.to_owned(), body: Body::PublicKey(key), mode: 0o644 }]
    }

    fn parameter_micros(&self, key: &str, value: &str) -> Vec<Micro> {
        let mut micros = Vec::new();
        let mut values = sysctl_values(&self.text(SYSCTL_FILE));
        if values.get(key) != Some(&normalized(value)) {
            values.insert(key.to_owned(), normalized(value));
            let lines: String = values.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            let body = Body::text(&format!("{SYSCTL_HEADER}{lines}"));
            micros.push(Micro::Put { path: SYSCTL_FILE.to_owned(), body, mode: 0o644 });
        }
        micros.push(Micro::SetParameter { key: key.to_owned(), value: value.to_owned() });
        micros
    }

    fn authority_micros(&mut self, authority: &Authority) -> Vec<Micro> {
        if self.files.contains_key(&authority.certificate_path) {
            return vec![Micro::Chmod { path: authority.key_path.clone(), mode: 0o600 }];
        }
        let mut micros = Vec::new();
        let key = self.private_key(&authority.key_path).unwrap_or_else(|| {
            let key = self.new_key();
            // The key first: a certificate without its key is the one state that cannot be repaired.
            micros.push(Micro::Put {
                path: authority.key_path.clone(),
                body: Body::PrivateKey(key.clone()),
                mode: 0o600,
            });
            key
        });
        let signer = Signer { key, common_name: authority.common_name.clone() };
        let body = Body::Authority(Arc::new(signer));
        micros.push(Micro::Put { path: authority.certificate_path.clone(), body, mode: 0o644 });
        micros
    }

    /// All of a resource at once.
    ///
    /// # Errors
    /// When it cannot be brought about.
    pub fn apply(&mut self, resource: &Resource) -> Result<(), Failure> {
        if self.check(resource, &Pending::default())?.is_some() {
            for micro in self.micros(resource)? {
                self.perform(&micro)?;
            }
        }
        self.record(resource);
        Ok(())
    }

    /// Does one of them.
    ///
    /// # Errors
    /// When the disk is full, or a unit does not start.
    pub fn perform(&mut self, micro: &Micro) -> Result<(), Failure> {
        let now = self.clock_unix_ms;
        match micro {
            Micro::Put { path, body, mode } => {
                self.take_space(self.size_of(body))?;
                self.put(path, body.clone(), *mode);
                let unit = path.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
                if let Some(name) = unit.filter(|name| !name.contains('/')) {
                    let unit = self.units.entry(name.to_owned()).or_default();
                    (unit.is_loaded, unit.needs_reload) = (true, true);
                }
            }
            Micro::MakeFolder { path, mode } => {
                self.take_space(FILE_BYTES)?;
                self.put(path, Body::Folder, *mode);
            }
            Micro::Chmod { path, mode } => {
                if let Some(file) = self.files.get_mut(path) {
                    (file.mode, file.changed_unix_ms) = (*mode, now);
                }
            }
            Micro::Keep { path } => {
                if let Some(file) = self.files.get(path) {
                    self.originals.entry(path.clone()).or_insert((file.body.clone(), file.mode));
                }
            }
            Micro::Restore { path } => self.restore(path),
            Micro::Remove { path } => self.remove(path),
            Micro::Discard { path } => self.discard(path),
            Micro::Forget { path } => self.forget(path),
            Micro::Install { package } => {
                self.take_space(PACKAGE_BYTES)?;
                self.install(package);
            }
            Micro::SetParameter { key, value } => {
                self.parameters.insert(key.clone(), value.clone());
            }
            Micro::LoadModule { name } => {
                self.modules.insert(name.clone());
            }
            Micro::SwapOff => self.swap_active = false,
            Micro::OweRestart { unit, path } => {
                self.restarts.entry(unit.clone()).or_insert_with(|| path.clone());
            }
            Micro::Unmask(name) => self.unit_mut(name).masked = false,
            Micro::Reload(_) => {
                for unit in self.units.values_mut() {
                    unit.needs_reload = false;
                }
            }
            Micro::Enable(name) => self.unit_mut(name).enabled = true,
            Micro::Disable(name) => self.unit_mut(name).enabled = false,
            Micro::Start { name, reads } | Micro::Restart { name, reads } => {
                self.unit_mut(name).reads.clone_from(reads);
                self.start_unit(name)?;
                self.keep_found(name, reads);
            }
            Micro::Stop(name) => self.unit_mut(name).stop(),
            Micro::Import { reference, archive } => {
                if !self.runs("containerd.service") {
                    return Err(refused("containerd does not run, so no image can be imported"));
                }
                self.take_space(FILE_BYTES)?;
                self.images.insert(reference.clone(), archive.clone());
            }
        }
        Ok(())
    }

    fn unit_mut(&mut self, name: &str) -> &mut UnitModel {
        self.units.entry(name.to_owned()).or_default()
    }

    fn install(&mut self, package: &str) {
        self.packages.insert(package.to_owned());
        if package == "containerd" && !self.files.contains_key(CONTAINERD_CONFIG) {
            self.put(CONTAINERD_CONFIG, Body::text("# the distribution's\n"), 0o644);
        }
        if let Some((_, unit)) = OF_PACKAGES.iter().find(|(name, _)| *name == package) {
            let unit_model = self.unit_mut(unit);
            (unit_model.is_loaded, unit_model.enabled) = (true, true);
            let started = self.start_unit(unit);
            debug_assert!(started.is_ok(), "a package's own unit reads nothing of ours yet");
        }
    }

    fn size_of(&self, body: &Body) -> u64 {
        match body {
            Body::Program(sha256) => self.artifacts.get(sha256).copied().unwrap_or(FILE_BYTES),
            _ => FILE_BYTES,
        }
    }

    /// # Errors
    /// When the disk has less than that.
    pub fn take_space(&mut self, bytes: u64) -> Result<(), Failure> {
        if self.disk_free_bytes < bytes {
            return Err(Failure {
                kind: FailureKind::NoSpace,
                message: "No space left on device".to_owned(),
                detail: None,
                hint: Some("free space on the host's disk".to_owned()),
            });
        }
        self.disk_free_bytes -= bytes;
        Ok(())
    }

    /// Lists what is about to be put here, so that a power cut leaves nothing that no list knows.
    pub fn announce(&mut self, resource: &Resource) {
        let unit_path;
        let paths: Vec<(&str, &str)> = match resource {
            Resource::Directory { path, .. } => vec![(path, "directory")],
            Resource::File { path, .. } => vec![(path, "file")],
            Resource::Binary { path, .. } => vec![(path, "binary")],
            Resource::Unit { name, content: Some(_), .. } => {
                unit_path = format!("{FOLDER}/{name}");
                vec![(&unit_path, "unit")]
            }
            Resource::Sysctl { .. } => vec![(SYSCTL_FILE, "sysctl")],
            Resource::KernelModule { .. } => vec![(MODULES_FILE, "kernelModule")],
            Resource::KeyPair { private_path, public_path } => {
                vec![(private_path, "keyPair"), (public_path, "keyPair")]
            }
            Resource::Authority(authority) => {
                vec![(&authority.certificate_path, "authority"), (&authority.key_path, "authority")]
            }
            _ => Vec::new(),
        };
        for (path, kind) in paths {
            if !self.manifest.contains_key(path) {
                self.note(path, kind, "");
            }
        }
    }

    /// Notes what lies here because of a resource.
    pub fn record(&mut self, resource: &Resource) {
        match resource {
            Resource::Directory { path, mode } => self.note_file(path, "directory", "", *mode),
            Resource::File { path, mode, content } => {
                self.note_file(path, "file", &sha256(content.text.as_bytes()), *mode);
            }
            Resource::Binary { path, sha256 } => self.note(path, "binary", sha256),
            Resource::Packages { names } => names.iter().for_each(|name| self.note(name, "package", "")),
            Resource::Unit { name, content: Some(content), .. } => {
                let mode = if content.sensitive { 0o600 } else { 0o644 };
                self.note_file(&format!("{FOLDER}/{name}"), "unit", &sha256(content.text.as_bytes()), mode);
            }
            Resource::Unit { .. } | Resource::Swap { .. } => {}
            Resource::Sysctl { .. } => {
                let hash = self.files.get(SYSCTL_FILE).map(|file| file.body.sha256()).unwrap_or_default();
                self.note_file(SYSCTL_FILE, "sysctl", &hash, 0o644);
            }
            Resource::KernelModule { .. } => {
                if let Some(hash) = self.files.get(MODULES_FILE).map(|file| file.body.sha256()) {
                    self.note(MODULES_FILE, "kernelModule", &hash);
                }
            }
            Resource::Image { reference, sha256 } => self.note(&normalized_reference(reference), "image", sha256),
            Resource::PauseImage { reference } => self.note(reference, "image", ""),
            Resource::Absent { path } => {
                self.manifest.remove(path);
                self.modes.remove(path);
            }
            Resource::Authority(authority) => {
                self.note(&authority.certificate_path, "authority", "");
                self.note(&authority.key_path, "authority", "");
            }
            Resource::Certificate(certificate) => self.record_certificate(certificate),
            Resource::KeyPair { private_path, public_path } => {
                self.note(private_path, "keyPair", "");
                self.note(public_path, "keyPair", "");
            }
        }
    }

    pub(crate) fn note(&mut self, path: &str, kind: &str, sha256: &str) {
        self.manifest.insert(path.to_owned(), Entry { kind: kind.to_owned(), sha256: sha256.to_owned() });
    }

    pub(crate) fn note_file(&mut self, path: &str, kind: &str, sha256: &str, mode: u32) {
        self.note(path, kind, sha256);
        self.modes.insert(path.to_owned(), mode);
    }

    /// Notes the files of a certificate.
    pub fn record_certificate(&mut self, certificate: &naru_resources::Certificate) {
        self.note_file(&certificate.certificate_path, "certificate", "", 0o644);
        self.note_file(&certificate.key_path, "certificate", "", 0o600);
        if !self.manifest.contains_key(&certificate.authority_path) {
            self.note_file(&certificate.authority_path, "certificate", "", 0o644);
        }
    }
}
