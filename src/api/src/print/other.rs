//! Configuration, access, quotas, certificates, classes.

use super::{AGE, CREATED_AT, NAME, NONE, column, scalar, text, wide};
use crate::resource::Column;
use crate::{meta, time};
use serde_json::Value;

pub(crate) const CONFIG_MAP: &[Column] = &[
    NAME,
    column("Data", "integer", 0, "Number of keys.", |object, _| {
        (meta::map_at(object, &["data"]).len() + meta::map_at(object, &["binaryData"]).len()).into()
    }),
    AGE,
];

pub(crate) const SECRET: &[Column] = &[
    NAME,
    text("Type", "What the data is for.", |object, _| meta::string_at(object, &["type"]).into()),
    column("Data", "integer", 0, "Number of keys.", |object, _| meta::map_at(object, &["data"]).len().into()),
    AGE,
];

pub(crate) const SERVICE_ACCOUNT: &[Column] = &[
    NAME,
    column("Secrets", "integer", 0, "Number of secrets.", |object, _| meta::list_at(object, &["secrets"]).len().into()),
    AGE,
];

pub(crate) const ROLE: &[Column] = &[NAME, CREATED_AT];

pub(crate) const ROLE_BINDING: &[Column] = &[
    NAME,
    text("Role", "The role that is granted.", |binding, _| {
        let role = &binding["roleRef"];
        format!("{}/{}", meta::string_at(role, &["kind"]), meta::string_at(role, &["name"])).into()
    }),
    AGE,
    wide("Users", "Users in the roleBinding", |binding, _| subjects(binding, "User").into()),
    wide("Groups", "Groups in the roleBinding", |binding, _| subjects(binding, "Group").into()),
    wide("ServiceAccounts", "ServiceAccounts in the roleBinding", |binding, _| {
        subjects(binding, "ServiceAccount").into()
    }),
];

fn subjects(binding: &Value, kind: &str) -> String {
    let of_kind = meta::list_at(binding, &["subjects"]).iter().filter(|one| meta::string_at(one, &["kind"]) == kind);
    let name = |one: &Value| match (kind, meta::string_at(one, &["name"])) {
        ("ServiceAccount", name) => format!("{}/{name}", meta::string_at(one, &["namespace"])),
        (_, name) => name.to_owned(),
    };
    of_kind.map(name).collect::<Vec<_>>().join(", ")
}

pub(crate) const PRIORITY_CLASS: &[Column] = &[
    NAME,
    column("Value", "integer", 0, "Priority of pods with this class.", |class, _| super::integer(class, &["value"])),
    column("Global-Default", "boolean", 0, "Whether pods without a class get this one.", |class, _| {
        meta::bool_at(class, &["globalDefault"]).into()
    }),
    AGE,
    text("PreemptionPolicy", "Whether such pods drive out others.", |class, _| {
        meta::string_at(class, &["preemptionPolicy"]).into()
    }),
];

pub(crate) const RESOURCE_QUOTA: &[Column] = &[
    NAME,
    text("Request", "Requests and counts used, of those allowed.", |quota, _| usage(quota, false).into()),
    text("Limit", "Limits used, of those allowed.", |quota, _| usage(quota, true).into()),
    AGE,
];

fn usage(quota: &Value, limits: bool) -> String {
    let used = meta::map_at(quota, &["status", "used"]);
    let hard = meta::map_at(quota, &["status", "hard"]);
    let mut names: Vec<&String> = hard.keys().filter(|name| name.starts_with("limits") == limits).collect();
    names.sort();
    let one = |name: &&String| {
        let used = used.get(*name).map_or("0".to_owned(), scalar);
        format!("{name}: {used}/{}", scalar(&hard[*name]))
    };
    names.iter().map(one).collect::<Vec<_>>().join(", ")
}

pub(crate) const CERTIFICATE_SIGNING_REQUEST: &[Column] = &[
    NAME,
    AGE,
    text("SignerName", "Who shall sign.", |request, _| meta::string_at(request, &["spec", "signerName"]).into()),
    text("Requestor", "Who asked.", |request, _| meta::string_at(request, &["spec", "username"]).into()),
    text("RequestedDuration", "How long the certificate shall be good.", |request, _| {
        let seconds = meta::integer_at(request, &["spec", "expirationSeconds"]);
        seconds.map_or_else(|| NONE.into(), |seconds| time::human_duration(seconds).into())
    }),
    text("Condition", "What became of it.", |request, _| {
        let conditions = meta::list_at(request, &["status", "conditions"]).iter();
        let mut words: Vec<&str> = conditions.map(|condition| meta::string_at(condition, &["type"])).collect();
        if words.is_empty() {
            return "Pending".into();
        }
        if !meta::string_at(request, &["status", "certificate"]).is_empty() {
            words.push("Issued");
        }
        words.join(",").into()
    }),
];

pub(crate) const RUNTIME_CLASS: &[Column] = &[
    NAME,
    text("Handler", "Name of the runtime's configuration.", |class, _| meta::string_at(class, &["handler"]).into()),
    AGE,
];
