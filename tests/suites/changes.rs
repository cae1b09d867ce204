//! Changes of a cluster that works, and what they disturb: a label nothing, a registry mirror at most containerd, an
//! apply without changes no request. What has drifted is shown and mended; what is broken is explained.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use naru_e2e::{Context, RequestLoop, Wish, command, difference, pinned, wait_until};
use naru_machines::{ClusterSpec, ImageSpec, Provider, Release};
use serde_json::Value;

use crate::{Case, first_cluster, revert};

const HOSTS: [&str; 3] = ["cp1", "w1", "w2"];
const NODE_PORT: u16 = 30080;
/// Services that a change must not disturb by accident.
const UNITS: [&str; 4] = ["naru-node", "naru-control-plane", "containerd", "ssh"];
const DRIFTING: &str = "/etc/naru/node.yaml";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "a cluster with a web workload", run: start },
        Case { name: "a label restarts nothing, and the plan says so", run: label },
        Case { name: "a registry mirror restarts containerd at most, as planned", run: mirror },
        Case { name: "two applies in a row lose no request", run: twice },
        Case { name: "status shows hosts and nodes, journal the last run", run: status_and_journal },
        Case { name: "a change that cuts SSH off is put back by the host", run: revert::put_back },
        Case { name: "or at its next start, should that be sooner", run: revert::put_back_at_start },
        Case { name: "confirmed it stays, and goes when it is not wanted", run: revert::confirmed },
        Case { name: "an edited file is drift: shown, and mended by apply", run: drift },
        Case { name: "explain: a node that is well", run: explain_well },
        Case { name: "explain: containerd stopped and masked", run: explain_runtime },
        Case { name: "explain: a damaged kubelet certificate", run: explain_certificate },
        Case { name: "explain: an expired kubelet certificate", run: explain_expired },
        Case { name: "explain: the node's service fails", run: explain_service },
        Case { name: "explain: the pod network's configuration is gone", run: explain_network },
        Case { name: "explain: no SSH, and no power", run: explain_unreachable },
        Case { name: "node remove drains and cleans, node add brings it back", run: remove_and_add },
        Case { name: "node replace: the new machine is Ready before the old one leaves", run: replace_living },
        Case { name: "node replace: a dead machine's name goes to another one", run: replace_dead },
    ]
}

fn start(context: &Context) -> Result<()> {
    let spec = ClusterSpec::simple(&context.name, 1, 2, &ImageSpec::prepared(Release::Trixie));
    context.machines.ensure(&spec, &|_| {})?;
    let ssh = format!("{}, connectTimeoutSeconds: 3", context.as_root());
    context.write_inventory(&Wish { ssh, host: Some(&pinned), ..Wish::default() })?;
    first_cluster::apply(context)?;
    first_cluster::load_images(context)?;
    context.kubectl(&["apply", "-f", "tests/workloads/web.yaml"])?;
    context.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    Ok(())
}

fn starts(context: &Context) -> Result<BTreeMap<&'static str, BTreeSet<String>>> {
    HOSTS.iter().map(|host| Ok((*host, context.starts(host, &UNITS)?))).collect()
}

/// What of a plan stops, starts or restarts, as `host: what`.
fn disruptions(plan: &Value) -> Vec<String> {
    let steps = plan["steps"].as_array().into_iter().flatten();
    steps
        .flat_map(|step| {
            let host = step["host"].as_str().unwrap_or_default().to_owned();
            let all = step["disruptions"].as_array().cloned().unwrap_or_default();
            all.into_iter().map(move |one| format!("{host}: {one}"))
        })
        .collect()
}

