//! The names of the cluster domain, computed from Services and EndpointSlices, and the answers to questions for them.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

const TTL_S: u32 = 5;
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const SPECIFICATION_VERSION: &str = "1.1.0";
/// Aliases followed inside the zone before giving up.
const ALIASES_MAX: usize = 8;

/// Lower-case names with a final dot, and what they have. A name with nothing exists only as a part of others.
#[derive(Debug, Default)]
pub(super) struct Zone {
    domain: String,
    names: HashMap<String, Vec<RData>>,
    /// `4.3.2.1.in-addr.arpa.` names of service and endpoint addresses.
    reverse: HashMap<String, Vec<RData>>,
}

/// What the zone says to a question.
pub(super) enum Answer {
    Ours(Box<Message>),
    /// Not a name of the cluster.
    Elsewhere,
}

impl Zone {
    pub(super) fn build(domain: &str, services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Self {
        let domain = format!("{}.", domain.trim_matches('.').to_ascii_lowercase());
        let mut zone = Self { domain, ..Self::default() };
        zone.add(format!("dns-version.{}", zone.domain), RData::TXT(TXT::new(vec![SPECIFICATION_VERSION.into()])));
        let mut of_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
        for slice in slices {
            let labels = slice.metadata.labels.as_ref();
            let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)) else { continue };
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            of_service.entry((namespace, service)).or_default().push(slice);
        }
        for service in services {
            let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
            let name = service.metadata.name.as_deref().unwrap_or_default();
            let slices = of_service.get(&(namespace, name)).map(Vec::as_slice).unwrap_or_default();
            zone.add_service(namespace, name, service, slices);
        }
        zone
    }

    fn add_service(&mut self, namespace: &str, name: &str, service: &Service, slices: &[&EndpointSlice]) {
        let Some(spec) = &service.spec else { return };
        let full = format!("{name}.{namespace}.svc.{}", self.domain);
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec.external_name.as_deref().unwrap_or_default();
            if let Ok(target) = Name::from_ascii(format!("{}.", target.trim_end_matches('.'))) {
                self.add(full, RData::CNAME(CNAME(target)));
            }
            return;
        }
        let addresses = spec.cluster_ips.clone().or_else(|| Some(vec![spec.cluster_ip.clone()?])).unwrap_or_default();
        let addresses: Vec<Ipv4Addr> = addresses.iter().filter_map(|address| address.parse().ok()).collect();
        if addresses.is_empty() {
            self.add_headless(&full, spec.publish_not_ready_addresses == Some(true), slices);
            return;
        }
        for address in &addresses {
            self.add(full.clone(), RData::A(A(*address)));
            self.add_reverse(*address, &full);
        }
        for port in spec.ports.iter().flatten() {
            if let (Some(port_name), Ok(number)) = (&port.name, u16::try_from(port.port)) {
                self.add_service_record(port_name, port.protocol.as_deref(), number, &full, &full);
            }
        }
    }

    fn add_headless(&mut self, full: &str, publish_not_ready: bool, slices: &[&EndpointSlice]) {
        for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
            for endpoint in slice.endpoints.iter().flatten() {
                let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
                if !ready && !publish_not_ready {
                    continue;
                }
                let Some(address) = endpoint.addresses.first().and_then(|address| address.parse::<Ipv4Addr>().ok())
                else {
                    continue;
                };
                let host = match &endpoint.hostname {
                    Some(hostname) => format!("{}.{full}", hostname.to_ascii_lowercase()),
                    None => format!("{}.{full}", address.to_string().replace('.', "-")),
                };
                self.add(full.to_owned(), RData::A(A(address)));
                self.add(host.clone(), RData::A(A(address)));
                if endpoint.hostname.is_some() {
                    self.add_reverse(address, &host);
                }
                for port in slice.ports.iter().flatten() {
                    let number = port.port.and_then(|number| u16::try_from(number).ok());
                    if let (Some(name), Some(number)) = (port.name.as_deref().filter(|name| !name.is_empty()), number) {
                        self.add_service_record(name, port.protocol.as_deref(), number, full, &host);
                    }
                }
            }
        }
    }

    fn add_service_record(&mut self, port: &str, protocol: Option<&str>, number: u16, full: &str, target: &str) {
        let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
        if let Ok(target) = Name::from_ascii(target) {
            self.add(format!("_{port}._{protocol}.{full}"), RData::SRV(SRV::new(0, 100, number, target)));
        }
    }

    /// Adds a record, and every name above it up to the domain, so that those exist too (RFC 8020).
    fn add(&mut self, name: String, data: RData) {
        let name = name.to_ascii_lowercase();
        let mut above = name.as_str();
        while let Some((_, rest)) = above.split_once('.') {
            above = rest;
            if above.len() < self.domain.len() {
                break;
            }
            if self.names.contains_key(above) {
                break;
            }
            self.names.insert(above.to_owned(), Vec::new());
        }
        let records = self.names.entry(name).or_default();
        if !records.contains(&data) {
            records.push(data);
        }
    }

    fn add_reverse(&mut self, address: Ipv4Addr, target: &str) {
        let [a, b, c, d] = address.octets();
        if let Ok(target) = Name::from_ascii(target) {
            self.reverse.entry(format!("{d}.{c}.{b}.{a}.in-addr.arpa.")).or_default().push(RData::PTR(PTR(target)));
        }
    }

    pub(super) fn answer(&self, request: &Message, query: &Query) -> Answer {
        let asked = query.name.to_lowercase().to_ascii();
        let mut reply = reply_to(request);
        reply.metadata.authoritative = true;
        if let Some(records) = self.reverse.get(&asked) {
            if matches!(query.query_type, RecordType::PTR | RecordType::ANY) {
                reply.answers = records.iter().map(|data| record(&query.name, data.clone())).collect();
            }
            return Answer::Ours(Box::new(reply));
        }
        if asked != self.domain && !asked.ends_with(&format!(".{}", self.domain)) {
            return Answer::Elsewhere;
        }
        self.fill(&mut reply, query, &asked);
        Answer::Ours(Box::new(reply))
    }

    fn fill(&self, reply: &mut Message, query: &Query, asked: &str) {
        let mut name = asked.to_owned();
        for _ in 0..ALIASES_MAX {
            let pod = self.pod_address(&name).map(|address| vec![RData::A(A(address))]);
            let Some(records) = self.names.get(&name).cloned().or(pod) else {
                if reply.answers.is_empty() {
                    reply.metadata.response_code = ResponseCode::NXDomain;
                }
                break;
            };
            let owner = if name == asked { query.name.clone() } else { Name::from_ascii(&name).unwrap_or_default() };
            let wanted = |data: &&RData| {
                data.record_type() == query.query_type
                    || data.record_type() == RecordType::CNAME
                    || query.query_type == RecordType::ANY
            };
            reply.answers.extend(records.iter().filter(wanted).map(|data| record(&owner, data.clone())));
            match records.first() {
                Some(RData::CNAME(alias)) if query.query_type != RecordType::CNAME => {
                    name = alias.0.to_lowercase().to_ascii();
                }
                _ => break,
            }
        }
        if reply.answers.is_empty() {
            reply.authorities.push(self.authority());
        }
    }

    /// `10-244-1-5.default.pod.cluster.local.`: an address in the name itself.
    fn pod_address(&self, name: &str) -> Option<Ipv4Addr> {
        let name = name.strip_suffix(&self.domain)?.strip_suffix(".pod.")?;
        let (address, namespace) = name.split_once('.')?;
        if namespace.is_empty() || namespace.contains('.') {
            return None;
        }
        address.replace('-', ".").parse().ok()
    }

    /// Says how long a negative answer holds (RFC 2308).
    fn authority(&self) -> Record {
        let name = |prefix: &str| Name::from_ascii(format!("{prefix}{}", self.domain)).unwrap_or_default();
        let soa = SOA::new(name("ns.dns."), name("hostmaster."), 1, 7200, 1800, 86_400, TTL_S);
        Record::from_rdata(name(""), TTL_S, RData::SOA(soa))
    }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL_S, data)
}

