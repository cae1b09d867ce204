//! Every pod runs as a service account, and gets its token mounted unless the pod or the account opts out.

use rand::RngExt;
use serde_json::{Value, json};

use super::fields::{flag, is_main, items, list_mut, refused, text};
use crate::chain::{AdmissionRequest, ObjectReader, Operation};
use crate::status::ApiError;

const DEFAULT_ACCOUNT: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR: &str = "/metadata/annotations/kubernetes.io~1config.mirror";
/// An hour, and 7 seconds that mark the token as one mounted here and not asked for.
const TOKEN_SECONDS: i64 = 60 * 60 + 7;
/// Letters of generated names: no vowels, so no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

pub(super) fn admit(reader: &dyn ObjectReader, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
    if !is_main(request, "", "pods", Operation::Create) {
        return Ok(());
    }
    if request.object.pointer(MIRROR).is_some() {
        return match text(request.object, "/spec/serviceAccountName") {
            "" => Ok(()),
            _ => Err(refused(request, "a mirror pod may not reference service accounts")),
        };
    }
    let name = match text(request.object, "/spec/serviceAccountName") {
        "" => DEFAULT_ACCOUNT.to_owned(),
        given => given.to_owned(),
    };
    let spec = &mut request.object["spec"];
    spec["serviceAccountName"] = json!(name);
    spec["serviceAccount"] = json!(name);
    let namespace = request.info.namespace.as_str();
    let Some(account) = reader.get("", "serviceaccounts", namespace, &name) else {
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(refused(request, &why));
    };
    let spec = &mut request.object["spec"];
    let automount = flag(spec, "/automountServiceAccountToken")
        .or_else(|| flag(&account, "/automountServiceAccountToken"))
        .unwrap_or(true);
    if automount {
        mount_token(spec);
    }
    let pull_secrets = items(&account, "/imagePullSecrets");
    if items(spec, "/imagePullSecrets").is_empty() && !pull_secrets.is_empty() {
        spec["imagePullSecrets"] = json!(pull_secrets);
    }
    Ok(())
}

fn mount_token(spec: &mut Value) {
    let volume_names = items(spec, "/volumes").iter().map(|volume| text(volume, "/name"));
    let existing = volume_names.into_iter().find(|name| name.starts_with(VOLUME_PREFIX)).map(str::to_owned);
    let volume_name = existing.clone().unwrap_or_else(generated_name);
    let mut needed = false;
    for kind in ["initContainers", "containers"] {
        for container in spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
            if items(container, "/volumeMounts").iter().any(|mount| text(mount, "/mountPath") == MOUNT_PATH) {
                continue;
            }
            let mount = json!({"name": volume_name, "readOnly": true, "mountPath": MOUNT_PATH});
            list_mut(container, "volumeMounts").push(mount);
            needed = true;
        }
    }
    if needed && existing.is_none() {
        list_mut(spec, "volumes").push(token_volume(&volume_name));
    }
}

fn token_volume(name: &str) -> Value {
    let namespace = json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    json!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 0o644,
        },
    })
}

fn generated_name() -> String {
    let mut random = rand::rng();
    let suffix = (0..SUFFIX_LENGTH).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
    VOLUME_PREFIX.chars().chain(suffix).collect()
}