fn label(context: &Context) -> Result<()> {
    let before = starts(context)?;
    context.edit_inventory("name: w1,", "name: w1, labels: {disk: ssd},")?;
    let said = context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(3)?;
    ensure!(said.contains("disk") && said.contains("ssd"), "the plan does not show the label:\n{said}");
    let plan = context.saved_plan()?;
    ensure!(
        disruptions(&plan).is_empty() && plan["unavailable"] == serde_json::json!([]),
        "the plan disturbs: {plan:#}"
    );
    context.apply()?;
    let labels = context.get(&["node", "w1"])?["metadata"]["labels"].clone();
    ensure!(labels["disk"] == "ssd", "the node's labels: {labels}");
    for (host, after) in starts(context)? {
        let changed = difference(&before[host], &after);
        ensure!(changed.is_empty(), "one label restarted on {host}:\n{}", changed.join("\n"));
    }
    context.nothing_to_do()
}

fn mirror(context: &Context) -> Result<()> {
    let before = starts(context)?;
    context.edit_inventory(
        "  hosts:\n",
        "  runtime: {registries: [{host: docker.io, mirrors: [\"http://192.0.2.99:5000\"]}]}\n  hosts:\n",
    )?;
    let plan = context.saved_plan()?;
    let planned = disruptions(&plan);
    let foreign: Vec<&String> = planned.iter().filter(|one| !one.contains("containerd.service")).collect();
    ensure!(foreign.is_empty(), "a mirror disturbs more than containerd: {foreign:?}");
    let requests = RequestLoop::start(node_ports(context)?, "/version");
    let applied = context.apply();
    let counted = requests.stop();
    applied?;
    counted.lost_none()?;
    for (host, after) in starts(context)? {
        let changed = difference(&before[host], &after);
        let others: Vec<&String> = changed.iter().filter(|line| !line[2..].starts_with("containerd ")).collect();
        ensure!(others.is_empty(), "a mirror restarted on {host}: {others:?}");
        let is_planned = planned.iter().any(|one| one.starts_with(&format!("{host}:")));
        ensure!(is_planned != changed.is_empty(), "on {host} was planned {planned:?}, and restarted {changed:?}");
    }
    let found = context.on("w1", "grep -rl 192.0.2.99 /etc/containerd")?;
    ensure!(!found.is_empty(), "the mirror is nowhere in /etc/containerd");
    context.nothing_to_do()
}

fn node_ports(context: &Context) -> Result<Vec<SocketAddr>> {
    context.hosts()?.iter().map(|machine| Ok(format!("{}:{NODE_PORT}", machine.address).parse()?)).collect()
}

fn twice(context: &Context) -> Result<()> {
    let before = starts(context)?;
    context.edit_inventory("disk: ssd", "disk: nvme")?;
    let requests = RequestLoop::start(node_ports(context)?, "/version");
    let applied = (|| {
        context.apply()?;
        let said = context.apply()?;
        ensure!(said.to_lowercase().contains("nothing to do"), "a second apply said:\n{said}");
        Ok(())
    })();
    let counted = requests.stop();
    applied?;
    counted.lost_none()?;
    ensure!(counted.answered > 50, "only {} requests were made", counted.answered);
    for (host, after) in starts(context)? {
        let changed = difference(&before[host], &after);
        ensure!(changed.is_empty(), "restarted on {host}:\n{}", changed.join("\n"));
    }
    Ok(())
}

fn status_and_journal(context: &Context) -> Result<()> {
    let said = context.naru(&["status", "cluster.yaml"])?.ok()?;
    for host in context.hosts()? {
        ensure!(said.contains(&host.host) && said.contains(&host.address), "status has no {}:\n{said}", host.host);
    }
    ensure!(said.contains("Ready"), "status:\n{said}");
    let data = context.naru(&["status", "cluster.yaml", "-o", "json"])?.ok()?;
    let data: Value = serde_json::from_str(&data).with_context(|| format!("status said no JSON:\n{data}"))?;
    ensure!(data.to_string().contains("w2"), "status as data: {data:#}");
    let said = context.naru(&["journal", "--last"])?.ok()?;
    ensure!(said.contains("w1") && said.to_lowercase().contains("label"), "the journal of the last run:\n{said}");
    Ok(())
}

