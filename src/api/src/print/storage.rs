//! Volumes, claims, classes and the CSI kinds.

use super::{AGE, NAME, UNKNOWN, column, scalar, text, text_or, wide};
use crate::meta;
use crate::resource::Column;
use serde_json::Value;

const UNSET: &str = "<unset>";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

fn access_modes(object: &Value, path: &[&str]) -> String {
    let listed = meta::list_at(object, path);
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let shown = short.iter().filter(|(mode, _)| listed.iter().any(|entry| entry == mode)).map(|(_, short)| *short);
    shown.collect::<Vec<_>>().join(",")
}

fn capacity(object: &Value, path: &[&str]) -> String {
    meta::at(object, path).map(scalar).unwrap_or_default()
}

fn class(object: &Value) -> Value {
    match meta::annotation(object, "volume.beta.kubernetes.io/storage-class") {
        Some(class) => class.into(),
        None => meta::string_at(object, &["spec", "storageClassName"]).into(),
    }
}

/// The phase, or that the object is on its way out.
fn phase(object: &Value) -> Value {
    if meta::deletion_timestamp(object).is_some() {
        return "Terminating".into();
    }
    meta::string_at(object, &["status", "phase"]).into()
}

pub(crate) const PERSISTENT_VOLUME: &[Column] = &[
    NAME,
    text("Capacity", "Size of the volume.", |volume, _| capacity(volume, &["spec", "capacity", "storage"]).into()),
    text("Access Modes", "How the volume may be mounted.", |volume, _| {
        access_modes(volume, &["spec", "accessModes"]).into()
    }),
    text("Reclaim Policy", "What happens when its claim goes.", |volume, _| {
        meta::string_at(volume, &["spec", "persistentVolumeReclaimPolicy"]).into()
    }),
    text("Status", "Phase of the volume.", |volume, _| phase(volume)),
    text("Claim", "The claim that has the volume.", |volume, _| {
        let Some(claim) = meta::at(volume, &["spec", "claimRef"]) else { return "".into() };
        format!("{}/{}", meta::string_at(claim, &["namespace"]), meta::string_at(claim, &["name"])).into()
    }),
    text("StorageClass", "StorageClass of the pv", |volume, _| class(volume)),
    text("VolumeAttributesClass", "VolumeAttributesClass of the pv", |volume, _| {
        text_or(volume, &["spec", "volumeAttributesClassName"], UNSET)
    }),
    text("Reason", "Why the volume is in its phase.", |volume, _| {
        meta::string_at(volume, &["status", "reason"]).into()
    }),
    AGE,
    wide("VolumeMode", "File system or block device.", |volume, _| text_or(volume, &["spec", "volumeMode"], UNSET)),
];

pub(crate) const PERSISTENT_VOLUME_CLAIM: &[Column] = &[
    NAME,
    text("Status", "Phase of the claim.", |claim, _| phase(claim)),
    text("Volume", "The volume that the claim has.", |claim, _| meta::string_at(claim, &["spec", "volumeName"]).into()),
    text("Capacity", "Size of the volume.", |claim, _| capacity(claim, &["status", "capacity", "storage"]).into()),
    text("Access Modes", "How the volume may be mounted.", |claim, _| {
        access_modes(claim, &["status", "accessModes"]).into()
    }),
    text("StorageClass", "StorageClass of the pvc", |claim, _| class(claim)),
    text("VolumeAttributesClass", "VolumeAttributesClass of the pvc", |claim, _| {
        text_or(claim, &["spec", "volumeAttributesClassName"], UNSET)
    }),
    AGE,
    wide("VolumeMode", "File system or block device.", |claim, _| text_or(claim, &["spec", "volumeMode"], UNSET)),
];

pub(crate) const STORAGE_CLASS: &[Column] = &[
    Column {
        cell: |class, _| {
            let marked = meta::annotation(class, DEFAULT_CLASS) == Some("true");
            let mark = if marked { " (default)" } else { "" };
            format!("{}{mark}", meta::name(class)).into()
        },
        ..NAME
    },
    text("Provisioner", "Who makes the volumes.", |class, _| meta::string_at(class, &["provisioner"]).into()),
    text("ReclaimPolicy", "What happens to a volume when its claim goes.", |class, _| {
        text_or(class, &["reclaimPolicy"], "Delete")
    }),
    text("VolumeBindingMode", "When a claim gets its volume.", |class, _| {
        text_or(class, &["volumeBindingMode"], "Immediate")
    }),
    column("AllowVolumeExpansion", "boolean", 0, "Whether volumes can grow.", |class, _| {
        meta::bool_at(class, &["allowVolumeExpansion"]).into()
    }),
    AGE,
];

pub(crate) const CSI_NODE: &[Column] = &[
    NAME,
    column("Drivers", "integer", 0, "Number of drivers on the node.", |node, _| {
        meta::list_at(node, &["spec", "drivers"]).len().into()
    }),
    AGE,
];

pub(crate) const CSI_DRIVER: &[Column] = &[
    NAME,
    column("AttachRequired", "boolean", 0, "Whether volumes must be attached.", |driver, _| {
        meta::at(driver, &["spec", "attachRequired"]).and_then(Value::as_bool).unwrap_or(true).into()
    }),
    column("PodInfoOnMount", "boolean", 0, "Whether the driver is told of the pod.", |driver, _| {
        meta::bool_at(driver, &["spec", "podInfoOnMount"]).into()
    }),
    column("StorageCapacity", "boolean", 0, "Whether the driver publishes its capacity.", |driver, _| {
        meta::bool_at(driver, &["spec", "storageCapacity"]).into()
    }),
    text("TokenRequests", "Audiences of tokens that the driver needs.", |driver, _| {
        let requests = meta::list_at(driver, &["spec", "tokenRequests"]).iter();
        let audiences: Vec<&str> = requests.map(|request| meta::string_at(request, &["audience"])).collect();
        if audiences.is_empty() { UNSET.into() } else { audiences.join(",").into() }
    }),
    column("RequiresRepublish", "boolean", 0, "Whether volumes are published again and again.", |driver, _| {
        meta::bool_at(driver, &["spec", "requiresRepublish"]).into()
    }),
    text("Modes", "Persistent or Ephemeral.", |driver, _| {
        let modes = meta::list_at(driver, &["spec", "volumeLifecycleModes"]);
        if modes.is_empty() { UNKNOWN.into() } else { modes.iter().map(scalar).collect::<Vec<_>>().join(",").into() }
    }),
    AGE,
];

pub(crate) const CSI_STORAGE_CAPACITY: &[Column] = &[
    NAME,
    text("StorageClassName", "Class that the capacity is for.", |object, _| {
        meta::string_at(object, &["storageClassName"]).into()
    }),
    text("Capacity", "Space that is left.", |object, _| {
        meta::at(object, &["capacity"]).map_or_else(|| UNSET.into(), |value| scalar(value).into())
    }),
];

pub(crate) const VOLUME_ATTACHMENT: &[Column] = &[
    NAME,
    text("Attacher", "Driver that attaches.", |object, _| meta::string_at(object, &["spec", "attacher"]).into()),
    text("PV", "The volume.", |object, _| meta::string_at(object, &["spec", "source", "persistentVolumeName"]).into()),
    text("Node", "The node that the volume is attached to.", |object, _| {
        meta::string_at(object, &["spec", "nodeName"]).into()
    }),
    column("Attached", "boolean", 0, "Whether it is attached.", |object, _| {
        meta::bool_at(object, &["status", "attached"]).into()
    }),
    AGE,
];
