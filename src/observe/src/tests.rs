//! Observation of a fleet in memory: what is asked of whom, and what is made of the answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use naru_agent::{
    ApiRequest, ApiResponse, Checked, EtcdMember, Facts, Failure, FailureKind, ListeningPort, Request, Response,
    UnitState,
};
use naru_inventory::{Host, Inventory};
use naru_resources::{Change, Resource};
use serde_json::{Value as Json, json};

use crate::*;

const HOSTS: &str = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: prod}\nspec:\n  controlPlane: {store: etcd, endpoint: 'api.example.com:6443'}\n  hosts:\n  - {name: cp1, role: control-plane, address: 10.0.0.11}\n  - {name: cp2, role: control-plane, address: 10.0.0.12}\n  - {name: cp3, role: control-plane, address: 10.0.0.13}\n  - {name: w1, role: worker, address: 10.0.0.21}\n  - {name: w2, role: worker, address: 10.0.0.22}\n";

#[derive(Default)]
struct World {
    /// Hosts that are set up.
    set_up: Vec<String>,
    dead: Vec<String>,
    /// Hosts whose node program is another one.
    old: Vec<String>,
    /// Hosts that cannot be compared with anything that is wanted.
    incomparable: Vec<String>,
    /// Ports of a host that nobody can reach.
    blocked: Vec<(String, u16)>,
    /// Who listens for a probe now.
    listening: BTreeMap<String, Vec<u16>>,
    objects: BTreeMap<String, Json>,
    asked: Vec<String>,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<World>>);

struct Agent {
    name: String,
    memory: Memory,
    is_anew: bool,
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.is_anew {
            self.memory.0.lock().unwrap().listening.remove(&self.name);
        }
    }
}

impl World {
    fn facts(&self, host: &str) -> Facts {
        let unit = |name: &str| UnitState {
            name: format!("{name}.service"),
            active_state: "active".to_owned(),
            started_unix_ms: 1,
        };
        let port = |port| ListeningPort { protocol: "tcp".to_owned(), port, program: String::new() };
        let (mut units, mut listening) = (Vec::new(), Vec::new());
        if self.set_up.iter().any(|name| name == host) {
            units.push(unit("naru-node"));
            listening.push(port(10250));
            if host.starts_with("cp") {
                units.push(unit("naru-control-plane"));
                listening.extend([6443, 2379, 2380].map(port));
            }
        }
        Facts { unix_time_ms: 1_060_000, units, listening, ..Facts::default() }
    }

    fn api(&self, request: &ApiRequest) -> ApiResponse {
        let path = &request.path;
        let body = match path.split('?').next().unwrap() {
            "/readyz" => json!("ok"),
            "/api/v1/nodes" => {
                // Two pages.
                let name = if path.contains("continue=more") { "w2" } else { "w1" };
                let next = if name == "w1" { "more" } else { "" };
                json!({"metadata": {"continue": next}, "items": [{"metadata": {"name": name}}]})
            }
            "/api/v1/pods" => json!({"items": [
                {"metadata": {"namespace": "a", "name": "web", "ownerReferences": [{"kind": "ReplicaSet", "controller": true}]}},
                {"metadata": {"namespace": "a", "name": "done"}, "status": {"phase": "Succeeded"}},
            ]}),
            other => match self.objects.get(other) {
                Some(object) => object.clone(),
                None => return ApiResponse { status: 404, body: "{}".to_owned() },
            },
        };
        ApiResponse { status: 200, body: body.to_string() }
    }
}

