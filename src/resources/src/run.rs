//! A whole list of resources: checked in one go, or applied one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kinds::{self, Kind};
use crate::manifest::Manifest;
use crate::pending::Pending;
use crate::{Change, Host, Resource, ResourceError, restarts, revert};

/// Asks a running `apply_all` to stop after the resource it is at. Clones share one switch.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What differs; changes nothing. A resource that cannot be looked at yet, because something earlier in the list is
/// not there, counts as a change.
pub fn check_all(host: &Host, resources: &[Resource]) -> Result<Vec<Change>, ResourceError> {
    let mut pending = Pending::default();
    let mut changes = Vec::new();
    for (index, resource) in resources.iter().enumerate() {
        if let Some(change) = kinds::of(resource).check(host, &pending)? {
            pending.note(resource);
            changes.push(Change { resource: index, ..change });
        }
    }
    Ok(changes)
}

/// Asked before each resource is changed; an error stops there.
pub type Guard<'a> = &'a dyn Fn() -> Result<(), ResourceError>;

/// Makes it so, in this order, and stops at the first failure: then the error comes with what was done before it.
pub fn apply_all(
    host: &Host,
    resources: &[Resource],
    stop: &Stop,
) -> Result<Vec<Change>, (ResourceError, Vec<Change>)> {
    revert::refuse_pending(host).map_err(|error| (error, Vec::new()))?;
    apply_guarded(host, resources, stop, &|| Ok(()))
}

/// The same as long as `guard` allows it, and also while a change waits to be confirmed: the caller looks after that.
pub fn apply_guarded(
    host: &Host,
    resources: &[Resource],
    stop: &Stop,
    guard: Guard<'_>,
) -> Result<Vec<Change>, (ResourceError, Vec<Change>)> {
    let mut changes = Vec::new();
    let mut manifest = match Manifest::load(host) {
        Ok(manifest) => manifest,
        Err(error) => return Err((error, changes)),
    };
    for index in 0..resources.len() {
        let outcome = apply_one(host, &resources[index..], &mut manifest, stop, guard);
        // Also after a failure: what was written before it is there.
        let saved = manifest.save(host);
        match outcome.and_then(|change| saved.map(|()| change)) {
            Ok(None) => {}
            Ok(Some(change)) => changes.push(Change { resource: index, ..change }),
            Err(error) => return Err((error, changes)),
        }
    }
    Ok(changes)
}

/// Applies the first of these; what comes after it may have to be told of its change.
fn apply_one(
    host: &Host,
    resources: &[Resource],
    manifest: &mut Manifest,
    stop: &Stop,
    guard: Guard<'_>,
) -> Result<Option<Change>, ResourceError> {
    let [resource, later @ ..] = resources else { return Ok(None) };
    let kind: &dyn Kind = &*kinds::of(resource);
    let change = kind.check(host, &Pending::default())?;
    if let Some(change) = &change {
        if stop.is_stopped() {
            return Err(ResourceError::Stopped { before: format!("`{}`", change.summary) });
        }
        guard()?;
        tracing::info!(change = change.summary, "applying");
        kind.announce(host, manifest)?;
        manifest.save(host)?;
        restarts::note(host, resource, later)?;
        kind.apply(host)?;
    }
    kind.record(host, manifest)?;
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Content;

    fn file(path: &str, text: &str) -> Resource {
        let content = Content { text: text.to_owned(), sensitive: false };
        Resource::File { path: path.to_owned(), mode: 0o644, content }
    }

    #[test]
    fn apply_does_what_check_said_and_then_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let resources = [
            Resource::Directory { path: "/etc/naru".to_owned(), mode: 0o755 },
            file("/etc/naru/a", "a\n"),
            file("/etc/naru/b", "b\n"),
        ];
        let planned = check_all(&host, &resources).unwrap();
        assert_eq!(planned.iter().map(|change| change.resource).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(!host.path("/etc/naru").exists(), "a check changes nothing");
        assert_eq!(apply_all(&host, &resources, &Stop::default()).unwrap(), planned);
        assert_eq!(check_all(&host, &resources).unwrap(), []);
        assert_eq!(apply_all(&host, &resources, &Stop::default()).unwrap(), []);
        let manifest = Manifest::load(&host).unwrap();
        assert_eq!(manifest.entries["/etc/naru/a"].kind, "file");
    }

    #[test]
    fn a_failure_stops_and_tells_what_was_done() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        fs_err::create_dir_all(host.path("/etc/folder")).unwrap();
        let resources = [file("/etc/a", "a"), file("/etc/folder", "x"), file("/etc/b", "b")];
        let (error, done) = apply_all(&host, &resources, &Stop::default()).unwrap_err();
        assert!(error.to_string().contains("/etc/folder"), "{error}");
        assert_eq!(done.len(), 1);
        assert!(!host.path("/etc/b").exists());
        assert!(Manifest::load(&host).unwrap().entries.contains_key("/etc/a"));
    }

    #[test]
    fn what_is_about_to_be_made_is_listed_before() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), vec![folder.path().join("bin")]);
        let seen = folder.path().join("seen");
        let body = format!("cp {} {}; echo no >&2; exit 1", host.manifest().display(), seen.display());
        crate::kinds::systemd::tests::script(&folder.path().join("bin"), "modprobe", &body);
        let module = Resource::KernelModule { name: "naru_test".to_owned() };
        apply_all(&host, std::slice::from_ref(&module), &Stop::default()).unwrap_err();
        let at_change: Manifest = serde_json::from_slice(&fs_err::read(seen).unwrap()).unwrap();
        let path = crate::kinds::kernel_module::FILE;
        assert_eq!(at_change.entries[path].kind, "kernelModule");
        let manifest = Manifest::load(&host).unwrap();
        assert_eq!(crate::drifted(&host, &manifest).unwrap(), Vec::<String>::new(), "announced is not yet left");
        let gone = [Resource::Absent { path: path.to_owned() }];
        assert!(apply_all(&host, &gone, &Stop::default()).unwrap()[0].summary.ends_with("it is gone"));
        assert!(!Manifest::load(&host).unwrap().entries.contains_key(path));
    }

    #[test]
    fn a_stop_leaves_the_rest_undone() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::below(folder.path(), Vec::new());
        let stop = Stop::default();
        stop.stop();
        let (error, done) = apply_all(&host, &[file("/etc/a", "a")], &stop).unwrap_err();
        assert!(matches!(error, ResourceError::Stopped { .. }));
        assert!(done.is_empty() && !host.path("/etc/a").exists());
    }
}