fn drift(context: &Context) -> Result<()> {
    let before = context.on("w2", &format!("cat {DRIFTING}"))?;
    let said = context.naru(&["diff"])?.ok()?;
    ensure!(!said.contains(DRIFTING), "drift without a cause:\n{said}");
    context.on("w2", &format!("echo '# somebody was here' >>{DRIFTING}"))?;
    let output = context.naru(&["diff"])?;
    let said = format!("{}{}", output.stdout, output.stderr);
    for part in ["w2", DRIFTING, "somebody was here"] {
        ensure!(said.contains(part), "diff does not show {part:?}: exit {:?}\n{said}", output.code);
    }
    context.apply()?;
    let after = context.on("w2", &format!("cat {DRIFTING}"))?;
    ensure!(before == after, "{DRIFTING} was not mended:\n{after}");
    context.nothing_to_do()
}

/// `naru explain` of w2 breaks at this link, and what it says of it holds all these parts.
fn explained(context: &Context, broken: &[&str], parts: &[&str]) -> Result<()> {
    let data = context.naru(&["explain", "w2", "-o", "json"])?;
    let shown = format!("exit {:?}\n{}{}", data.code, data.stdout, data.stderr);
    let chain: Value = serde_json::from_str(&data.stdout).with_context(|| format!("explain said no JSON: {shown}"))?;
    let found = chain["broken"].as_str().unwrap_or("nothing");
    ensure!(broken.contains(&found), "the first broken link is {found}, not one of {broken:?}: {shown}");
    let said = context.naru(&["explain", "w2"])?.exits(2)?;
    for part in parts {
        ensure!(said.to_lowercase().contains(&part.to_lowercase()), "does not say {part:?}:\n{said}");
    }
    Ok(())
}

fn explain_well(context: &Context) -> Result<()> {
    for host in HOSTS {
        let said = context.naru(&["explain", host])?.exits(0)?;
        ensure!(said.contains("every link holds"), "of a node that is well:\n{said}");
    }
    Ok(())
}

/// Whatever was broken: after this apply the node is well.
fn mended(context: &Context) -> Result<()> {
    context.apply()?;
    wait_until("all nodes are Ready", Duration::from_secs(60), || Ok(context.ready_nodes()? == 3))?;
    explain_well(context)
}

fn explain_runtime(context: &Context) -> Result<()> {
    context.on("w2", "systemctl stop containerd && systemctl mask containerd")?;
    explained(context, &["runtime"], &["containerd", "masked"])?;
    mended(context)
}

fn explain_certificate(context: &Context) -> Result<()> {
    context.on("w2", "echo garbled >/etc/naru/pki/kubelet.crt && systemctl restart --no-block naru-node")?;
    explained(context, &["certificates"], &["/etc/naru/pki/kubelet.crt"])?;
    mended(context)
}

/// As if nobody had looked after the cluster for years.
fn explain_expired(context: &Context) -> Result<()> {
    let w2 = context.host("w2")?;
    let folder = context.folder.join("expired");
    fs_err::create_dir_all(&folder)?;
    for (host, file) in [("cp1", "ca.crt"), ("cp1", "ca.key"), ("w2", "kubelet.key")] {
        fs_err::write(folder.join(file), context.on(host, &format!("cat /etc/naru/pki/{file}"))?)?;
    }
    let settings = format!(
        "[ca]\ndefault_ca=it\n[it]\ndatabase=index\nnew_certs_dir=.\nserial=serial\nrand_serial=yes\npolicy=names\n\
         default_md=sha256\nx509_extensions=more\n[names]\nO=optional\nCN=supplied\n[more]\n\
         extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:w2,IP:{}\n",
        w2.address
    );
    fs_err::write(folder.join("settings"), settings)?;
    fs_err::write(folder.join("index"), "")?;
    let script = "openssl req -new -key kubelet.key -subj /O=system:nodes/CN=system:node:w2 -out request && \
                  openssl ca -batch -notext -config settings -cert ca.crt -keyfile ca.key -in request -out expired.crt \
                  -startdate 20200101000000Z -enddate 20200102000000Z";
    let mut shell = std::process::Command::new("sh");
    command(shell.args(["-c", script]).current_dir(&folder), None, Duration::from_secs(20))?.ok()?;
    let expired = fs_err::read_to_string(folder.join("expired.crt"))?;
    fs_err::remove_dir_all(&folder)?;
    let put = format!("printf '%s' '{expired}' >/etc/naru/pki/kubelet.crt && systemctl restart --no-block naru-node");
    context.on("w2", &put)?;
    explained(context, &["certificates"], &["/etc/naru/pki/kubelet.crt", "2020-01-02", "naru apply"])?;
    mended(context)
}