impl HostAgent for Agent {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AgentError>> {
        let mut world = self.memory.0.lock().unwrap();
        let what = match &request {
            Request::Api(call) => call.path.clone(),
            Request::Probe { reach, .. } => format!("probe {}", reach.len()),
            Request::Listen { ports } => format!("listen {ports:?}"),
            Request::Facts => "facts".to_owned(),
            Request::Check { .. } => "check".to_owned(),
            _ => "other".to_owned(),
        };
        world.asked.push(format!("{}: {what}", self.name));
        let response = match request {
            Request::Facts => Response::Facts(Box::new(world.facts(&self.name))),
            Request::Check { resources } if !resources.is_empty() && world.incomparable.contains(&self.name) => {
                let message = "ca.crt is there, but its key is not".to_owned();
                Response::Failed(Failure { kind: FailureKind::Permanent, message, detail: None, hint: None })
            }
            Request::Check { .. } => {
                let change = Change { resource: 0, summary: "update".to_owned(), diff: None, disruption: None };
                let changes = if world.old.contains(&self.name) { vec![change] } else { Vec::new() };
                Response::Checked(Checked { changes, ..Checked::default() })
            }
            Request::Api(call) => Response::Api(world.api(&call)),
            Request::Etcd(_) => Response::EtcdMembers {
                members: vec![EtcdMember {
                    name: "cp1".to_owned(),
                    id: "1".to_owned(),
                    peer_url: String::new(),
                    is_learner: false,
                    is_leader: true,
                    is_healthy: true,
                }],
            },
            Request::Listen { ports } => {
                world.listening.insert(self.name.clone(), ports.clone());
                Response::Listening { opened: ports, occupied: Vec::new() }
            }
            Request::Probe { reach, resolve, .. } => {
                let hosts = inventory();
                let open = |address: &str, port: u16| {
                    let host = hosts.spec.hosts.iter().find(|host| host.address == address).unwrap();
                    let listens = world.listening.get(&host.name).is_some_and(|ports| ports.contains(&port))
                        || world.facts(&host.name).listening.iter().any(|one| one.port == port);
                    assert!(listens, "nobody listens on {address}:{port}");
                    !world.blocked.contains(&(host.name.clone(), port))
                };
                let reach =
                    reach.iter().map(|target| (!open(&target.address, target.port)).then(|| "timed out".to_owned()));
                Response::Probed {
                    reach: reach.collect(),
                    resolve: resolve.iter().map(|_| (self.name == "w2").then(|| "no such name".to_owned())).collect(),
                }
            }
            _ => Response::Done,
        };
        Box::pin(async move {
            match response {
                Response::Failed(failure) => Err(AgentError::Failed(failure)),
                response => Ok(response),
            }
        })
    }

    fn upload<'a>(
        &'a self,
        _: &'a str,
        _: &'a Path,
        _: u64,
        _: &'a (dyn Fn(u64) + Sync),
    ) -> BoxFuture<'a, Result<(), AgentError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Memory {
    fn reach(&self, host: &Host, is_anew: bool) -> Result<Arc<dyn HostAgent>, Problem> {
        if self.0.lock().unwrap().dead.contains(&host.name) {
            let primary = "no route".to_owned();
            return Err(Problem { kind: ProblemKind::Unreachable, primary, detail: None, hint: None });
        }
        Ok(Arc::new(Agent { name: host.name.clone(), memory: self.clone(), is_anew }))
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

impl Fleet for Memory {
    fn connect<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(async move { self.reach(host, false) })
    }

    fn forget<'a>(&'a self, _: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn set_fence(&self, _: u64) {}

    fn connect_anew<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Arc<dyn HostAgent>, Problem>> {
        Box::pin(async move { self.reach(host, true) })
    }
}

fn inventory() -> Inventory {
    naru_inventory::parse_ahead("x", HOSTS).unwrap()
}

fn look(memory: &Memory, inventory: &Inventory) -> Observation {
    let program = Resource::Binary { path: "/opt/naru/bin/naru-node".to_owned(), sha256: "new".to_owned() };
    let desire = |_: &Host, _: &Facts| Ok(vec![program.clone()]);
    let options = ObserveOptions { clock: Arc::new(|| 1_000_000), ..ObserveOptions::default() };
    futures::executor::block_on(observe(inventory, memory, &desire, &options, &|_, _| {}))
}

fn all_set_up() -> Memory {
    let memory = Memory::default();
    let names = ["cp1", "cp2", "cp3", "w1", "w2"].map(str::to_owned);
    memory.0.lock().unwrap().set_up = names.into();
    memory
}

#[test]
fn a_finished_cluster_is_asked_little() {
    let memory = all_set_up();
    memory.0.lock().unwrap().dead.push("cp1".to_owned());
    let observation = look(&memory, &inventory());
    let asked = memory.asked();
    let of =
        |host: &str| asked.iter().filter(|line| line.starts_with(&format!("{host}: "))).cloned().collect::<Vec<_>>();
    assert_eq!(of("w1"), ["w1: facts", "w1: check"]);
    let cluster = ["/readyz", "/api/v1/nodes?limit=250", "/api/v1/nodes?limit=250&continue=more"];
    let mut expected = vec!["cp2: facts".to_owned(), "cp2: check".to_owned(), "cp2: other".to_owned()];
    expected.extend(cluster.map(|path| format!("cp2: {path}")));
    assert_eq!(of("cp2"), expected, "the first control plane that answers");
    assert_eq!(of("cp3"), ["cp3: facts", "cp3: check"]);
    assert!(matches!(observation.hosts["cp1"], HostObservation::Unreachable(_)));
    let cluster = &observation.cluster;
    assert_eq!(cluster.api, ApiState::Ready);
    assert_eq!(cluster.nodes.as_ref().unwrap().keys().collect::<Vec<_>>(), ["w1", "w2"], "both pages");
    assert_eq!(cluster.etcd.as_ref().unwrap()[0].name, "cp1");
    assert_eq!(observation.preflight, None);
    assert_eq!(observation.reached("w1").unwrap().clock_skew_seconds, 60);
}

