//! Settings of the two programs that the inventory knows by the names of upstream's flags: here they get the typed
//! names and units of Naru's own configuration files, so that the programs have nothing to interpret.

use std::collections::BTreeMap;

use naru_api::quantity::Quantity;
use naru_inventory::{ApiServer, ArgValue, ExtraArg, Host, Inventory, api_server_arg, kubelet_arg};

/// Flags with the names of their settings in the programs' files. A name tells the unit of its value.
const KUBELET: [(&str, &str); 5] = [
    ("container-log-max-size", "containerLogMaxBytes"),
    ("container-log-max-files", "containerLogMaxFiles"),
    ("node-status-update-frequency", "nodeStatusUpdateMs"),
    ("node-status-report-frequency", "nodeStatusReportMs"),
    ("runtime-request-timeout", "runtimeRequestTimeoutMs"),
];
const API_SERVER: [(&str, &str); 4] = [
    ("event-ttl", "eventTtlSeconds"),
    ("service-node-port-range", "nodePortRange"),
    ("request-timeout", "requestTimeoutMs"),
    ("min-request-timeout", "minRequestTimeoutSeconds"),
];
type InUnit = fn(Quantity) -> i64;

/// What is kept back for the system, with the unit that it is written in and how that is read from a quantity.
const RESERVED: [(&str, &str, InUnit); 3] = [
    ("cpu", "cpuMilli", Quantity::milli_value),
    ("memory", "memoryBytes", Quantity::value),
    ("ephemeral-storage", "ephemeralStorageBytes", Quantity::value),
];
const MILLISECONDS_PER_SECOND: u64 = 1_000;

/// Lines of section `kubelet` of `node.yaml`: what differs from the defaults, with values as YAML.
pub(crate) fn kubelet(inventory: &Inventory, host: &Host) -> BTreeMap<String, String> {
    let settings = inventory.kubelet_of(host);
    let mut lines = flags(&settings.extra_args, &KUBELET, kubelet_arg);
    if let Some(count) = settings.max_pods {
        lines.insert("maxPods".to_owned(), count.to_string());
    }
    let reserved: Vec<String> = RESERVED
        .iter()
        .filter_map(|(name, setting, value)| {
            let quantity = Quantity::parse(settings.system_reserved.get(*name)?).ok()?;
            Some(format!("{setting}: {}", value(quantity)))
        })
        .collect();
    if !reserved.is_empty() {
        lines.insert("systemReserved".to_owned(), format!("{{{}}}", reserved.join(", ")));
    }
    lines
}

/// Lines of section `apiServer` of `control-plane.yaml`.
pub(crate) fn api_server(settings: &ApiServer) -> BTreeMap<String, String> {
    flags(&settings.extra_args, &API_SERVER, api_server_arg)
}

fn flags(
    set: &BTreeMap<String, String>,
    names: &[(&str, &str)],
    argument: fn(&str) -> Option<&'static ExtraArg>,
) -> BTreeMap<String, String> {
    let lines = names.iter().filter_map(|(flag, setting)| {
        // The inventory has checked names and values.
        let value = argument(flag)?.parse(set.get(*flag)?).ok()?;
        let text = match value {
            ArgValue::Milliseconds(ms) if setting.ends_with("Seconds") => (ms / MILLISECONDS_PER_SECOND).to_string(),
            ArgValue::Milliseconds(number) | ArgValue::Bytes(number) | ArgValue::Number(number) => number.to_string(),
            ArgValue::PortRange { first, last } => format!("{{first: {first}, last: {last}}}"),
        };
        Some(((*setting).to_owned(), text))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_the_inventory_has_a_setting() {
        let known = |names: &[(&str, &str)]| names.iter().map(|(flag, _)| (*flag).to_owned()).collect::<Vec<_>>();
        for (arguments, names) in
            [(naru_inventory::KUBELET_ARGS, known(&KUBELET)), (naru_inventory::API_SERVER_ARGS, known(&API_SERVER))]
        {
            for argument in arguments {
                assert!(names.iter().any(|name| name == argument.name), "{} has no setting", argument.name);
            }
            assert_eq!(arguments.len(), names.len());
        }
    }

    #[test]
    fn values_get_their_units() {
        let set = [("event-ttl", "2h"), ("service-node-port-range", "20000-20999"), ("request-timeout", "90s")];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let lines: Vec<String> = api_server(&ApiServer { extra_args: set })
            .into_iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        assert_eq!(
            lines,
            ["eventTtlSeconds: 7200", "nodePortRange: {first: 20000, last: 20999}", "requestTimeoutMs: 90000"]
        );
    }
}
