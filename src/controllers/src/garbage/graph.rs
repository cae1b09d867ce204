//! Who owns whom: a graph of all objects' metadata, and what each change of it calls for. Pure.

use std::collections::{HashMap, HashSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::runtime::meta;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// Where an object is: the index of its kind, and its names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub kind: usize,
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub place: Place,
    pub owners: Vec<OwnerReference>,
    pub deleting: bool,
    /// Waits for its dependents to be deleted.
    pub foreground: bool,
    /// Waits for its dependents to be let go.
    pub orphan: bool,
}

impl Object {
    pub(super) fn new(kind: usize, meta: &ObjectMeta) -> Self {
        let has = |finalizer: &str| meta.finalizers.iter().flatten().any(|present| present == finalizer);
        Self {
            place: Place { kind, namespace: meta::namespace(meta).to_owned(), name: meta::name(meta).to_owned() },
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta::is_deleting(meta),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }

    fn needs_work(&self) -> bool {
        self.deleting && (self.foreground || self.orphan)
    }

    fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }
}

#[derive(Default)]
pub(super) struct Graph {
    objects: HashMap<String, Object>,
    dependents: HashMap<String, HashSet<String>>,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Object> {
        self.objects.get(uid)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Takes over an object's newest state; returns the UIDs that must be looked at.
    pub(super) fn put(&mut self, uid: &str, object: Object) -> Vec<String> {
        let before = self.objects.get(uid).cloned();
        if before.as_ref() == Some(&object) {
            return Vec::new();
        }
        for owner in before.iter().flat_map(|before| &before.owners) {
            self.unlink(&owner.uid, uid);
        }
        for owner in &object.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.to_owned());
        }
        let mut work = Vec::new();
        let unsettled = |owner: &OwnerReference| self.objects.get(&owner.uid).is_none_or(Object::waits_for_dependents);
        if object.needs_work() || object.owners.iter().any(unsettled) {
            work.push(uid.to_owned());
        }
        let starts_waiting =
            object.waits_for_dependents() && !before.as_ref().is_some_and(Object::waits_for_dependents);
        if starts_waiting {
            work.extend(self.dependents_of(uid));
        }
        // An owner that waits may have waited for a reference that is gone now.
        let dropped = before.iter().flat_map(|before| &before.owners).filter(|owner| !object.owners.contains(owner));
        work.extend(dropped.map(|owner| owner.uid.clone()).filter(|owner| self.is_waiting(owner)));
        self.objects.insert(uid.to_owned(), object);
        work
    }

    /// The object is gone; returns the UIDs that must be looked at: those it owned, and owners that waited for it.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(object) = self.objects.remove(uid) else { return Vec::new() };
        let mut work = self.dependents_of(uid);
        for owner in &object.owners {
            self.unlink(&owner.uid, uid);
            if self.is_waiting(&owner.uid) {
                work.push(owner.uid.clone());
            }
        }
        work
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    pub(super) fn is_waiting(&self, uid: &str) -> bool {
        self.objects.get(uid).is_some_and(Object::waits_for_dependents)
    }

    pub(super) fn dependents_of(&self, uid: &str) -> Vec<String> {
        let mut dependents: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        dependents.sort();
        dependents
    }

    /// Dependents whose reference says that this owner must stay until they are gone.
    pub(super) fn blocking(&self, uid: &str) -> Vec<String> {
        let blocks = |dependent: &String| {
            let object = self.objects.get(dependent);
            let mut owners = object.into_iter().flat_map(|object| &object.owners);
            owners.any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        self.dependents_of(uid).into_iter().filter(blocks).collect()
    }

    /// All objects of one kind that are not in a fresh list of that kind.
    pub(super) fn missing(&self, kind: usize, listed: &HashSet<String>) -> Vec<String> {
        let gone = self.objects.iter().filter(|(uid, object)| object.place.kind == kind && !listed.contains(*uid));
        gone.map(|(uid, _)| uid.clone()).collect()
    }
}

/// What an owner reference has turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// It is there (or nobody can tell): the dependent stays.
    Solid,
    /// It is there but waits for the dependent to go.
    Waiting,
    /// It is certainly not there.
    Absent,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    /// Some owner remains: only these references go.
    DropOwners(Vec<String>),
    /// Owner waits and the object has dependents itself: it must wait for them in turn.
    DeleteForeground,
    Delete,
}

