//! The table of situations.

use std::collections::BTreeSet;

use naru_agent::{ListeningPort, Route};
use naru_observe::{PodOnNode, Unreachable};

use super::{Applied, Outcome, Scenario, Twist};
use crate::Options;

const V1: &str = "v0.1.0";
const ETCD: &str = "controlPlane: {store: etcd}";

fn cluster(settings: &[&str], hosts: &[String]) -> Applied {
    let settings: String = settings.iter().map(|line| format!("  {line}\n")).collect();
    let hosts: String = hosts.iter().map(|host| format!("    - {host}\n")).collect();
    let head = "apiVersion: naru.dev/v1alpha1\nkind: Cluster\nmetadata: {name: prod}\nspec:\n";
    Applied { text: format!("{head}{settings}  hosts:\n{hosts}"), documents: "[]", version: V1 }
}

fn cp(number: u8) -> String {
    cp_with(number, "")
}

fn cp_with(number: u8, more: &str) -> String {
    format!("{{name: cp{number}, role: control-plane, address: 10.0.0.1{number}{more}}}")
}

fn w(number: u8) -> String {
    w_with(number, "")
}

fn w_with(number: u8, more: &str) -> String {
    format!("{{name: w{number}, role: worker, address: 10.0.0.2{number}{more}}}")
}

fn small() -> Applied {
    cluster(&[], &[cp(1), w_with(1, ", labels: {disk: ssd}")])
}

fn ha() -> Applied {
    cluster(&[ETCD], &[cp(1), cp(2), cp(3), w(1), w(2)])
}

impl Applied {
    fn at(self, version: &'static str) -> Self {
        Self { version, ..self }
    }

    fn with_documents(self, documents: &'static str) -> Self {
        Self { documents, ..self }
    }
}

impl Scenario {
    fn new(name: &'static str, about: &'static str, before: Option<Applied>, now: Applied) -> Self {
        let (twists, options) = (Vec::new(), Options::default());
        Self { name, about, before, now, twists, options, at_hand: &[V1], outcome: Outcome::Changes }
    }

    fn twist(mut self, twist: Twist) -> Self {
        self.twists.push(twist);
        self
    }

    fn ends(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    fn at_hand(self, at_hand: &'static [&'static str]) -> Self {
        Self { at_hand, ..self }
    }

    fn only(mut self, hosts: &[&str]) -> Self {
        self.options.only = hosts.iter().map(|host| (*host).to_owned()).collect::<BTreeSet<_>>();
        self
    }

    fn skipping_unreachable(mut self) -> Self {
        self.options.skip_unreachable = true;
        self
    }
}

/// One control plane with many workers, bare or set up, and a setting that is new.
#[must_use]
pub fn many(workers: u32, is_set_up: bool, setting: &str) -> Scenario {
    let mut hosts = vec![cp(1)];
    hosts.extend((1..=workers).map(|number| {
        let (third, fourth) = (number / 250, number % 250 + 1);
        format!("{{name: w{number}, role: worker, address: 10.1.{third}.{fourth}}}")
    }));
    const WIDE: &str = "network: {podCIDR: 172.0.0.0/11}";
    let before = is_set_up.then(|| cluster(&["rollout: {maxUnavailable: '10%'}", WIDE], &hosts));
    let now = cluster(&["rollout: {maxUnavailable: '10%'}", WIDE, setting], &hosts);
    Scenario::new("many", "a large cluster", before, now)
}

/// All situations.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all = sizes();
    all.extend(control_planes());
    all.extend(settings());
    all.extend(versions());
    all.extend(drains());
    all.extend(roles());
    all.extend(roles_of_the_state());
    all.extend(preflight());
    all.extend(hosts());
    all.extend(rollouts());
    all
}