pub(super) fn reply_to(request: &Message) -> Message {
    let mut reply = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.queries = request.queries.clone();
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn zone() -> Zone {
        let service = |value| Arc::new(serde_json::from_value::<Service>(value).unwrap());
        let services = [
            service(json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.20",
                "ports": [{"name": "http", "port": 80}]}})),
            service(json!({"metadata": {"name": "db", "namespace": "default"}, "spec": {"clusterIP": "None"}})),
            service(json!({"metadata": {"name": "out", "namespace": "default"},
                "spec": {"type": "ExternalName", "externalName": "example.com"}})),
        ];
        let slice = serde_json::from_value(json!({"metadata": {"name": "db-1", "namespace": "default",
            "labels": {SERVICE_NAME_LABEL: "db"}}, "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432}],
            "endpoints": [{"addresses": ["10.244.1.5"], "hostname": "db-0"},
                          {"addresses": ["10.244.1.6"], "conditions": {"ready": false}}]}))
        .unwrap();
        Zone::build("cluster.local", &services, &[Arc::new(slice)])
    }

    fn ask(name: &str, kind: RecordType) -> Message {
        let query = Query::query(Name::from_ascii(name).unwrap(), kind);
        let mut request = Message::query();
        request.queries.push(query.clone());
        match zone().answer(&request, &query) {
            Answer::Ours(message) => *message,
            Answer::Elsewhere => panic!("{name} is of the cluster"),
        }
    }

    fn data(message: &Message) -> Vec<String> {
        message.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn services_have_addresses_whatever_the_case() {
        assert_eq!(data(&ask("Web.Default.svc.cluster.local.", RecordType::A)), ["10.96.0.20"]);
        assert_eq!(data(&ask("_http._tcp.web.default.svc.cluster.local.", RecordType::SRV)).len(), 1);
        let pointer = ask("20.0.96.10.in-addr.arpa.", RecordType::PTR);
        assert_eq!(data(&pointer), ["web.default.svc.cluster.local."]);
    }

    #[test]
    fn an_existing_name_without_the_type_is_no_error() {
        let message = ask("web.default.svc.cluster.local.", RecordType::AAAA);
        assert_eq!(message.metadata.response_code, ResponseCode::NoError);
        assert!(message.answers.is_empty() && message.authorities.len() == 1);
        let between = ask("default.svc.cluster.local.", RecordType::A);
        assert_eq!(between.metadata.response_code, ResponseCode::NoError);
    }

    #[test]
    fn unknown_names_do_not_exist() {
        let message = ask("nobody.default.svc.cluster.local.", RecordType::A);
        assert_eq!(message.metadata.response_code, ResponseCode::NXDomain);
    }

    #[test]
    fn headless_services_show_their_ready_endpoints() {
        assert_eq!(data(&ask("db.default.svc.cluster.local.", RecordType::A)), ["10.244.1.5"]);
        assert_eq!(data(&ask("db-0.db.default.svc.cluster.local.", RecordType::A)), ["10.244.1.5"]);
    }

    #[test]
    fn external_names_are_aliases() {
        assert_eq!(data(&ask("out.default.svc.cluster.local.", RecordType::A)), ["example.com."]);
    }

    #[test]
    fn pods_have_names_of_their_addresses() {
        assert_eq!(data(&ask("10-244-1-7.default.pod.cluster.local.", RecordType::A)), ["10.244.1.7"]);
    }
}
