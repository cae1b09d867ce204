//! Services: cluster addresses, address families and node ports are given, kept and let go.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use naru_api::{FieldError, FieldErrorKind};
use serde_json::{Value, json};

use super::fields::{is_main, items, remove, text, texts};
use super::service_addresses::{Claim, NodePorts, ServiceAddresses, addresses_of, owner_of, ports_of};
use crate::chain::{AdmissionRequest, Operation};
use crate::status::ApiError;

const HEADLESS: &str = "None";
const NULL: Value = Value::Null;

pub(super) fn admit(addresses: &ServiceAddresses, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
    let old = match request.operation {
        _ if is_main(request, "", "services", Operation::Create) => &NULL,
        _ if is_main(request, "", "services", Operation::Update) => request.old_object.unwrap_or(&NULL),
        _ => return Ok(()),
    };
    let mut owner = owner_of(request.object);
    if text(request.object, "/metadata/namespace").is_empty() {
        owner = format!("{}{owner}", request.info.namespace);
    }
    let service = &mut *request.object;
    let claim = Claim { owner: &owner, dry_run: request.dry_run };
    let outcome = prepare(service, old)
        .and_then(|()| allocate_address(addresses, &claim, service))
        .and_then(|()| allocate_ports(addresses, &claim, service));
    outcome.map_err(|error| {
        if !claim.dry_run {
            addresses.release(claim.owner);
        }
        ApiError::invalid(request.resource, text(service, "/metadata/name"), &[error])
    })
}

/// Everything that needs no allocator: what an update keeps, what a change of type drops, families, immutability.
fn prepare(service: &mut Value, old: &Value) -> Result<(), FieldError> {
    if !service["spec"].is_object() {
        service["spec"] = json!({});
    }
    if !old.is_null() {
        keep_allocated(service, old);
        drop_unneeded(service, old);
    }
    normalize_addresses(service, old);
    check_addresses(service, old)?;
    set_families(service)
}

fn service_type(service: &Value) -> &str {
    match text(service, "/spec/type") {
        "" => "ClusterIP",
        given => given,
    }
}

fn needs_address(service: &Value) -> bool {
    matches!(service_type(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_ports(service: &Value) -> bool {
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&json!(false)),
        _ => false,
    }
}

fn needs_health_port(service: &Value) -> bool {
    service_type(service) == "LoadBalancer" && text(service, "/spec/externalTrafficPolicy") == "Local"
}

fn node_port(port: &Value) -> u64 {
    port.get("nodePort").and_then(Value::as_u64).unwrap_or_default()
}

/// An update that leaves allocated values out means "as before".
fn keep_allocated(service: &mut Value, old: &Value) {
    if needs_address(old) && needs_address(service) {
        let old_address = text(old, "/spec/clusterIP");
        if text(service, "/spec/clusterIP").is_empty() {
            service["spec"]["clusterIP"] = json!(old_address);
        }
        if items(service, "/spec/clusterIPs").is_empty() && text(service, "/spec/clusterIP") == old_address {
            service["spec"]["clusterIPs"] = json!(items(old, "/spec/clusterIPs"));
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            let before = &old["spec"][field];
            if service["spec"][field].is_null() && !before.is_null() {
                service["spec"][field] = before.clone();
            }
        }
    }
    if needs_ports(old) && needs_ports(service) {
        keep_ports(service, old);
    }
    let old_health =
        old.pointer("/spec/healthCheckNodePort").filter(|port| port.as_u64().is_some_and(|port| port != 0));
    if let Some(port) = old_health
        && needs_health_port(old)
        && needs_health_port(service)
        && service["spec"]["healthCheckNodePort"].as_u64().unwrap_or_default() == 0
    {
        service["spec"]["healthCheckNodePort"] = port.clone();
    }
}

fn keep_ports(service: &mut Value, old: &Value) {
    let used: HashSet<u64> = items(service, "/spec/ports").iter().map(node_port).filter(|port| *port != 0).collect();
    let before: HashMap<&str, u64> =
        items(old, "/spec/ports").iter().map(|port| (text(port, "/name"), node_port(port))).collect();
    for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let kept = before.get(text(port, "/name")).copied().unwrap_or_default();
        if node_port(port) == 0 && kept != 0 && !used.contains(&kept) {
            port["nodePort"] = json!(kept);
        }
    }
}