#[test]
fn pods_are_asked_for_only_where_something_drains() {
    let memory = all_set_up();
    memory.0.lock().unwrap().old.push("w2".to_owned());
    let mut inventory = inventory();
    let nodes = look(&memory, &inventory).cluster.nodes.unwrap();
    assert_eq!(nodes["w1"].pods, None);
    let web = PodOnNode { namespace: "a".into(), name: "web".into(), controller: "ReplicaSet".into() };
    assert_eq!(nodes["w2"].pods, Some(vec![web]), "what has ended needs no drain");
    memory.0.lock().unwrap().old.clear();
    inventory.spec.hosts[3].state = naru_inventory::HostState::Absent;
    let nodes = look(&memory, &inventory).cluster.nodes.unwrap();
    assert!(nodes["w1"].pods.is_some() && nodes["w2"].pods.is_none());
}

#[test]
fn a_host_on_its_way_out_leaves_whatever_it_looks_like() {
    let memory = all_set_up();
    memory.0.lock().unwrap().incomparable.push("w1".to_owned());
    let mut inventory = inventory();
    assert!(look(&memory, &inventory).reached("w1").is_none());
    inventory.spec.hosts[3].state = naru_inventory::HostState::Absent;
    assert!(look(&memory, &inventory).reached("w1").is_some());
}

#[test]
fn documents_are_compared_with_what_is_there() {
    let memory = all_set_up();
    let mut inventory = inventory();
    let document =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}});
    let other = json!({"apiVersion": "x/v1", "kind": "Other", "metadata": {"name": "a"}});
    inventory.manifests = vec![document("same"), document("other"), document("none"), other];
    let kinds = json!({"resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": true}]});
    let live =
        |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"uid": "1"}, "data": {"a": value}});
    let with_name = |mut object: Json, name: &str| {
        object["metadata"]["name"] = json!(name);
        object
    };
    let base = "/api/v1/namespaces/default/configmaps";
    memory.0.lock().unwrap().objects = [
        ("/api/v1".to_owned(), kinds),
        (format!("{base}/same"), with_name(live("1"), "same")),
        (format!("{base}/other"), with_name(live("2"), "other")),
    ]
    .into();
    let states = look(&memory, &inventory).cluster.manifests;
    assert_eq!(states[0], ManifestState::AsWanted);
    assert_eq!(states[1], ManifestState::Differs { fields: vec!["data.a".to_owned()] });
    assert_eq!(states[2], ManifestState::Missing);
    assert!(matches!(&states[3], ManifestState::Unknown { reason } if reason.contains("Other a")), "{:?}", states[3]);
    let asked = memory.asked();
    assert_eq!(asked.iter().filter(|line| line.ends_with(": /api/v1")).count(), 1, "kinds are asked for once");
}

#[test]
fn a_new_host_finds_out_what_it_cannot_reach() {
    let memory = all_set_up();
    {
        let mut world = memory.0.lock().unwrap();
        world.set_up.retain(|name| name != "w2");
        world.blocked = vec![("cp2".to_owned(), 6443), ("w2".to_owned(), 10250)];
    }
    let first = look(&memory, &inventory());
    let preflight = first.preflight.clone().unwrap();
    let found: Vec<(&str, &str, u16, &str)> = preflight
        .unreachable
        .iter()
        .map(|one| (one.from.as_str(), one.to.as_str(), one.port, one.purpose.as_str()))
        .collect();
    let expected = [
        ("cp1", "w2", 10250, "kubelet"),
        ("cp2", "w2", 10250, "kubelet"),
        ("cp3", "w2", 10250, "kubelet"),
        ("w1", "w2", 10250, "pods of other nodes"),
        ("w2", "cp2", 6443, "API server"),
    ];
    assert_eq!(found, expected);
    // Three API servers and the neighbour from the new one, three control planes and a neighbour to it.
    assert_eq!(preflight.tried, 8);
    assert_eq!(preflight.unresolved, [("w2".to_owned(), vec!["api.example.com".to_owned()])].into());
    assert!(memory.0.lock().unwrap().listening.is_empty(), "nobody listens any more");
    // Why exactly a connection failed may be another word next time.
    let mut again = first.clone();
    again.preflight.as_mut().unwrap().unreachable[0].reason = "refused".to_owned();
    assert_eq!(first.fingerprint(), again.fingerprint());
    again.preflight.as_mut().unwrap().unreachable.clear();
    assert_ne!(first.fingerprint(), again.fingerprint());
}
