//! A web site on both workers: reached by name from inside, by port from outside, updated without losing a request.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use naru_e2e::{Context, RequestLoop, request, wait_until};
use serde_json::Value;

use crate::Case;

const NODE_PORT: u16 = 30080;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "the web workload comes up on both workers", run: come_up },
        Case { name: "configuration, secret and token are in the pods", run: look_inside },
        Case { name: "a pod reaches it by its DNS name", run: from_a_pod },
        Case { name: "the host reaches the NodePort on every machine", run: from_outside },
        Case { name: "a rolling update loses no request", run: update },
        Case { name: "rollout history and undo bring the old image back", run: undo },
    ]
}

fn come_up(context: &Context) -> Result<()> {
    context.kubectl(&["apply", "-f", "tests/workloads/web.yaml", "-f", "tests/workloads/toolbox.yaml"])?;
    context.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    context.kubectl(&["wait", "--for=condition=Ready", "pod/toolbox", "--timeout=60s"])?;
    let nodes = nodes_of(&context.get(&["pods", "-l", "app=web"])?);
    ensure!(nodes.contains(&"w1".to_owned()) && nodes.contains(&"w2".to_owned()), "all pods are on {nodes:?}");
    Ok(())
}

pub(crate) fn nodes_of(pods: &Value) -> Vec<String> {
    let items = pods["items"].as_array().into_iter().flatten();
    let alive = items.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    alive.map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Runs a script in the container of a pod.
fn inside(context: &Context, pod: &Value, script: &str) -> Result<String> {
    let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
    context.kubectl(&["exec", name, "--", "/bin/sh", "-c", script])
}

fn a_web_pod(context: &Context) -> Result<Value> {
    let pods = context.get(&["pods", "-l", "app=web"])?;
    Ok(pods["items"][0].clone())
}

fn look_inside(context: &Context) -> Result<()> {
    let pod = a_web_pod(context)?;
    let greeting = inside(context, &pod, "busybox cat /etc/web/greeting")?;
    ensure!(greeting.trim() == "hello from naru", "the mounted ConfigMap says {greeting:?}");
    let variables = inside(context, &pod, "busybox env")?;
    ensure!(variables.contains("TOKEN=s3cret"), "the Secret is not in the environment:\n{variables}");
    ensure!(variables.contains("KUBERNETES_SERVICE_HOST=10.96.0.1"), "no service links:\n{variables}");
    let token = inside(context, &pod, "busybox cat /var/run/secrets/kubernetes.io/serviceaccount/token")?;
    ensure!(token.trim().split('.').count() == 3, "no token is mounted: {token:?}");
    Ok(())
}

fn from_a_pod(context: &Context) -> Result<()> {
    let toolbox = context.get(&["pod", "toolbox"])?;
    for url in ["http://web.default.svc.cluster.local/version", "http://web/version"] {
        let version = inside(context, &toolbox, &format!("busybox wget -q -T 5 -O - {url}"))?;
        ensure!(version.trim() == "1", "{url} answered {version:?}");
    }
    // Every endpoint, its own host's included, and the API itself.
    for _ in 0..10 {
        inside(context, &toolbox, "busybox wget -q -T 5 -O - http://web/version")?;
    }
    inside(context, &toolbox, "busybox nslookup kubernetes.default.svc.cluster.local")?;
    Ok(())
}

fn node_ports(context: &Context) -> Result<Vec<SocketAddr>> {
    let address = |machine: &naru_machines::Machine| Ok(format!("{}:{NODE_PORT}", machine.address).parse()?);
    context.hosts()?.iter().map(address).collect()
}

fn from_outside(context: &Context) -> Result<()> {
    for address in node_ports(context)? {
        let version = request(address, "/version").with_context(|| format!("NodePort at {address}"))?;
        ensure!(version == "1", "{address} answered {version:?}");
    }
    Ok(())
}

fn update(context: &Context) -> Result<()> {
    let requests = RequestLoop::start(node_ports(context)?, "/version");
    let updated = (|| {
        context.kubectl(&["set", "image", "deployment/web", "nginx=naru.dev/test/nginx:2"])?;
        context.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
        // The last old pods are still on their way out.
        wait_until("only new pods are left", Duration::from_secs(60), || {
            let pods = context.get(&["pods", "-l", "app=web"])?;
            Ok(pods["items"].as_array().is_some_and(|items| items.len() == 3))
        })
    })();
    let counted = requests.stop();
    updated?;
    counted.lost_none()?;
    ensure!(counted.answered > 100 && counted.bodies == ["1", "2"], "the loop saw {counted:?}");
    Ok(())
}

fn undo(context: &Context) -> Result<()> {
    let history = context.kubectl(&["rollout", "history", "deployment/web"])?;
    ensure!(history.lines().filter(|line| line.starts_with(char::is_numeric)).count() == 2, "history:\n{history}");
    context.kubectl(&["rollout", "undo", "deployment/web"])?;
    context.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    let image = context.get(&["deployment", "web"])?["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    ensure!(image == "naru.dev/test/nginx:1", "the image is {image}");
    Ok(())
}