fn explain_service(context: &Context) -> Result<()> {
    context.on("w2", &format!("echo 'not: [yaml' >{DRIFTING} && systemctl restart --no-block naru-node"))?;
    wait_until("the service fails", Duration::from_secs(30), || {
        Ok(!context.on("w2", "systemctl is-active naru-node || true")?.starts_with("active"))
    })?;
    // The line of its own log shows it.
    explained(context, &["kubelet"], &["naru-node", DRIFTING])?;
    mended(context)
}

fn explain_network(context: &Context) -> Result<()> {
    context.on("w2", "rm /etc/cni/net.d/*.conflist")?;
    explained(context, &["cni"], &["/etc/cni/net.d"])?;
    context.on("w2", "systemctl restart naru-node")?;
    // The node writes it as soon as it knows its block, which may be after systemd took it for started.
    wait_until("the configuration is written again", Duration::from_secs(20), || {
        Ok(context.on("w2", "ls /etc/cni/net.d/*.conflist 2>/dev/null || true")?.contains("conflist"))
    })?;
    mended(context)
}

fn explain_unreachable(context: &Context) -> Result<()> {
    let address = context.host("w2")?.address;
    context.wire("w2", &["tcp dport 22 reject with tcp reset"])?;
    let said = explained(context, &["ssh"], &[&address, "sshd"]);
    context.mend_wire("w2")?;
    said?;
    context.machines.power_cut(&context.name, "w2")?;
    let said = explained(context, &["machine"], &[&address]);
    context.machines.power_on(&context.name, "w2")?;
    said?;
    wait_until("all nodes are Ready", Duration::from_secs(90), || Ok(context.ready_nodes()? == 3))?;
    Ok(())
}

fn remove_and_add(context: &Context) -> Result<()> {
    let w2 = context.host("w2")?;
    context.naru(&["node", "remove", "w2", "--yes"])?.ok()?;
    let nodes = context.kubectl(&["get", "nodes", "-o", "name"])?;
    ensure!(!nodes.contains("w2"), "nodes:\n{nodes}");
    let left =
        context.on("w2", "ls -d /etc/naru /opt/naru /etc/systemd/system/naru-node.service 2>/dev/null || true")?;
    ensure!(left.is_empty(), "left on the removed host:\n{left}");
    wait_until("its pods run on w1", Duration::from_secs(60), || {
        Ok(context.get(&["deployment", "web"])?["status"]["readyReplicas"] == 3)
    })?;
    let text = fs_err::read_to_string(&context.inventory)?;
    ensure!(text.contains("# written by a test") && text.contains("# about w1"), "comments are lost:\n{text}");
    let (target, key) = (format!("root@{}", w2.address), w2.host_key.clone().unwrap_or_default());
    context.naru(&["node", "add", &target, "--name", "w2", "--role", "worker", "--host-key", &key, "--yes"])?.ok()?;
    wait_until("three nodes are Ready", Duration::from_secs(20), || Ok(context.ready_nodes()? == 3))?;
    let text = fs_err::read_to_string(&context.inventory)?;
    ensure!(text.contains("# about w1") && text.contains(&w2.address), "the inventory after add:\n{text}");
    context.nothing_to_do()
}