fn sizes() -> Vec<Scenario> {
    let grown = cluster(&[], &[cp(1), w_with(1, ", labels: {disk: ssd}"), w(2)]);
    let two_less = cluster(&[], &[cp(1), w_with(1, ", labels: {disk: ssd}"), w_with(2, ", state: absent")]);
    let gone = || two_less.clone();
    vec![
        Scenario::new("fresh", "two bare machines become a cluster", None, small()),
        Scenario::new("nothing-to-do", "the world is as wanted", Some(small()), small()).ends(Outcome::Nothing),
        Scenario::new("grow", "a new worker touches no other host", Some(small()), grown.clone()),
        Scenario::new("shrink", "a worker leaves: drained, deleted, cleaned", Some(grown.clone()), gone()),
        Scenario::new(
            "shrink-dead-worker",
            "a worker leaves that cannot be reached any more",
            Some(grown.clone()),
            gone(),
        )
        .twist(Twist::Unreachable("w2")),
        Scenario::new("shrunk", "the worker has left; its entry can go", Some(small()), gone()).ends(Outcome::Nothing),
        Scenario::new("dead-worker", "one dead worker stops nobody else", Some(small()), {
            cluster(&[], &[cp(1), w_with(1, ", labels: {disk: ssd}"), w(2), w(3)])
        })
        .twist(Twist::Unreachable("w2"))
        .ends(Outcome::Incomplete),
        Scenario::new(
            "dead-worker-skipped",
            "left out on request: the run counts as whole",
            Some(grown.clone()),
            grown.clone(),
        )
        .twist(Twist::Unreachable("w2"))
        .skipping_unreachable()
        .ends(Outcome::Nothing),
        Scenario::new("only-one-host", "only one host is changed", Some(small()), {
            cluster(&["kubelet: {maxPods: 50}"], &[cp(1), w_with(1, ", labels: {disk: ssd}"), w(2)])
        })
        .only(&["w1"]),
        Scenario::new("only-without-cluster", "a worker alone has nothing to join", None, small())
            .only(&["w1"])
            .ends(Outcome::Refused),
        Scenario::new("stranger", "a node that nobody wrote down is left alone", Some(small()), small())
            .twist(Twist::Stranger("old-worker"))
            .ends(Outcome::Nothing),
        Scenario::new("replaced-worker", "a worker's machine was made anew", Some(small()), small())
            .twist(Twist::Gone("w1")),
    ]
}

fn control_planes() -> Vec<Scenario> {
    let one = || cluster(&[ETCD], &[cp(1), w(1)]);
    let five = |more: [&str; 5]| {
        let mut hosts: Vec<String> = (1_u8..).zip(more).map(|(number, more)| cp_with(number, more)).collect();
        hosts.push(w(1));
        cluster(&[ETCD], &hosts)
    };
    let other = cluster(&[ETCD], &[cp_with(1, ", state: absent"), cp(2), cp(3), cp(4), w(1), w(2)]);
    vec![
        Scenario::new("fresh-three-control-planes", "etcd grows one member at a time", None, ha()),
        Scenario::new("grow-control-planes", "one control plane becomes three", Some(one()), ha()),
        Scenario::new("shrink-control-planes", "three control planes become one", Some(ha()), {
            cluster(&[ETCD], &[cp_with(1, ", state: absent"), cp_with(2, ", state: absent"), cp(3), w(1), w(2)])
        }),
        Scenario::new(
            "replace-first-control-plane",
            "the first control plane's machine was made anew",
            Some(ha()),
            ha(),
        )
        .twist(Twist::Gone("cp1")),
        Scenario::new("exchange-dead-control-plane", "another host takes a dead one's place", Some(ha()), other)
            .twist(Twist::Unreachable("cp1")),
        Scenario::new("dead-control-plane", "a dead one of three stops no worker", Some(ha()), {
            cluster(&[ETCD], &[cp(1), cp(2), cp(3), w(1), w(2), w(3)])
        })
        .twist(Twist::Unreachable("cp3"))
        .ends(Outcome::Incomplete),
        Scenario::new("interrupted-join", "a learner that never started is not added twice", Some(one()), {
            cluster(&[ETCD], &[cp(1), cp(2), cp(3), w(1)])
        })
        .twist(Twist::Learner("cp2")),
        Scenario::new(
            "dead-only-control-plane",
            "without its only control plane nothing is changed",
            Some(small()),
            small(),
        )
        .twist(Twist::Unreachable("cp1"))
        .ends(Outcome::Refused),
        Scenario::new("quorum-lost", "a cluster that cannot write is left alone", Some(ha()), ha())
            .twist(Twist::Unreachable("cp2"))
            .twist(Twist::Unreachable("cp3"))
            .ends(Outcome::Refused),
        Scenario::new("quorum-refusal", "a removal that would lose the quorum is not made", Some(five([""; 5])), {
            five(["", ", state: absent", ", state: absent", "", ""])
        })
        .twist(Twist::Unreachable("cp4"))
        .twist(Twist::Unreachable("cp5"))
        .ends(Outcome::Incomplete),
        Scenario::new("first-one-silent", "a first control plane is not made while another is silent", None, ha())
            .twist(Twist::Unreachable("cp2"))
            .ends(Outcome::Refused),
        Scenario::new(
            "authority-changed",
            "the only control plane was made anew: everybody gets new certificates",
            Some(small()),
            small(),
        )
        .twist(Twist::Gone("cp1")),
        Scenario::new("control-plane-of-another-cluster", "two authorities are never mixed", Some(ha()), ha())
            .twist(Twist::Facts("cp2", |facts| facts.authority = Some("2222".to_owned())))
            .ends(Outcome::Incomplete),
    ]
}