/// A change of type lets go of what the new type does not have, unless the client set it to something else.
fn drop_unneeded(service: &mut Value, old: &Value) {
    let same = |service: &Value, pointer: &str| service.pointer(pointer) == old.pointer(pointer);
    if needs_address(old) && !needs_address(service) && same(service, "/spec/clusterIP") {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            remove(&mut service["spec"], field);
        }
    }
    let unchanged_ports = ports_of(service).iter().all(|port| ports_of(old).contains(port));
    if service_type(old) != "ClusterIP"
        && matches!(service_type(service), "ClusterIP" | "ExternalName")
        && unchanged_ports
    {
        for port in service["spec"]["ports"].as_array_mut().into_iter().flatten() {
            remove(port, "nodePort");
        }
        if same(service, "/spec/externalTrafficPolicy") {
            remove(&mut service["spec"], "externalTrafficPolicy");
        }
    }
    if needs_health_port(old) && !needs_health_port(service) && same(service, "/spec/healthCheckNodePort") {
        remove(&mut service["spec"], "healthCheckNodePort");
    }
    if service_type(old) == "LoadBalancer" && service_type(service) != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(service, &format!("/spec/{field}")) {
                remove(&mut service["spec"], field);
            }
        }
    }
}

/// `clusterIP` and `clusterIPs` say the same; older clients know only the first.
fn normalize_addresses(service: &mut Value, old: &Value) {
    let single = text(service, "/spec/clusterIP").to_owned();
    let several = texts(service, "/spec/clusterIPs");
    let old_single = text(old, "/spec/clusterIP");
    let single_changed = single != old_single;
    let several_changed = several != texts(old, "/spec/clusterIPs");
    if !single.is_empty() && (several.is_empty() || (!old.is_null() && single_changed && !several_changed)) {
        service["spec"]["clusterIPs"] = json!([single]);
    } else if single.is_empty() && !old.is_null() && single_changed && !several_changed {
        remove(&mut service["spec"], "clusterIPs");
    }
}

fn invalid(field: &str, message: String) -> FieldError {
    FieldError { kind: FieldErrorKind::Invalid, field: field.to_owned(), message: format!("Invalid value: {message}") }
}

fn check_addresses(service: &Value, old: &Value) -> Result<(), FieldError> {
    let several = texts(service, "/spec/clusterIPs");
    let shown = json!(several);
    if service_type(service) == "ExternalName" {
        return match several.is_empty() {
            true => Ok(()),
            false => Err(FieldError {
                kind: FieldErrorKind::Forbidden,
                field: "spec.clusterIPs".to_owned(),
                message: "Forbidden: may not be set when `type` is 'ExternalName'".to_owned(),
            }),
        };
    }
    let single = text(service, "/spec/clusterIP");
    if !single.is_empty() && several.first().is_some_and(|first| first != single) {
        return Err(invalid("spec.clusterIP", format!("{single:?}: must be the same as spec.clusterIPs[0]")));
    }
    if single.is_empty() && !several.is_empty() {
        return Err(invalid("spec.clusterIPs", format!("{shown}: must be empty when `clusterIP` is not specified")));
    }
    if several.len() > 1 {
        return Err(invalid(
            "spec.clusterIPs",
            format!("{shown}: this cluster is not configured for dual-stack services"),
        ));
    }
    if single == HEADLESS && service_type(service) != "ClusterIP" {
        let kind = service_type(service);
        return Err(invalid("spec.clusterIPs[0]", format!("\"None\": may not be set to 'None' for {kind} services")));
    }
    let before = texts(old, "/spec/clusterIPs");
    match (before.first(), several.first()) {
        (Some(before), Some(now)) if needs_address(old) && before != now => {
            Err(invalid("spec.clusterIPs[0]", format!("{shown}: may not change once set")))
        }
        (Some(_), None) if needs_address(old) => {
            Err(invalid("spec.clusterIPs[0]", format!("{shown}: primary clusterIP can not be unset")))
        }
        _ => Ok(()),
    }
}

/// One family, IPv4. Headless services without a selector may claim both: their endpoints are somebody else's.
fn set_families(service: &mut Value) -> Result<(), FieldError> {
    if !needs_address(service) {
        return Ok(());
    }
    let headless = text(service, "/spec/clusterIP") == HEADLESS;
    let selects = service.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    let free = headless && !selects;
    let policy = text(service, "/spec/ipFamilyPolicy").to_owned();
    let families = texts(service, "/spec/ipFamilies");
    if !free {
        if policy == "RequireDualStack" {
            let message = "\"RequireDualStack\": this cluster is not configured for dual-stack services".to_owned();
            return Err(invalid("spec.ipFamilyPolicy", message));
        }
        if let Some(position) = families.iter().position(|family| family == "IPv6") {
            let message = "\"IPv6\": not configured on this cluster".to_owned();
            return Err(invalid(&format!("spec.ipFamilies[{position}]"), message));
        }
    }
    let spec = &mut service["spec"];
    if policy.is_empty() {
        spec["ipFamilyPolicy"] = json!(if free { "RequireDualStack" } else { "SingleStack" });
    }
    if families.is_empty() {
        let both = free && text(spec, "/ipFamilyPolicy") != "SingleStack";
        spec["ipFamilies"] = if both { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) };
    }
    Ok(())
}

