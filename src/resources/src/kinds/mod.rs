//! One module per kind of resource, behind one trait.

mod absent;
mod authority;
mod binary;
pub(crate) mod certificate;
mod directory;
mod file;
pub(crate) mod image;
pub(crate) mod kernel_module;
mod key_pair;
mod packages;
pub(crate) mod pause;
mod pause_code;
pub(crate) mod swap;
pub(crate) mod sysctl;
pub(crate) mod systemd;
pub(crate) mod unit;

use std::path::Path;

use fs_err as fs;

use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Disruption, Host, Resource, ResourceError};

/// Kind of a folder that nobody asked for: it was made for what lies in it. Only `reset` removes it.
pub(crate) const PARENT: &str = "parent";

/// What every kind of resource can do.
pub(crate) trait Kind {
    /// What differs, changing nothing. `pending` is what earlier resources of the list are about to change.
    fn check(&self, host: &Host, pending: &Pending) -> Result<Option<Change>, ResourceError>;

    /// Makes it so; called only when `check` found a change.
    fn apply(&self, host: &Host) -> Result<(), ResourceError>;

    /// Lists in the manifest what `apply` is about to put on the host: it is saved before, so that a power cut between
    /// leaves nothing that no list knows.
    fn announce(&self, _host: &Host, _manifest: &mut Manifest) -> Result<(), ResourceError> {
        Ok(())
    }

    /// Notes in the manifest what lies on the host because of this resource.
    fn record(&self, _host: &Host, _manifest: &mut Manifest) -> Result<(), ResourceError> {
        Ok(())
    }
}

pub(crate) fn of(resource: &Resource) -> Box<dyn Kind + '_> {
    match resource {
        Resource::Directory { path, mode } => Box::new(directory::Directory { path, mode: *mode }),
        Resource::File { path, mode, content } => Box::new(file::File { path, mode: *mode, content }),
        Resource::Binary { path, sha256 } => Box::new(binary::Binary { path, sha256 }),
        Resource::Packages { names } => Box::new(packages::Packages { names }),
        Resource::Sysctl { key, value } => Box::new(sysctl::Sysctl { key, value }),
        Resource::KernelModule { name } => Box::new(kernel_module::KernelModule { name }),
        Resource::Swap { enabled } => Box::new(swap::Swap { enabled: *enabled }),
        Resource::Unit { name, content, enabled, restart_on } => {
            Box::new(unit::Unit { name, content: content.as_ref(), enabled: *enabled, restart_on })
        }
        Resource::Image { reference, sha256 } => Box::new(image::Image { reference, sha256 }),
        Resource::PauseImage { reference } => Box::new(pause::PauseImage { reference }),
        Resource::Absent { path } => Box::new(absent::Absent { path }),
        Resource::Authority(authority) => Box::new(authority::AuthorityFiles { authority }),
        Resource::Certificate(certificate) => Box::new(certificate::CertificateFiles { certificate }),
        Resource::KeyPair { private_path, public_path } => Box::new(key_pair::KeyPair { private_path, public_path }),
    }
}

/// Lists something new and the folders that have to be made for it.
fn announce(host: &Host, manifest: &mut Manifest, path: &str, kind: &str) {
    for folder in Path::new(path).ancestors().skip(1) {
        if fs::symlink_metadata(host.path(folder)).is_ok() {
            break;
        }
        manifest.announce(&folder.to_string_lossy(), PARENT);
    }
    manifest.announce(path, kind);
}

/// A change that stops nothing; its index is set by the caller who knows it.
fn change(summary: impl Into<String>) -> Change {
    Change { resource: 0, summary: summary.into(), diff: None, disruption: None }
}

fn disruptive(summary: impl Into<String>, disruption: Option<Disruption>) -> Change {
    Change { disruption, ..change(summary) }
}
