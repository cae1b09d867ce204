//! Pods stay five minutes on a node that is not ready or not reachable, unless they say otherwise.

use serde_json::{Value, json};

use super::fields::{list_mut, text};
use crate::chain::{AdmissionRequest, Operation};

const SECONDS: i64 = 300;
const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) fn admit(request: &mut AdmissionRequest<'_>) {
    let of_pod = request.resource.group.is_empty() && request.resource.plural == "pods";
    if !of_pod || !request.info.subresource.is_empty() || request.operation == Operation::Delete {
        return;
    }
    let spec = &mut request.object["spec"];
    let tolerations = list_mut(spec, "tolerations");
    let tolerates = |toleration: &Value, key: &str| {
        let (own_key, effect) = (text(toleration, "/key"), text(toleration, "/effect"));
        (own_key.is_empty() || own_key == key) && (effect.is_empty() || effect == "NoExecute")
    };
    for key in KEYS {
        if !tolerations.iter().any(|toleration| tolerates(toleration, key)) {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
}