fn settings() -> Vec<Scenario> {
    const HUB: &str = "runtime: {registries: [{host: docker.io, mirrors: ['https://mirror.example.com']}]}";
    const MIRROR: &str = "runtime: {registries: [{host: docker.io, mirrors: ['https://other.example.com']}]}";
    const LOGIN: &str = "runtime: {registries: [{host: docker.io, mirrors: ['https://mirror.example.com']}, \
                         {host: 'registry.example.com:5000', username: puller, password: '${REGISTRY_PASSWORD}'}]}";
    const PROXY: &str = "proxy: {http: 'http://proxy.example.com:3128', noProxy: [registry.internal]}";
    const MOTD: &str = "files: [{path: /etc/motd, content: \"prod\\n\"}]";
    const SSHD: &str = "files: [{path: /etc/ssh/sshd_config.d/50-prod.conf, content: \"PasswordAuthentication no\\n\", \
                        hosts: [w1]}]";
    let two = |settings: &[&str]| cluster(settings, &[cp(1), w(1)]);
    let worker = |more: &str| cluster(&[], &[cp(1), w_with(1, more)]);
    vec![
        Scenario::new("drifted-file", "somebody edited a file: it is put back", Some(small()), small())
            .twist(Twist::Drifted("w1", "/etc/containerd/config.toml")),
        Scenario::new("changed-mirror", "a mirror takes effect at the next pull", Some(two(&[HUB])), two(&[MIRROR])),
        Scenario::new(
            "changed-credentials",
            "credentials restart containerd and nothing else",
            Some(two(&[HUB])),
            two(&[LOGIN]),
        ),
        Scenario::new("registry-removed", "what is wanted no more is taken away", Some(two(&[HUB])), two(&[])),
        Scenario::new("proxy-added", "a proxy restarts containerd and nothing else", Some(two(&[])), two(&[PROXY])),
        Scenario::new("proxy-removed", "the proxy's files go, containerd restarts", Some(two(&[PROXY])), two(&[])),
        Scenario::new(
            "changed-label",
            "a label restarts nothing",
            Some(worker(", labels: {disk: ssd}")),
            worker(", labels: {rack: '7'}"),
        ),
        Scenario::new(
            "changed-annotation",
            "an annotation restarts nothing",
            Some(worker("")),
            worker(", annotations: {example.com/rack: '7'}"),
        ),
        Scenario::new(
            "changed-taint",
            "a taint restarts nothing",
            Some(worker("")),
            worker(", taints: [{key: gpu, effect: NoSchedule}]"),
        ),
        Scenario::new(
            "kubelet-setting-for-one-host",
            "a setting of one host restarts that host's node program",
            Some(worker("")),
            worker(", kubelet: {maxPods: 50, systemReserved: {memory: 512Mi}}"),
        ),
        Scenario::new(
            "changed-domain",
            "a changed network restarts what reads it",
            Some(two(&[])),
            two(&["network: {domain: prod.internal}"]),
        ),
        Scenario::new("file-added", "a file of the operator's", Some(two(&[])), two(&[MOTD])),
        Scenario::new("file-removed", "a file that is wanted no more goes", Some(two(&[MOTD])), two(&[])),
        Scenario::new(
            "file-that-can-cut-ssh",
            "put back unless a new connection confirms it",
            Some(two(&[])),
            two(&[SSHD]),
        ),
    ]
}