/// Its root login, and the key that it shows.
fn target(context: &Context, machine: &str) -> Result<(String, String)> {
    let machine = context.host(machine)?;
    Ok((format!("root@{}", machine.address), machine.host_key.unwrap_or_default()))
}

fn replace_living(context: &Context) -> Result<()> {
    let spec = ClusterSpec::simple(&context.name, 1, 3, &ImageSpec::prepared(Release::Trixie));
    context.machines.ensure(&spec, &|_| {})?;
    let (w3, key) = target(context, "w3")?;
    let replace = ["node", "replace", "w1", &w3, "--host-key", &key, "--yes", "-o", "json"];
    let said = context.naru(&replace)?.ok()?;
    let place = |step: &str, event: &str| {
        let is_it = |line: &str| line.contains(&format!("\"{step}\"")) && line.contains(&format!("\"{event}\""));
        said.lines().position(is_it).with_context(|| format!("no {event} of {step}:\n{said}"))
    };
    ensure!(place("w3/ready", "stepSucceeded")? < place("w1/cordon", "stepStarted")?, "w1 left too soon:\n{said}");
    let nodes = context.kubectl(&["get", "nodes", "-o", "name"])?;
    ensure!(nodes.contains("w3") && !nodes.contains("w1"), "nodes:\n{nodes}");
    let labels = context.get(&["node", "w3"])?["metadata"]["labels"].clone();
    ensure!(labels["disk"] == "nvme", "the labels of w1 are not those of w3: {labels}");
    let left = context.on("w1", "ls -d /etc/naru /opt/naru 2>/dev/null || true")?;
    ensure!(left.is_empty(), "left on the replaced host:\n{left}");
    let text = fs_err::read_to_string(&context.inventory)?;
    let line = text.lines().find(|line| line.contains("name: w3")).unwrap_or_default();
    ensure!(line.contains("disk: nvme") && line.ends_with("# about w1"), "the inventory:\n{text}");
    ensure!(!text.contains("name: w1"), "the old machine is still in the inventory:\n{text}");
    first_cluster::load_images_on(context, "w3")?;
    wait_until("three nodes are Ready", Duration::from_secs(20), || Ok(context.ready_nodes()? == 3))?;
    context.nothing_to_do()
}

fn replace_dead(context: &Context) -> Result<()> {
    let uid = |context: &Context| Ok::<_, anyhow::Error>(context.get(&["node", "w2"])?["metadata"]["uid"].clone());
    let before = uid(context)?;
    context.machines.power_cut(&context.name, "w2")?;
    let (w1, key) = target(context, "w1")?;
    let replace = ["node", "replace", "w2", &w1, "--host-key", &key, "--yes"];
    // As long as nobody has missed it, it may as well live.
    let said = context.naru(&[&replace[..], &["--name", "w2"]].concat())?.exits(1)?;
    ensure!(said.contains("its node is Ready"), "a name was nearly given away:\n{said}");
    wait_until("w2 is NotReady", Duration::from_secs(90), || Ok(context.ready_nodes()? == 2))?;
    context.naru(&replace)?.ok()?;
    wait_until("three nodes are Ready", Duration::from_secs(20), || Ok(context.ready_nodes()? == 3))?;
    ensure!(uid(context)? != before, "the dead machine's node was taken over");
    let address = context.host("w1")?.address;
    let addresses = context.get(&["node", "w2"])?["status"]["addresses"].to_string();
    ensure!(addresses.contains(&address), "addresses of w2: {addresses}");
    let text = fs_err::read_to_string(&context.inventory)?;
    let line = text.lines().find(|line| line.contains("name: w2")).unwrap_or_default();
    ensure!(line.contains(&address), "the inventory:\n{text}");
    wait_until("the web workload is whole again", Duration::from_secs(60), || {
        Ok(context.get(&["deployment", "web"])?["status"]["readyReplicas"] == 3)
    })?;
    context.nothing_to_do()
}
