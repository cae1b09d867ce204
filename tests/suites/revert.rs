//! A change that could cut a host off, made while no new SSH connection gets through: the host itself puts it back,
//! after its time or at its next start, and says so.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use naru_e2e::{Context, Running, command, wait_until};
use serde_json::Value;

const HOSTS: &str = "  hosts:\n";
const FILE: &str = "/etc/ssh/sshd_config.d/90-naru-test.conf";
/// Tells that the test looks at the host.
const WATCHES: &str = "/run/naru-test-watches";
const BOOT_UNIT: &str = "/etc/systemd/system/multi-user.target.wants/naru-revert.service";
const NEXT_EVENT: Duration = Duration::from_secs(60);
const WHOLE_RUN: Duration = Duration::from_secs(180);
/// Less than the host waits for a confirmation.
const BEFORE_ITS_TIME: Duration = Duration::from_secs(30);

/// With a hook that waits until the test has cut the cable.
fn change(context: &Context) -> String {
    let go = context.folder.join("go").display().to_string();
    format!(
        "  files: [{{path: {FILE}, content: \"MaxSessions 20\\n\", hosts: [w2]}}]
  hooks:
    - {{name: cable, when: beforeApply, on: operator, hosts: [w2], command: 'while [ ! -e {go} ]; do sleep 0.1; done'}}
{HOSTS}"
    )
}

/// Makes the change, and answers what `watching` on the host has seen by then; new connections do not get through.
fn change_and_cut(context: &Context, watching: &str) -> Result<(Running, String)> {
    let mut running = context.start_apply()?;
    let waits =
        running.until(NEXT_EVENT, |event| event["event"] == "stepStarted" && event["step"] == "w2/before-apply-1")?;
    ensure!(waits.is_some(), "the hook did not run: {}", running.end(WHOLE_RUN)?.shown());
    let mut watch = context.machines.ssh(&context.host("w2")?);
    watch.arg(format!("touch {WATCHES}; {watching}; rm {WATCHES}"));
    let watcher = std::thread::spawn(move || command(&mut watch, None, WHOLE_RUN)?.ok());
    // That connection is the last one that is let in.
    wait_until("somebody watches on the host", NEXT_EVENT, || {
        Ok(context.on("w2", &format!("ls {WATCHES} 2>/dev/null || true"))?.contains(WATCHES))
    })?;
    context.wire("w2", &["tcp dport 22 ct state new drop"])?;
    fs_err::write(context.folder.join("go"), "")?;
    let seen = watcher.join().map_err(|_| anyhow!("the watching thread panicked"))??;
    Ok((running, seen))
}

pub(crate) fn put_back(context: &Context) -> Result<()> {
    context.edit_inventory(HOSTS, &change(context))?;
    let watching = format!(
        "while [ ! -e {FILE} ]; do sleep 0.1; done; systemctl list-units --no-legend --state=active 'naru-revert-*'; \
         ls {BOOT_UNIT}; while [ -e {FILE} ]; do sleep 0.1; done; echo gone"
    );
    let (running, seen) = change_and_cut(context, &watching)?;
    context.mend_wire("w2")?;
    let ended = running.end(WHOLE_RUN)?.exits(2)?;
    for part in ["naru-revert-", BOOT_UNIT, "gone"] {
        ensure!(seen.contains(part), "the host did not show {part:?} while it waited:\n{seen}");
    }
    ensure!(ended.steps("stepFailed") == ["w2/network"], "another step failed: {}", ended.shown());
    let failed = ended.heard.iter().find(|event| event["event"] == "stepFailed").map(Value::to_string);
    let failed = failed.unwrap_or_default();
    ensure!(failed.contains("it was put back"), "does not say what became of the change: {failed}");
    nothing_is_left(context)
}

/// The operator is gone and the host starts anew before its time: the change is put back at the start.
pub(crate) fn put_back_at_start(context: &Context) -> Result<()> {
    fs_err::remove_file(context.folder.join("go"))?;
    let (running, _) = change_and_cut(context, &format!("while [ ! -e {FILE} ]; do sleep 0.1; done"))?;
    running.kill()?;
    context.machines.power_cut(&context.name, "w2")?;
    context.machines.power_on(&context.name, "w2")?;
    context.mend_wire("w2")?;
    wait_until("the change is put back at the start", BEFORE_ITS_TIME, || {
        nothing_is_left(context)?;
        let said = context.on("w2", "journalctl --quiet --boot --unit naru-revert.service")?;
        ensure!(said.contains("Put back changes that nobody confirmed"), "the unit of the start did not run:\n{said}");
        Ok(true)
    })?;
    Ok(())
}

/// Once connections get through, the same change is made and stays, and can be taken away again.
pub(crate) fn confirmed(context: &Context) -> Result<()> {
    wait_until("all nodes are Ready", Duration::from_secs(90), || Ok(context.ready_nodes()? == 3))?;
    context.apply()?;
    let content = context.on("w2", &format!("cat {FILE}"))?;
    ensure!(content == "MaxSessions 20\n", "{FILE} holds {content:?}");
    context.nothing_to_do()?;
    context.edit_inventory(&change(context), HOSTS)?;
    context.apply().context("taking it away")?;
    nothing_is_left(context)?;
    context.nothing_to_do()
}

fn nothing_is_left(context: &Context) -> Result<()> {
    let left = context.on("w2", &format!("ls -d {FILE} {BOOT_UNIT} /var/lib/naru/revert/*/ 2>/dev/null || true"))?;
    ensure!(left.is_empty(), "left on the host:\n{left}");
    Ok(())
}