fn versions() -> Vec<Scenario> {
    const TWO: &[&str] = &["v0.1.0", "v0.2.0"];
    const ALL: &[&str] = &["v0.1.0", "v0.2.0", "v0.3.0", "v0.4.1", "v0.5.0", "v0.6.0"];
    vec![
        Scenario::new(
            "version-step",
            "one minor: control plane, then nodes, drained",
            Some(small()),
            small().at("v0.2.0"),
        )
        .at_hand(TWO),
        Scenario::new(
            "version-step-three-control-planes",
            "control planes one by one, the leader last",
            Some(ha()),
            ha().at("v0.2.0"),
        )
        .at_hand(TWO),
        Scenario::new("version-patch", "a patch needs no drain", Some(small()), small().at("v0.1.1"))
            .at_hand(&["v0.1.1"]),
        Scenario::new(
            "version-ladder",
            "several minors: one plan, nodes go up as seldom as they may",
            Some(small()),
            small().at("v0.6.0"),
        )
        .at_hand(ALL),
        Scenario::new(
            "version-ladder-missing-rung",
            "a minor on the way is not at hand",
            Some(small()),
            small().at("v0.6.0"),
        )
        .at_hand(&["v0.2.0", "v0.3.0", "v0.5.0", "v0.6.0"])
        .ends(Outcome::Refused),
        Scenario::new(
            "version-without-programs",
            "the wanted version is not at hand",
            Some(small()),
            small().at("v0.2.0"),
        )
        .ends(Outcome::Refused),
        Scenario::new("downgrade", "a control plane does not go back", Some(small().at("v0.2.0")), small())
            .at_hand(TWO)
            .ends(Outcome::Refused),
        Scenario::new(
            "version-only-worker",
            "a node never becomes newer than its control plane",
            Some(small()),
            small().at("v0.2.0"),
        )
        .at_hand(TWO)
        .only(&["w1"])
        .ends(Outcome::Refused),
    ]
}

fn drains() -> Vec<Scenario> {
    const TWO: &[&str] = &["v0.1.0", "v0.2.0"];
    let pods = |name: &str, controller: &str| PodOnNode {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        controller: controller.to_owned(),
    };
    vec![
        Scenario::new(
            "already-cordoned",
            "a node that somebody cordoned stays cordoned",
            Some(small()),
            small().at("v0.2.0"),
        )
        .at_hand(TWO)
        .twist(Twist::Cordoned("w1")),
        Scenario::new("left-cordoned", "an interrupted run's cordon is taken back", Some(small()), small())
            .twist(Twist::CordonedByUs("w1")),
        Scenario::new(
            "unmanaged-pods",
            "pods that nothing makes anew are named before a drain",
            Some(small()),
            small().at("v0.2.0"),
        )
        .at_hand(TWO)
        .twist(Twist::Pods("w1", vec![pods("db-0", ""), pods("web-7d4-x", "ReplicaSet"), pods("log-a", "DaemonSet")])),
    ]
}