pub(super) fn judge(owners: &[(OwnerReference, OwnerState)], has_dependents: bool) -> Verdict {
    let in_state = |wanted: OwnerState| owners.iter().filter(move |(_, state)| *state == wanted);
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if in_state(OwnerState::Solid).next().is_some() {
        let gone: Vec<String> = owners
            .iter()
            .filter(|(_, state)| *state != OwnerState::Solid)
            .map(|(owner, _)| owner.uid.clone())
            .collect();
        return if gone.is_empty() { Verdict::Keep } else { Verdict::DropOwners(gone) };
    }
    if in_state(OwnerState::Waiting).next().is_some() && has_dependents {
        return Verdict::DeleteForeground;
    }
    Verdict::Delete
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(name: &str, owners: &[(&str, bool)], finalizers: &[&str], deleting: bool) -> Object {
        let owners: Vec<_> = owners
            .iter()
            .map(|(uid, block)| {
                json!({"apiVersion": "v1", "kind": "X", "name": uid, "uid": uid,
                "blockOwnerDeletion": block})
            })
            .collect();
        let mut value = json!({"name": name, "namespace": "n", "ownerReferences": owners, "finalizers": finalizers});
        if deleting {
            value["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Object::new(0, &serde_json::from_value(value).unwrap())
    }

    #[test]
    fn background_deletion_cascades_level_by_level() {
        let mut graph = Graph::default();
        assert!(graph.put("deploy", object("d", &[], &[], false)).is_empty());
        assert!(graph.put("rs", object("rs", &[("deploy", true)], &[], false)).is_empty(), "its owner is there");
        assert!(graph.put("pod", object("p", &[("rs", true)], &[], false)).is_empty());
        assert_eq!(graph.remove("deploy"), ["rs"]);
        assert_eq!(graph.remove("rs"), ["pod"]);
        assert!(graph.remove("pod").is_empty());
        assert!(graph.dependents.is_empty(), "nothing is left behind");
    }

    #[test]
    fn an_object_without_its_owner_is_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(graph.put("pod", object("p", &[("rs", true)], &[], false)), ["pod"]);
        assert!(graph.put("pod", object("p", &[("rs", true)], &[], false)).is_empty(), "no change, no work");
    }

    #[test]
    fn foreground_deletion_waits_for_those_that_block() {
        let mut graph = Graph::default();
        graph.put("rs", object("rs", &[], &[], false));
        graph.put("a", object("a", &[("rs", true)], &[], false));
        graph.put("b", object("b", &[("rs", false)], &[], false));
        let work = graph.put("rs", object("rs", &[], &[FOREGROUND], true));
        assert_eq!(work, ["rs", "a", "b"]);
        assert_eq!(graph.blocking("rs"), ["a"]);
        assert_eq!(graph.remove("a"), ["rs"], "the owner that waited is looked at again");
        assert!(graph.blocking("rs").is_empty());
    }

    #[test]
    fn a_dropped_reference_also_ends_the_wait() {
        let mut graph = Graph::default();
        graph.put("rs", object("rs", &[], &[FOREGROUND], true));
        graph.put("a", object("a", &[("rs", true)], &[], false));
        assert_eq!(graph.put("a", object("a", &[], &[], false)), ["rs"]);
    }

    #[test]
    fn circles_do_not_hang() {
        let mut graph = Graph::default();
        graph.put("a", object("a", &[("b", true)], &[], false));
        graph.put("b", object("b", &[("a", true)], &[], false));
        assert_eq!(graph.remove("a"), ["b"]);
        assert!(graph.remove("b").is_empty());
        assert!(graph.dependents.is_empty());
    }

    #[test]
    fn verdicts() {
        let owner = |uid: &str, state| {
            let reference = OwnerReference { uid: uid.into(), ..OwnerReference::default() };
            (reference, state)
        };
        use OwnerState::{Absent, Solid, Waiting};
        assert_eq!(judge(&[], false), Verdict::Keep);
        assert_eq!(judge(&[owner("a", Solid)], false), Verdict::Keep);
        assert_eq!(judge(&[owner("a", Solid), owner("b", Absent)], false), Verdict::DropOwners(vec!["b".into()]));
        assert_eq!(judge(&[owner("a", Absent)], true), Verdict::Delete);
        assert_eq!(judge(&[owner("a", Waiting)], false), Verdict::Delete);
        assert_eq!(judge(&[owner("a", Waiting), owner("b", Absent)], true), Verdict::DeleteForeground);
    }
}
