//! What the peers' smoke tests promise their users: a cluster of two Debian releases with documents, files and hooks in
//! one inventory, dry runs that change nothing, a reset that gives the machines back, OpenSSH's configuration, a
//! control-plane machine that was swapped for another one at the same address, and the end of one that is dead.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use naru_e2e::{Context, Wish, command, difference, pinned, wait_until};
use naru_machines::{ClusterSpec, Group, ImageSpec, Provider, Release, Role};

use crate::{Case, first_cluster};

const HOSTS: [&str; 2] = ["cp1", "old1"];
const SHORT: Duration = Duration::from_secs(20);
/// What the agent may leave after a dry run: its own program, for the next run.
const AGENT_FOLDER: &str = "/var/lib/naru";

/// Left by a reset: what containerd and the CNI plugins made for themselves once they ran, and the mode of the folder
/// of CNI configurations.
const LEFT: [&str; 3] = ["path /opt/containerd", "path /var/lib/cni", "path /etc/cni/net.d d "];

const DOCUMENTS: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: multidoc, namespace: default}
data: {greeting: first}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: hello
          image: naru.dev/test/busybox:1
          imagePullPolicy: Never
          command: [/bin/sh, -c, \"trap 'exit 0' TERM; while :; do busybox sleep 1 & wait; done\"]
";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "a Debian 13 and a Debian 12 machine start", run: start },
        Case { name: "a dry run of the whole changes nothing", run: dry_run },
        Case { name: "apply: documents, files and hooks of one inventory", run: apply },
        Case { name: "hooks ran in order, on hosts and here; files have their modes", run: hooks_and_files },
        Case { name: "a kubeconfig with everything in it", run: kubeconfig },
        Case { name: "nothing to do runs no hooks of apply", run: no_op },
        Case { name: "a dry run of a change shows it and changes nothing", run: dry_change },
        Case { name: "a changed document is applied", run: changed_document },
        Case { name: "a hook that fails stops its host", run: failing_hook },
        Case { name: "reset gives the machines back", run: reset },
        Case { name: "OpenSSH's configuration is enough for the next apply", run: openssh },
        Case { name: "a swapped control plane is refused by its host key", run: swapped },
        Case { name: "once its key is known, the cluster is made anew", run: made_anew },
        Case { name: "reset of a cluster whose control plane is dead, on request", run: reset_without_control_plane },
    ]
}

fn spec(context: &Context) -> ClusterSpec {
    let group = |name: &str, role, release| Group {
        name: name.to_owned(),
        role,
        count: 1,
        image: ImageSpec::prepared(release),
    };
    let groups = vec![group("cp", Role::ControlPlane, Release::Trixie), group("old", Role::Worker, Release::Bookworm)];
    ClusterSpec { name: context.name.clone(), groups }
}

fn before_file(context: &Context, host: &str) -> std::path::PathBuf {
    context.folder.join(format!("before-{host}"))
}

fn start(context: &Context) -> Result<()> {
    context.machines.ensure(&spec(context), &|_| {})?;
    for host in HOSTS {
        context.on(host, "systemctl is-system-running --wait >/dev/null || systemctl --failed --no-legend")?;
        let lines: Vec<String> = context.whole_machine(host)?.into_iter().collect();
        fs_err::write(before_file(context, host), lines.join("\n"))?;
    }
    write_inventory(context)
}

