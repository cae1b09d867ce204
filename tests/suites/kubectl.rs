//! The verbs of kubectl that people use, with today's and Debian 12's program, without flags that hide a weakness.

use std::time::Duration;

use anyhow::{Result, ensure};
use naru_e2e::{Context, command};

use crate::Case;

const NAMESPACE: &str = "kubectl-case";
const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: box, labels: {app: box}}
spec:
  replicas: 1
  selector: {matchLabels: {app: box}}
  template:
    metadata: {labels: {app: box}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: box
          image: naru.dev/test/busybox:1
          imagePullPolicy: Never
          command: [/bin/sh, -c, \"echo started; trap 'exit 0' TERM; while :; do busybox sleep 1 & wait; done\"]
";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "kubectl of the day: reading", run: reading },
        Case { name: "kubectl of the day: writing", run: writing },
        Case { name: "kubectl 1.20: reading", run: |context| reading(&context.with_old_kubectl()?) },
        Case { name: "kubectl 1.20: writing", run: |context| writing(&context.with_old_kubectl()?) },
        Case { name: "mistakes are told as upstream tells them", run: mistakes },
    ]
}

fn expect(context: &Context, arguments: &[&str], parts: &[&str]) -> Result<()> {
    let said = context.kubectl(arguments)?;
    for part in parts {
        ensure!(said.contains(part), "kubectl {arguments:?} does not say {part:?}:\n{said}");
    }
    Ok(())
}

fn reading(context: &Context) -> Result<()> {
    expect(context, &["get", "nodes", "-o", "wide"], &["INTERNAL-IP", "Ready", "control-plane", "containerd://"])?;
    expect(context, &["get", "all", "-A"], &["service/kubernetes", "service/kube-dns"])?;
    expect(context, &["describe", "node", "w1"], &["Capacity:", "Conditions:", "PodCIDR:", "Allocated resources:"])?;
    expect(context, &["explain", "deployment.spec.strategy"], &["rollingUpdate"])?;
    expect(context, &["explain", "pod.spec"], &["containers", "nodeSelector"])?;
    expect(context, &["api-resources"], &["deployments", "rbac.authorization.k8s.io/v1", "endpointslices"])?;
    expect(context, &["auth", "can-i", "--list"], &["*.*"])?;
    expect(context, &["auth", "can-i", "create", "pods"], &["yes"])?;
    expect(context, &["version"], &["v1.36"])?;
    expect(context, &["cluster-info"], &["is running at"])?;
    Ok(())
}

fn writing(context: &Context) -> Result<()> {
    let in_namespace = |arguments: &[&str]| context.kubectl(&[&["-n", NAMESPACE], arguments].concat());
    context.kubectl(&["create", "namespace", NAMESPACE])?;
    context.kubectl_with(&["-n", NAMESPACE, "apply", "-f", "-"], DEPLOYMENT)?;
    let unchanged = context.kubectl_with(&["-n", NAMESPACE, "apply", "-f", "-"], DEPLOYMENT)?;
    ensure!(unchanged.contains("unchanged"), "a second apply said {unchanged:?}");
    in_namespace(&["rollout", "status", "deployment/box", "--timeout=60s"])?;
    in_namespace(&["wait", "--for=condition=Available", "deployment/box", "--timeout=60s"])?;

    let changed = DEPLOYMENT.replace("replicas: 1", "replicas: 2");
    let mut difference = context.kubectl_command(&["-n", NAMESPACE, "diff", "-f", "-"]);
    let said = command(&mut difference, Some(&changed), Duration::from_secs(60))?.exits(1)?;
    ensure!(said.contains("+  replicas: 2"), "kubectl diff said:\n{said}");

    in_namespace(&["label", "deployment/box", "tier=test"])?;
    in_namespace(&["annotate", "deployment/box", "example.com/note=kept"])?;
    let mut edit = context.kubectl_command(&["-n", NAMESPACE, "edit", "deployment/box"]);
    edit.env("EDITOR", "sed -i s/tier:.test/tier:\\ edited/");
    command(&mut edit, None, Duration::from_secs(60))?.ok()?;
    let labels = context.get(&["-n", NAMESPACE, "deployment", "box"])?["metadata"].clone();
    ensure!(labels["labels"]["tier"] == "edited", "after edit: {labels}");
    ensure!(labels["annotations"]["example.com/note"] == "kept", "after annotate: {labels}");

    in_namespace(&["scale", "deployment/box", "--replicas=2"])?;
    in_namespace(&["rollout", "status", "deployment/box", "--timeout=60s"])?;
    in_namespace(&["wait", "--for=condition=Ready", "pod", "-l", "app=box", "--timeout=60s"])?;
    expect(
        context,
        &["-n", NAMESPACE, "describe", "pod", "-l", "app=box"],
        &["Controlled By:", "Started", "QoS Class"],
    )?;
    expect(context, &["-n", NAMESPACE, "logs", "deployment/box", "--tail=5"], &["started"])?;
    follow(context)?;

    in_namespace(&["delete", "deployment/box", "--cascade=foreground", "--timeout=60s"])?;
    let left = context.get(&["-n", NAMESPACE, "replicasets,pods", "-l", "app=box"])?;
    ensure!(left["items"].as_array().is_some_and(Vec::is_empty), "left after the foreground deletion: {left}");
    context.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=60s"])?;
    Ok(())
}

/// `logs -f` shows what comes and ends with the container.
fn follow(context: &Context) -> Result<()> {
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  restartPolicy: Never
  containers:
    - name: talker
      image: naru.dev/test/busybox:1
      imagePullPolicy: Never
      command: [/bin/sh, -c, 'for n in 1 2 3; do echo line $n; busybox sleep 1; done']
";
    context.kubectl_with(&["-n", NAMESPACE, "apply", "-f", "-"], pod)?;
    let ready = ["-n", NAMESPACE, "wait", "--for=condition=ContainersReady", "pod/talker", "--timeout=30s"];
    context.kubectl(&ready)?;
    let said = context.kubectl(&["-n", NAMESPACE, "logs", "-f", "talker"])?;
    ensure!(said == "line 1\nline 2\nline 3\n", "logs -f said {said:?}");
    Ok(())
}

fn mistakes(context: &Context) -> Result<()> {
    let wrong = |document: &str| {
        let mut apply = context.kubectl_command(&["apply", "-f", "-"]);
        command(&mut apply, Some(document), Duration::from_secs(30))?.exits(1)
    };
    let typo = DEPLOYMENT.replace("replicas: 1", "replcias: 1");
    let said = wrong(&typo)?;
    ensure!(said.contains("unknown field \"spec.replcias\""), "a misspelt field: {said}");
    let said = wrong(&DEPLOYMENT.replace("matchLabels: {app: box}", "matchLabels: {app: other}"))?;
    ensure!(said.contains("`selector` does not match template `labels`"), "a wrong selector: {said}");
    let mut missing = context.kubectl_command(&["get", "pod", "nobody"]);
    let said = command(&mut missing, None, Duration::from_secs(30))?.exits(1)?;
    ensure!(said.contains("Error from server (NotFound): pods \"nobody\" not found"), "a missing pod: {said}");
    Ok(())
}