fn roles() -> Vec<Scenario> {
    let swapped = cluster(
        &[],
        &[
            "{name: cp1, role: worker, address: 10.0.0.11}".to_owned(),
            "{name: w1, role: control-plane, address: 10.0.0.21}".to_owned(),
        ],
    );
    vec![
        Scenario::new("role-swapped", "a worker cannot become the control plane in its place", Some(small()), swapped)
            .ends(Outcome::Refused),
        Scenario::new(
            "role-worker-to-control-plane",
            "a worker does not become a further control plane in place",
            Some(ha()),
            {
                let w1 = "{name: w1, role: control-plane, address: 10.0.0.21}".to_owned();
                let w2 = "{name: w2, role: control-plane, address: 10.0.0.22}".to_owned();
                cluster(&[ETCD], &[cp(1), cp(2), cp(3), w1, w2])
            },
        )
        .ends(Outcome::Incomplete),
    ]
}

fn roles_of_the_state() -> Vec<Scenario> {
    let demoted = || cluster(&[], &["{name: cp1, role: worker, address: 10.0.0.11}".to_owned(), cp(2), w(1)]);
    vec![
        Scenario::new(
            "role-control-plane-to-worker",
            "the host with the state stays the control plane",
            Some(small()),
            demoted(),
        )
        .ends(Outcome::Refused),
        Scenario::new(
            "role-control-plane-to-worker-silent",
            "while the host with the state is silent, no other begins an empty cluster",
            Some(small()),
            demoted(),
        )
        .twist(Twist::Unreachable("cp1"))
        .ends(Outcome::Refused),
        Scenario::new(
            "role-control-plane-to-worker-unmentioned",
            "the host with the state counts even when this run does not mean it",
            Some(small()),
            demoted(),
        )
        .only(&["cp2"])
        .ends(Outcome::Refused),
        Scenario::new(
            "role-control-plane-to-worker-without-manifest",
            "a host that cannot be compared shows by its units that it is the control plane",
            Some(small()),
            demoted(),
        )
        .twist(Twist::Facts("cp1", |facts| facts.os_id = "alpine".to_owned()))
        .ends(Outcome::Refused),
        Scenario::new(
            "replaced-control-plane-silent",
            "whoever belongs to a cluster keeps it while its control plane is silent, even on request",
            Some(small()),
            cluster(&[], &[cp_with(1, ", state: absent"), cp(2), w(1)]),
        )
        .twist(Twist::Unreachable("cp1"))
        .skipping_unreachable()
        .ends(Outcome::Refused),
        Scenario::new(
            "all-control-planes-exchanged",
            "a new control plane beside those that leave would be a second cluster",
            Some(cluster(&[ETCD], &[cp(1)])),
            cluster(&[ETCD], &[cp_with(1, ", state: absent"), cp(2)]),
        )
        .ends(Outcome::Refused),
    ]
}

fn preflight() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "duplicate-machine-ids",
            "copies of one disk are told apart first",
            None,
            cluster(&[], &[cp(1), w(1), w(2), w(3)]),
        )
        .twist(Twist::Facts("w1", |facts| facts.machine_id = "one".to_owned()))
        .twist(Twist::Facts("w2", |facts| facts.machine_id = "one".to_owned()))
        .ends(Outcome::Incomplete),
        Scenario::new(
            "clash-of-networks",
            "a host's route lies in the pods' network",
            None,
            cluster(&[], &[cp(1), w(1), w(2)]),
        )
        .twist(Twist::Facts("w2", |facts| {
            facts.routes.push(Route { destination: "10.244.7.0/24".to_owned(), interface: "docker0".to_owned() });
        }))
        .ends(Outcome::Incomplete),
        Scenario::new("clock-skew", "a clock that is far off leaves its host out, one a little off is told", None, {
            cluster(&[], &[cp(1), w(1), w(2)])
        })
        .twist(Twist::ClockSkew("w1", 5))
        .twist(Twist::ClockSkew("w2", -90))
        .ends(Outcome::Incomplete),
        Scenario::new("little-disk", "a fresh host without room is left out", None, cluster(&[], &[cp(1), w(1), w(2)]))
            .twist(Twist::Facts("w1", |facts| facts.disk_free_bytes = 4_200_000_000))
            .twist(Twist::Facts("w2", |facts| {
                (facts.disk_free_bytes, facts.memory_bytes) = (1_500_000_000, 800_000_000)
            }))
            .ends(Outcome::Incomplete),
        Scenario::new(
            "other-kubernetes",
            "a host with another Kubernetes is left out",
            None,
            cluster(&[], &[cp(1), w(1), w(2)]),
        )
        .twist(Twist::Facts("w2", |facts| facts.other_kubernetes = vec!["k3s".to_owned()]))
        .ends(Outcome::Incomplete),
        Scenario::new("port-in-use", "a port of ours is taken on the only control plane", None, small())
            .twist(Twist::Facts("cp1", |facts| {
                facts.listening =
                    vec![ListeningPort { protocol: "tcp".to_owned(), port: 6_443, program: "haproxy".to_owned() }];
            }))
            .ends(Outcome::Refused),
        Scenario::new(
            "ports-unreachable",
            "what hosts found when they tried to reach each other",
            None,
            cluster(&[], &[cp(1), w(1), w(2)]),
        )
        .twist(Twist::Preflight(|preflight| {
            let failure = |from: &str, to: &str, port: u16, purpose: &str| Unreachable {
                from: from.to_owned(),
                to: to.to_owned(),
                port,
                purpose: purpose.to_owned(),
                reason: "timed out".to_owned(),
            };
            preflight.tried = 12;
            preflight.unreachable =
                vec![failure("w2", "cp1", 6_443, "API server"), failure("cp1", "w1", 10_250, "kubelet")];
            preflight.unresolved.insert("w1".to_owned(), vec!["deb.debian.org".to_owned()]);
        }))
        .ends(Outcome::Incomplete),
    ]
}