fn write_inventory(context: &Context) -> Result<()> {
    fs_err::write(context.folder.join("hello.sh"), "#!/bin/sh\necho hello from a file\n")?;
    let here = context.folder.join("hooks").display().to_string();
    let spec = format!(
        "  files:
    - {{path: /etc/profile.d/naru-test.sh, content: \"# welcome\\n\", mode: \"0640\"}}
    - {{path: /usr/local/bin/hello, source: hello.sh, mode: \"0755\", roles: [worker]}}
  hooks:
    - {{name: call, when: beforeConnect, on: operator, command: 'echo connect $NARU_HOST $NARU_ADDRESS >>{here}'}}
    - {{name: open, when: beforeApply, command: 'echo before $NARU_CLUSTER $NARU_HOST $NARU_ROLE >>/root/hooks'}}
    - {{name: close, when: afterApply, command: 'test -e /usr/local/bin/hello; echo after $? >>/root/hooks'}}
    - {{name: tell, when: afterApply, on: operator, hosts: [cp1], command: 'echo applied $NARU_HOST >>{here}'}}
"
    );
    context.write_inventory(&Wish {
        ssh: context.as_root(),
        spec,
        host: Some(&pinned),
        documents: DOCUMENTS.to_owned(),
    })
}

fn everything(context: &Context) -> Result<Vec<BTreeSet<String>>> {
    HOSTS.iter().map(|host| context.files_and_times(host)).collect()
}

/// Of a path's line: whether it is the agent's folder, or the parent that got it.
fn is_of_the_agent(line: &str) -> bool {
    let path = line.split_whitespace().nth(1).unwrap_or_default();
    path.starts_with(AGENT_FOLDER) || path == "/var/lib"
}

fn dry_run(context: &Context) -> Result<()> {
    let before = everything(context)?;
    let said = context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(3)?;
    for part in
        ["/etc/profile.d/naru-test.sh", "/usr/local/bin/hello", "multidoc", "hello", "naru-node.service", "open"]
    {
        ensure!(said.contains(part), "the plan does not show {part:?}:\n{said}");
    }
    for (before, after) in before.iter().zip(everything(context)?) {
        let changed: Vec<String> =
            difference(before, &after).into_iter().filter(|line| !is_of_the_agent(line)).collect();
        ensure!(changed.is_empty(), "the dry run changed:\n{}", changed.join("\n"));
    }
    let processes = context.on("cp1", "ps -eo comm; systemctl list-unit-files --no-legend")?;
    ensure!(
        !processes.contains("naru-node") && !processes.contains("naru-control"),
        "the dry run left something running:\n{processes}"
    );
    Ok(())
}

fn apply(context: &Context) -> Result<()> {
    context.apply()?;
    context.fetch_kubeconfig()?;
    wait_until("both nodes are Ready", Duration::from_secs(5), || Ok(context.ready_nodes()? == 2))?;
    let nodes = context.kubectl(&["get", "nodes", "-o", "wide"])?;
    ensure!(nodes.contains("GNU/Linux 12") && nodes.contains("GNU/Linux 13"), "nodes:\n{nodes}");
    first_cluster::load_images_on(context, "old1")?;
    context.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"])?;
    let greeting = context.get(&["configmap", "multidoc"])?["data"]["greeting"].clone();
    ensure!(greeting == "first", "the document says {greeting}");
    Ok(())
}

fn hooks_and_files(context: &Context) -> Result<()> {
    for (host, role, has_hello) in [("cp1", "control-plane", 1), ("old1", "worker", 0)] {
        let said = context.on(
            host,
            "cat /root/hooks; stat -c '%a %U' /etc/profile.d/naru-test.sh; cat /etc/profile.d/naru-test.sh",
        )?;
        let wanted = format!("before {} {host} {role}\nafter {has_hello}\n640 root\n# welcome\n", context.name);
        ensure!(said == wanted, "on {host}:\n{said}instead of\n{wanted}");
    }
    let said = context.on("old1", "stat -c %a /usr/local/bin/hello; hello")?;
    ensure!(said == "755\nhello from a file\n", "the file with a source: {said}");
    let here = fs_err::read_to_string(context.folder.join("hooks"))?;
    let address = context.host("old1")?.address;
    ensure!(here.contains(&format!("connect old1 {address}\n")), "hooks here:\n{here}");
    ensure!(here.matches("applied cp1\n").count() == 1 && !here.contains("applied old1"), "hooks here:\n{here}");
    Ok(())
}

fn kubeconfig(context: &Context) -> Result<()> {
    let text = context.naru(&["kubeconfig", "cluster.yaml"])?.ok()?;
    for part in ["certificate-authority-data", "client-certificate-data", "client-key-data", "current-context"] {
        ensure!(text.contains(part), "the kubeconfig has no {part}");
    }
    Ok(())
}

fn no_op(context: &Context) -> Result<()> {
    let before = context.on("old1", "cat /root/hooks")?;
    context.nothing_to_do()?;
    let said = context.apply()?;
    ensure!(said.to_lowercase().contains("nothing to do"), "a second apply said:\n{said}");
    let after = context.on("old1", "cat /root/hooks")?;
    ensure!(after == before, "hooks ran with nothing to do:\n{after}");
    Ok(())
}

fn dry_change(context: &Context) -> Result<()> {
    context.edit_inventory("greeting: first", "greeting: second")?;
    context.edit_inventory("# welcome\\n", "# welcome back\\n")?;
    let units = ["naru-node", "naru-control-plane", "containerd"];
    let (before, starts) = (everything(context)?, context.starts("cp1", &units)?);
    let said = context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(3)?;
    for part in ["multidoc", "welcome back", "/etc/profile.d/naru-test.sh"] {
        ensure!(said.contains(part), "the plan does not show {part:?}:\n{said}");
    }
    ensure!(said.contains(" 0 service restarts"), "two texts were changed, and the plan restarts something:\n{said}");
    for (before, after) in before.iter().zip(everything(context)?) {
        let changed = difference(before, &after);
        ensure!(changed.is_empty(), "the dry run changed:\n{}", changed.join("\n"));
    }
    let changed = difference(&starts, &context.starts("cp1", &units)?);
    ensure!(changed.is_empty(), "the dry run started:\n{}", changed.join("\n"));
    let greeting = context.get(&["configmap", "multidoc"])?["data"]["greeting"].clone();
    ensure!(greeting == "first", "the dry run changed the document: {greeting}");
    Ok(())
}

fn changed_document(context: &Context) -> Result<()> {
    context.apply()?;
    let greeting = context.get(&["configmap", "multidoc"])?["data"]["greeting"].clone();
    ensure!(greeting == "second", "the document says {greeting}");
    let text = context.on("old1", "cat /etc/profile.d/naru-test.sh")?;
    ensure!(text == "# welcome back\n", "the file says {text}");
    context.nothing_to_do()
}

fn failing_hook(context: &Context) -> Result<()> {
    context.edit_inventory("# welcome back\\n", "# never shown\\n")?;
    context.edit_inventory(
        "  hooks:\n",
        "  hooks:\n    - {name: weather, when: beforeApply, hosts: [old1], command: 'echo it is raining >&2; exit 3'}\n",
    )?;
    let said = context.naru(&["apply", "cluster.yaml", "--yes"])?.exits(2)?;
    for part in ["old1", "weather", "it is raining"] {
        ensure!(said.contains(part), "does not say {part:?}:\n{said}");
    }
    let text = context.on("old1", "cat /etc/profile.d/naru-test.sh")?;
    ensure!(text == "# welcome back\n", "the host was changed after its hook had failed: {text}");
    context.edit_inventory("exit 3'", "exit 0'")?;
    context.edit_inventory("# never shown\\n", "# shown at last\\n")?;
    context.apply()?;
    let text = context.on("old1", "cat /etc/profile.d/naru-test.sh")?;
    ensure!(text == "# shown at last\n", "the file says {text}");
    Ok(())
}

fn reset(context: &Context) -> Result<()> {
    context.naru(&["reset", "cluster.yaml", "--yes"])?.ok()?;
    for host in HOSTS {
        let text = fs_err::read_to_string(before_file(context, host))?;
        let before: BTreeSet<String> = text.lines().map(str::to_owned).collect();
        let mut changed = Vec::new();
        let same = wait_until("the machine is as it was", Duration::from_secs(10), || {
            changed = difference(&before, &context.whole_machine(host)?);
            changed.retain(|line| !LEFT.iter().any(|left| line.contains(left)));
            Ok(changed.is_empty())
        });
        ensure!(same.is_ok(), "{host} is not what it was before the cluster:\n{}", changed.join("\n"));
    }
    Ok(())
}

/// Everything about logging in stands in `~/.ssh/config`, host keys are accepted at first sight.
fn openssh(context: &Context) -> Result<()> {
    let key = context.machines.key_path(&context.name).display().to_string();
    let text = format!("Host *\n    User root\n    IdentityFile {key}\n    IdentitiesOnly yes\n");
    fs_err::write(context.home().join(".ssh/config"), text)?;
    context.write_inventory(&Wish::default())?;
    context.naru(&["apply", "cluster.yaml", "--yes", "--accept-new-host-keys"])?.ok()?;
    context.fetch_kubeconfig()?;
    wait_until("both nodes are Ready", Duration::from_secs(5), || Ok(context.ready_nodes()? == 2))?;
    context.nothing_to_do()
}

fn swapped(context: &Context) -> Result<()> {
    let before = context.host("cp1")?;
    context.machines.delete_machine(&context.name, "cp1")?;
    context.machines.ensure(&spec(context), &|_| {})?;
    let after = context.host("cp1")?;
    ensure!(before.address == after.address && before.host_key != after.host_key, "it is not a swap: {after:?}");
    let starts = context.starts("old1", &["naru-node"])?;
    let output = context.naru(&["apply", "cluster.yaml", "--yes", "--accept-new-host-keys"])?;
    let said = format!("{}{}", output.stdout, output.stderr);
    ensure!(matches!(output.code, Some(1 | 2)), "exit {:?}: {said}", output.code);
    for part in ["cp1", "host key", "CHANGED", "SHA256:"] {
        ensure!(said.contains(part), "does not say {part:?}:\n{said}");
    }
    let left = context.on("cp1", "ls -d /etc/naru /opt/naru /var/lib/naru/* 2>/dev/null || true")?;
    ensure!(left.is_empty(), "something was sent to a machine with the wrong key:\n{left}");
    ensure!(difference(&starts, &context.starts("old1", &["naru-node"])?).is_empty(), "the worker was disturbed");
    Ok(())
}

fn made_anew(context: &Context) -> Result<()> {
    let address = context.host("cp1")?.address;
    let mut forget = Command::new("ssh-keygen");
    forget.args(["-R", &address, "-f"]).arg(context.home().join(".ssh/known_hosts"));
    command(&mut forget, None, SHORT)?.ok()?;
    context.naru(&["apply", "cluster.yaml", "--yes", "--accept-new-host-keys"])?.ok()?;
    context.fetch_kubeconfig()?;
    wait_until("both nodes are Ready", Duration::from_secs(20), || Ok(context.ready_nodes()? == 2))?;
    context.nothing_to_do()
}

fn reset_without_control_plane(context: &Context) -> Result<()> {
    const OURS: &str = "ls -d /etc/naru /opt/naru /etc/systemd/system/naru-node.service 2>/dev/null || true";
    context.machines.power_cut(&context.name, "cp1")?;
    let said = context.naru(&["reset", "cluster.yaml", "--yes"])?.exits(2)?;
    ensure!(said.contains("cp1") && said.contains("--without-lock"), "does not say what helps:\n{said}");
    let left = context.on("old1", OURS)?;
    ensure!(left.contains("/etc/naru"), "the worker was changed without a lock:\n{left}");
    let said = context.naru(&["reset", "cluster.yaml", "--yes", "--without-lock"])?.exits(2)?;
    ensure!(said.contains("cp1: it is not cleaned"), "does not name the host left out:\n{said}");
    let left = context.on("old1", OURS)?;
    ensure!(left.is_empty(), "left on the worker:\n{left}");
    let state = context.on("old1", "systemctl is-active naru-node || true")?;
    ensure!(!state.starts_with("active"), "the worker's node still runs");
    // Once it is back, the usual command ends it as well.
    context.machines.power_on(&context.name, "cp1")?;
    wait_until("cp1 answers", Duration::from_secs(60), || Ok(context.on("cp1", "true").is_ok()))?;
    context.naru(&["reset", "cluster.yaml", "--yes"])?.exits(0)?;
    let left = context.on("cp1", OURS)?;
    ensure!(left.is_empty(), "left on the control plane:\n{left}");
    Ok(())
}