fn allocate_address(addresses: &ServiceAddresses, claim: &Claim<'_>, service: &mut Value) -> Result<(), FieldError> {
    let wanted = text(service, "/spec/clusterIP").to_owned();
    if !needs_address(service) || wanted == HEADLESS {
        return Ok(());
    }
    let shown = json!(texts(service, "/spec/clusterIPs"));
    if wanted.is_empty() {
        let Some(address) = addresses.claim_any_address(claim) else {
            return Err(invalid("spec.clusterIPs", "[]: failed to allocate a serviceIP: range is full".to_owned()));
        };
        service["spec"]["clusterIP"] = json!(address);
        service["spec"]["clusterIPs"] = json!([address]);
        return Ok(());
    }
    let Ok(address) = wanted.parse::<Ipv4Addr>() else {
        let message = format!("{wanted:?}: must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        return Err(invalid("spec.clusterIPs[0]", message));
    };
    let refused = |why: String| invalid("spec.clusterIPs", format!("{shown}: failed to allocate IP {wanted}: {why}"));
    if !addresses.range.contains(address) {
        let range = addresses.range;
        return Err(refused(format!(
            "the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {range}"
        )));
    }
    if !addresses.claim_address(claim, address) {
        return Err(refused("provided IP is already allocated".to_owned()));
    }
    debug_assert!(addresses_of(service).contains(&address));
    Ok(())
}

fn allocate_ports(addresses: &ServiceAddresses, claim: &Claim<'_>, service: &mut Value) -> Result<(), FieldError> {
    let mut used: HashSet<u16> = HashSet::new();
    let mut by_number: HashMap<u64, u64> = HashMap::new();
    let needs = needs_ports(service);
    if service_type(service) == "ClusterIP" || service_type(service) == "ExternalName" {
        return Ok(());
    }
    // Ports that were asked for go first, so that none of them is given away to a neighbour in the same service.
    for (index, port) in items(service, "/spec/ports").iter().enumerate() {
        let wanted = node_port(port);
        if wanted != 0 {
            claim_wanted(addresses, claim, &format!("spec.ports[{index}].nodePort"), wanted)?;
            by_number.insert(port["port"].as_u64().unwrap_or_default(), wanted);
        }
    }
    used.extend(ports_of(service));
    for (index, port) in service["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate() {
        if !needs || node_port(port) != 0 {
            continue;
        }
        // The same port under another protocol shares the number.
        let number = port["port"].as_u64().unwrap_or_default();
        let shared = by_number.get(&number).copied();
        let given = match shared {
            Some(shared) => shared,
            None => {
                let full = || {
                    let message = "0: failed to allocate a nodePort: range is full".to_owned();
                    invalid(&format!("spec.ports[{index}].nodePort"), message)
                };
                let chosen = addresses.claim_any_port(claim, &used).ok_or_else(full)?;
                used.insert(chosen);
                u64::from(chosen)
            }
        };
        by_number.insert(number, given);
        port["nodePort"] = json!(given);
    }
    if needs_health_port(service) {
        match service["spec"]["healthCheckNodePort"].as_u64().unwrap_or_default() {
            0 => {
                if let Some(port) = addresses.claim_any_port(claim, &used) {
                    service["spec"]["healthCheckNodePort"] = json!(port);
                }
            }
            wanted => claim_wanted(addresses, claim, "spec.healthCheckNodePort", wanted)?,
        }
    }
    Ok(())
}

fn claim_wanted(addresses: &ServiceAddresses, claim: &Claim<'_>, field: &str, wanted: u64) -> Result<(), FieldError> {
    let NodePorts { first, last } = addresses.node_ports;
    let valid = u16::try_from(wanted).ok().filter(|port| (first..=last).contains(port));
    let Some(port) = valid else {
        return Err(invalid(
            field,
            format!(
                "{wanted}: provided port is not in the valid range. \
                 The range of valid ports is {first}-{last}"
            ),
        ));
    };
    match addresses.claim_port(claim, port) {
        true => Ok(()),
        false => Err(invalid(field, format!("{wanted}: provided port is already allocated"))),
    }
}
