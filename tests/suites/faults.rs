//! What happens to a cluster when something dies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use naru_e2e::{Context, say, wait_until};
use serde_json::Value;

use crate::Case;
use crate::workload::nodes_of;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "kill -9 of the control plane loses no acknowledged object", run: kill_control_plane },
        Case { name: "a killed container comes back", run: kill_container },
        Case { name: "a powered-off worker's pods run elsewhere; power heals it", run: lose_worker },
        Case { name: "a reboot of all machines brings the cluster back", run: reboot_all },
    ]
}

fn kill_control_plane(context: &Context) -> Result<()> {
    const OBJECTS: usize = 1000;
    const WRITERS: usize = 8;
    context.kubectl(&["create", "namespace", "durable"])?;
    let killed = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| -> Result<Vec<String>> {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let killed = &killed;
                scope.spawn(move || create_many(context, writer, OBJECTS / WRITERS, killed))
            })
            .collect();
        wait_until("some objects are there", Duration::from_secs(30), || Ok(count(context)? > OBJECTS / 4))?;
        context.on("cp1", "systemctl kill --signal=KILL --kill-whom=main naru-control-plane")?;
        killed.store(true, Ordering::Relaxed);
        let start = Instant::now();
        wait_until("kubectl works again", Duration::from_secs(20), || context.get(&["namespaces"]).map(|_| true))?;
        let recovered = start.elapsed();
        say(&format!("          kubectl worked again {:.2} s after the kill (goal 3 s)", recovered.as_secs_f64()));
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.join().ok().context("a writer panicked")??);
        }
        Ok(all)
    })?;
    let present = names(context)?;
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !present.contains(name)).collect();
    ensure!(lost.is_empty(), "{} acknowledged objects are lost, such as {}", lost.len(), lost[0]);
    ensure!(acknowledged.len() > OBJECTS / 4, "only {} objects were acknowledged", acknowledged.len());
    say(&format!("          {} acknowledged, {} present", acknowledged.len(), present.len()));
    context.kubectl(&["delete", "namespace", "durable", "--timeout=60s"])?;
    Ok(())
}

/// Creates objects in small lists; kubectl's output tells which ones the server acknowledged.
fn create_many(context: &Context, writer: usize, objects: usize, killed: &AtomicBool) -> Result<Vec<String>> {
    const LIST: usize = 25;
    let mut acknowledged = Vec::new();
    for list in 0..objects / LIST {
        let document: String = (0..LIST)
            .map(|index| {
                let name = format!("object-{writer}-{list}-{index}");
                format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: durable}}\n")
            })
            .collect();
        let mut create = context.kubectl_command(&["create", "-f", "-", "-o", "name"]);
        let output = naru_e2e::command(&mut create, Some(&document), Duration::from_secs(60))?;
        ensure!(
            output.code == Some(0)
                || killed.load(Ordering::Relaxed)
                || output.stderr.contains("refused")
                || output.stderr.contains("EOF"),
            "creates failed before the kill: {}",
            output.stderr
        );
        acknowledged
            .extend(output.stdout.lines().filter_map(|line| line.strip_prefix("configmap/")).map(str::to_owned));
    }
    Ok(acknowledged)
}

fn names(context: &Context) -> Result<Vec<String>> {
    let said = context.kubectl(&["-n", "durable", "get", "configmaps", "-o", "name"])?;
    Ok(said.lines().filter_map(|line| line.strip_prefix("configmap/")).map(str::to_owned).collect())
}

fn count(context: &Context) -> Result<usize> {
    Ok(names(context)?.len())
}

fn kill_container(context: &Context) -> Result<()> {
    let pods = context.get(&["pods", "-l", "app=web"])?;
    let pod = pods["items"][0].clone();
    let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
    let node = pod["spec"]["nodeName"].as_str().context("a pod without a node")?;
    let container = pod["status"]["containerStatuses"][0]["containerID"].as_str().context("no container")?;
    let id = container.trim_start_matches("containerd://");
    context.on(node, &format!("ctr -n k8s.io tasks kill --signal SIGKILL {id}"))?;
    wait_until("the container runs again", Duration::from_secs(30), || {
        let status = context.get(&["pod", name])?["status"]["containerStatuses"][0].clone();
        Ok(status["restartCount"] == 1 && status["ready"] == true)
    })?;
    Ok(())
}

fn lose_worker(context: &Context) -> Result<()> {
    context.machines.power_cut(&context.name, "w2")?;
    let start = Instant::now();
    wait_until("w2 is NotReady", Duration::from_secs(90), || Ok(context.ready_nodes()? == 2))?;
    say(&format!("          NotReady after {:.0} s", start.elapsed().as_secs_f64()));
    wait_until("its pods run on w1", Duration::from_secs(60), || {
        let pods = context.get(&["pods", "-l", "app=web"])?;
        let ready = |pod: &&Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        let on_w1 = pods["items"].as_array().into_iter().flatten().filter(|pod| pod["spec"]["nodeName"] == "w1");
        Ok(on_w1.filter(ready).count() == 3)
    })?;
    context.machines.power_on(&context.name, "w2")?;
    wait_until("w2 is Ready again", Duration::from_secs(90), || Ok(context.ready_nodes()? == 3))?;
    wait_until("the lost pods are gone", Duration::from_secs(60), || {
        Ok(nodes_of(&context.get(&["pods", "-l", "app=web"])?).len() == 3)
    })?;
    Ok(())
}

fn reboot_all(context: &Context) -> Result<()> {
    for machine in context.hosts()? {
        context.machines.power_cut(&context.name, &machine.host)?;
    }
    for machine in context.hosts()? {
        context.machines.power_on(&context.name, &machine.host)?;
    }
    wait_until("three nodes are Ready", Duration::from_secs(120), || Ok(context.ready_nodes()? == 3))?;
    wait_until("the web workload serves", Duration::from_secs(120), || {
        let deployment = context.get(&["deployment", "web"])?;
        let host = context.host("w1")?;
        let address = format!("{}:30080", host.address).parse()?;
        Ok(deployment["status"]["readyReplicas"] == 3 && naru_e2e::request(address, "/version").is_ok())
    })?;
    Ok(())
}