fn hosts() -> Vec<Scenario> {
    const HOOKS: &str = "hooks: [{name: silence-alerts, when: beforeApply, on: operator, command: ./silence.sh}, \
                         {name: stop-app, when: beforeUpgrade, command: systemctl stop app, roles: [worker]}, \
                         {name: start-app, when: afterUpgrade, command: systemctl start app, roles: [worker]}, \
                         {name: check, when: afterApply, command: /usr/local/bin/check}, \
                         {name: say-goodbye, when: beforeReset, command: /usr/local/bin/goodbye}]";
    const DOCUMENTS: &str = r#"[
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "web"}, "data": {"a": "b"}}
    ]"#;
    let hooked = || cluster(&[HOOKS], &[cp(1), w(1), w(2)]);
    vec![
        Scenario::new("hooks", "commands of the operator's around an upgrade", Some(hooked()), hooked().at("v0.2.0"))
            .at_hand(&["v0.2.0"]),
        Scenario::new("hooks-at-rest", "nothing to do runs no hooks", Some(hooked()), hooked()).ends(Outcome::Nothing),
        Scenario::new(
            "manifests",
            "documents of the inventory come last, in their order",
            Some(small()),
            small().with_documents(DOCUMENTS),
        ),
        Scenario::new("not-ready", "a node that is not Ready is waited for", Some(small()), small())
            .twist(Twist::NotReady("w1")),
    ]
}

fn rollouts() -> Vec<Scenario> {
    let nine = |settings: &[&str]| {
        let mut hosts = vec![cp(1)];
        hosts.extend((1..=9).map(w));
        cluster(settings, &hosts)
    };
    const THIRD: &str = "rollout: {maxUnavailable: '34%', maxFailures: 1}";
    vec![
        Scenario::new(
            "rollout-of-a-third",
            "running workers go in batches of a third",
            Some(nine(&[THIRD])),
            nine(&[THIRD, "kubelet: {maxPods: 50}"]),
        ),
        Scenario::new(
            "rollout-with-one-away",
            "who is away already counts",
            Some(nine(&[THIRD])),
            nine(&[THIRD, "kubelet: {maxPods: 50}"]),
        )
        .twist(Twist::NotReady("w4")),
        Scenario::new(
            "rollout-of-control-planes",
            "a changed setting goes over control planes one by one, before workers",
            Some(ha()),
            cluster(&[ETCD, "network: {domain: prod.internal}"], &[cp(1), cp(2), cp(3), w(1), w(2)]),
        ),
    ]
}
