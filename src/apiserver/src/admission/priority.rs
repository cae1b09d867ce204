//! Priority classes: names become numbers in pods; at most one class is the default.

use serde_json::{Value, json};

use super::fields::{flag, is_main, refused, text};
use crate::chain::{AdmissionRequest, ObjectReader, Operation};
use crate::status::ApiError;

const GROUP: &str = "scheduling.k8s.io";
const PREEMPT: &str = "PreemptLowerPriority";
/// Classes that hold even before their objects exist.
const SYSTEM: [(&str, i64); 2] = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

struct Class {
    name: String,
    value: i64,
    preemption_policy: String,
}

pub(super) fn admit(reader: &dyn ObjectReader, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
    if is_main(request, "", "pods", Operation::Create) {
        return admit_pod(reader, request);
    }
    if is_main(request, "", "pods", Operation::Update) {
        keep_old(request);
    }
    let of_class = request.resource.group == GROUP && request.resource.plural == "priorityclasses";
    if of_class && request.operation != Operation::Delete && flag(request.object, "/globalDefault") == Some(true) {
        let name = text(request.object, "/metadata/name");
        if let Some(other) = default_class(reader).filter(|other| other.name != name) {
            let why = format!("PriorityClass {} is already marked as default. Only one default can exist", other.name);
            return Err(refused(request, &why));
        }
    }
    Ok(())
}

fn admit_pod(reader: &dyn ObjectReader, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
    let named = text(request.object, "/spec/priorityClassName").to_owned();
    let class = if named.is_empty() {
        default_class(reader).unwrap_or(Class { name: String::new(), value: 0, preemption_policy: PREEMPT.to_owned() })
    } else {
        class_of(reader, &named)
            .ok_or_else(|| refused(request, &format!("no PriorityClass with name {named} was found")))?
    };
    if let Some(given) = request.object.pointer("/spec/priority").and_then(Value::as_i64)
        && given != class.value
    {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; \
             priority admission controller computed {} from the given PriorityClass name",
            class.value
        );
        return Err(refused(request, &why));
    }
    let given = text(request.object, "/spec/preemptionPolicy");
    if !given.is_empty() && given != class.preemption_policy {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {} from the given PriorityClass name",
            class.preemption_policy
        );
        return Err(refused(request, &why));
    }
    let spec = &mut request.object["spec"];
    if !class.name.is_empty() {
        spec["priorityClassName"] = json!(class.name);
    }
    spec["priority"] = json!(class.value);
    spec["preemptionPolicy"] = json!(class.preemption_policy);
    Ok(())
}

/// Clients that know nothing of priorities must not clear them by an update.
fn keep_old(request: &mut AdmissionRequest<'_>) {
    let Some(old) = request.old_object else { return };
    for field in ["priority", "preemptionPolicy"] {
        let old_value = old.pointer(&format!("/spec/{field}")).filter(|value| !value.is_null());
        let spec = &mut request.object["spec"];
        if let Some(old_value) = old_value
            && spec.get(field).is_none_or(Value::is_null)
        {
            spec[field] = old_value.clone();
        }
    }
}

fn class_of(reader: &dyn ObjectReader, name: &str) -> Option<Class> {
    if let Some(object) = reader.get(GROUP, "priorityclasses", "", name) {
        return Some(class(&object));
    }
    let (_, value) = SYSTEM.into_iter().find(|(system, _)| *system == name)?;
    Some(Class { name: name.to_owned(), value, preemption_policy: PREEMPT.to_owned() })
}

fn default_class(reader: &dyn ObjectReader) -> Option<Class> {
    let classes = reader.list(GROUP, "priorityclasses", None);
    let defaults = classes.iter().filter(|object| flag(object, "/globalDefault") == Some(true));
    defaults.map(|object| class(object)).min_by_key(|class| class.value)
}

fn class(object: &Value) -> Class {
    let preemption_policy = match text(object, "/preemptionPolicy") {
        "" => PREEMPT,
        given => given,
    };
    Class {
        name: text(object, "/metadata/name").to_owned(),
        value: object.get("value").and_then(Value::as_i64).unwrap_or_default(),
        preemption_policy: preemption_policy.to_owned(),
    }
}
