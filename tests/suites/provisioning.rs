//! `naru apply` while something goes wrong: a full disk, a cut cable, Ctrl-C, SIGKILL at every step, a second operator,
//! a worker that loses its power. Each time the next apply ends in the same cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use naru_e2e::{Context, Running, Wish, pinned, say, wait_until};
use naru_machines::{ClusterSpec, ImageSpec, Provider, Release};
use serde_json::Value;

use crate::{Case, first_cluster};

/// Longest silence of a run that makes progress.
const NEXT_EVENT: Duration = Duration::from_secs(90);
const WHOLE_RUN: Duration = Duration::from_secs(180);
/// More runs than a plan has steps: each is killed at a step at which none was before.
const KILLS_MAX: usize = 80;
const MEGABYTE: u64 = 1_000_000;
/// When the cable is cut: somewhere within a program of 20 to 30 MB.
const CUT_AFTER_MEGABYTES: u64 = 9;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case { name: "three machines start", run: |context| fresh_machines(context) },
        Case { name: "full disks are told; the healthy hosts become a cluster", run: full_disk },
        Case { name: "with space again the next apply completes it", run: space_again },
        Case { name: "a cable cut during an upload: told, and resumed later", run: cut_for_good },
        Case { name: "a short cut during an upload: the same apply goes on", run: cut_shortly },
        Case { name: "Ctrl-C finishes the step and says what is left", run: control_c },
        Case { name: "SIGKILL at every step ends in the same cluster", run: kill_at_every_step },
        Case { name: "of two applies at once one names the other", run: two_at_once },
        Case { name: "a worker loses power: the others are done, then it", run: power_cut },
    ]
}

fn fresh_machines(context: &Context) -> Result<()> {
    context.machines.delete(&context.name)?;
    let spec = ClusterSpec::simple(&context.name, 1, 2, &ImageSpec::prepared(Release::Trixie));
    context.machines.ensure(&spec, &|_| {})?;
    // Short signs of life: nobody wants to wait a minute for a cut cable in a test.
    let ssh = format!("{}, connectTimeoutSeconds: 3, keepaliveSeconds: 1", context.as_root());
    context.write_inventory(&Wish { ssh, host: Some(&pinned), ..Wish::default() })
}

fn complete(context: &Context) -> Result<()> {
    first_cluster::apply(context)?;
    context.nothing_to_do()
}

fn says(said: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(said.to_lowercase().contains(&part.to_lowercase()), "does not say {part:?}:\n{said}");
    }
    Ok(())
}

/// w1's disk has no room for the agent from the beginning, cp1's is filled while the control plane's program arrives.
fn full_disk(context: &Context) -> Result<()> {
    let disk =
        |size: &str| format!("mkdir -p /var/lib/naru && mount -t tmpfs -o mode=755,size={size} tmpfs /var/lib/naru");
    context.on("w1", &disk("10m"))?;
    context.on("cp1", &disk("4g"))?;
    context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?;
    // Slow enough for the disk to become full in the middle.
    context.wire("cp1", &["tcp dport 22 limit rate over 1 mbytes/second drop"])?;
    let mut running = context.start_apply()?;
    let upload = running.until(NEXT_EVENT, |event| event["event"] == "stepProgress" && event["step"] != "")?;
    let filled =
        context.on("cp1", "dd if=/dev/zero of=/var/lib/naru/fill bs=1M 2>/dev/null || test -s /var/lib/naru/fill");
    let ended = running.end(WHOLE_RUN)?;
    context.mend_wire("cp1")?;
    ensure!(upload.is_some(), "nothing was uploaded: {}", ended.shown());
    filled?;
    let ended = ended.exits(2)?;
    let failed = ended.heard.iter().find(|event| event["event"] == "stepFailed");
    let failed = failed.map(Value::to_string).unwrap_or_default();
    says(&failed, &["cp1", "space"]).with_context(|| ended.shown())?;
    let left = context.on("w1", "ls -d /opt/naru /etc/naru 2>/dev/null || true")?;
    ensure!(left.is_empty(), "left on the full host:\n{left}");
    context.on("cp1", "rm /var/lib/naru/fill")?;
    let said = context.naru(&["apply", "cluster.yaml", "--yes"])?.exits(2)?;
    says(&said, &["w1", "space"])?;
    context.fetch_kubeconfig()?;
    wait_until("the other two nodes are Ready", Duration::from_secs(5), || Ok(context.ready_nodes()? == 2))?;
    Ok(())
}

fn space_again(context: &Context) -> Result<()> {
    context.on("w1", "umount /var/lib/naru")?;
    complete(context)
}

/// Has everything on the control-plane host that comes before the programs, and the agent; then cuts the cable in the
/// middle of the upload of the control plane.
fn cut_later(context: &Context, after_megabytes: u64) -> Result<()> {
    context.wire("cp1", &["tcp dport 22 counter", &format!("tcp dport 22 quota over {after_megabytes} mbytes drop")])
}

fn cut_for_good(context: &Context) -> Result<()> {
    fresh_machines(context)?;
    // A plan brings the agent; what is left to upload is the control plane's program.
    context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(3)?;
    let size = fs_err::metadata(context.programs().join("naru-control-plane"))?.len();
    cut_later(context, CUT_AFTER_MEGABYTES)?;
    let ended = context.start_apply()?.end(WHOLE_RUN)?.exits(2)?;
    let failed = ended.steps("stepFailed");
    ensure!(failed.iter().any(|step| step.starts_with("cp1/")), "no step of cp1 failed: {}", ended.shown());
    let arrived = context.counted_bytes("cp1")?.min(CUT_AFTER_MEGABYTES * 1024 * 1024);
    ensure!(arrived > CUT_AFTER_MEGABYTES * MEGABYTE / 2, "the cable was cut before the upload: {arrived} bytes");
    context.wire("cp1", &["tcp dport 22 counter"])?;
    // The host believes in the old connection, and in its lock, until it hears of its end.
    let again = ["apply", "cluster.yaml", "--yes", "-o", "json", "--wait-for-lock", "120"];
    Running::start(&mut context.naru_command(&again))?.end(WHOLE_RUN)?.exits(0)?;
    let sent = context.counted_bytes("cp1")?;
    context.mend_wire("cp1")?;
    say(&format!(
        "          {:.1} of {:.1} MB arrived before the cut, {:.1} MB after it",
        arrived as f64 / 1e6,
        size as f64 / 1e6,
        sent as f64 / 1e6
    ));
    ensure!(sent < size - arrived / 2, "the upload began anew: {sent} bytes were sent of {size}");
    complete(context)
}

fn cut_shortly(context: &Context) -> Result<()> {
    fresh_machines(context)?;
    context.naru(&["plan", "cluster.yaml", "--detailed-exitcode"])?.exits(3)?;
    let size = fs_err::metadata(context.programs().join("naru-control-plane"))?.len();
    cut_later(context, CUT_AFTER_MEGABYTES)?;
    let mut running = context.start_apply()?;
    let retried = running.until(NEXT_EVENT, |event| {
        event["event"] == "stepRetried" && event["step"].as_str().is_some_and(|step| step.starts_with("cp1/"))
    })?;
    ensure!(retried.is_some(), "the step was not tried again: {}", running.end(WHOLE_RUN)?.shown());
    context.wire("cp1", &["tcp dport 22 counter"])?;
    let ended = running.end(WHOLE_RUN)?.exits(0)?;
    let sent = context.counted_bytes("cp1")?;
    context.mend_wire("cp1")?;
    ensure!(sent < size - CUT_AFTER_MEGABYTES * MEGABYTE / 2, "the upload began anew: {sent} bytes: {}", ended.shown());
    complete(context)
}

fn control_c(context: &Context) -> Result<()> {
    fresh_machines(context)?;
    let mut running = context.start_apply()?;
    let begun = running.until(NEXT_EVENT, |event| event["event"] == "stepStarted")?;
    let begun = begun.context("apply had no steps")?;
    running.interrupt()?;
    let ended = running.end(WHOLE_RUN)?.exits(2)?;
    let (started, mut finished) = (ended.steps("stepStarted"), ended.steps("stepSucceeded"));
    finished.extend(ended.steps("stepFailed"));
    let unfinished: Vec<&String> = started.iter().filter(|step| !finished.contains(step)).collect();
    ensure!(unfinished.is_empty(), "steps were left in the middle: {unfinished:?}: {}", ended.shown());
    ensure!(started.iter().any(|step| *step == begun["step"]), "{begun} was lost: {}", ended.shown());
    ensure!(!ended.steps("stepSkipped").is_empty(), "it does not say what is left: {}", ended.shown());
    let finish = ended.heard.iter().find(|event| event["event"] == "finished").context("no finish was told")?;
    ensure!(finish["interrupted"] == true, "the finish says {finish}");
    says(&ended.stderr, &["interrupted"])?;
    control_c_in_words(context)
}

/// The same as a person sees it: what was interrupted, what is left, how to go on.
fn control_c_in_words(context: &Context) -> Result<()> {
    let before = journals(context)?;
    let running = Running::start(&mut context.naru_command(&["apply", "cluster.yaml", "--yes"]))?;
    let begun = wait_until("a step begins", NEXT_EVENT, || {
        Ok(journals(context)?.difference(&before).any(|text| text.contains("\"stepStarted\"")))
    });
    running.interrupt()?;
    let ended = running.end(WHOLE_RUN)?.exits(2)?;
    begun?;
    says(&ended.stderr, &["Interrupted", "not done", "Run the same command again"])
}

/// What the journals of this cluster's runs hold.
fn journals(context: &Context) -> Result<BTreeSet<String>> {
    let folder = context.folder.join("state/naru").join(&context.name);
    let files = fs_err::read_dir(folder)?.filter_map(Result::ok).filter(|entry| entry.path().is_file());
    Ok(files.map(|entry| fs_err::read_to_string(entry.path())).collect::<std::io::Result<_>>()?)
}

/// Kills each run at the start of a step at which none was killed before, until a run ends.
fn kill_at_every_step(context: &Context) -> Result<()> {
    complete(context)?;
    fresh_machines(context)?;
    let wanted: BTreeSet<String> = planned_steps(context)?;
    let mut killed = BTreeSet::new();
    let mut runs = 0;
    let authority = loop {
        runs += 1;
        ensure!(killed.len() < KILLS_MAX, "there is no end of steps: {killed:?}");
        let mut running = context.start_apply()?;
        let Some(step) = next_new_step(&mut running, &killed)? else {
            let ended = running.end(WHOLE_RUN)?.exits(0)?;
            ensure!(ended.steps("stepFailed").is_empty(), "{}", ended.shown());
            break context.on("cp1", "sha256sum </etc/naru/pki/ca.crt")?;
        };
        running.kill()?;
        killed.insert(step);
    };
    say(&format!("          {runs} runs, killed at {} different steps", killed.len()));
    let missed: Vec<&String> = wanted.difference(&killed).collect();
    ensure!(missed.is_empty(), "never begun, so never killed: {missed:?}; killed at {killed:?}");
    complete(context)?;
    let now = context.on("cp1", "sha256sum </etc/naru/pki/ca.crt")?;
    ensure!(now == authority, "the cluster's authority was made anew");
    for machine in context.hosts()? {
        let left =
            context.on(&machine.host, "find /etc /opt /var/lib/naru -name '.*.naru-*' -o -name '*.part' | head")?;
        ensure!(left.is_empty(), "left on {}:\n{left}", machine.host);
    }
    Ok(())
}

fn planned_steps(context: &Context) -> Result<BTreeSet<String>> {
    let plan = context.saved_plan()?;
    let steps = plan["steps"].as_array().context("a plan without steps")?;
    // What only waits may have come true while nobody waited.
    let acts = |step: &&Value| !step["action"]["action"].as_str().is_some_and(|action| action.starts_with("waitFor"));
    Ok(steps.iter().filter(acts).filter_map(|step| step["id"].as_str()).map(str::to_owned).collect())
}

fn next_new_step(running: &mut Running, killed: &BTreeSet<String>) -> Result<Option<String>> {
    let new = |event: &Value| {
        event["event"] == "stepStarted" && event["step"].as_str().is_some_and(|step| !killed.contains(step))
    };
    let found = running.until(NEXT_EVENT, new)?;
    Ok(found.and_then(|event| event["step"].as_str().map(str::to_owned)))
}

fn two_at_once(context: &Context) -> Result<()> {
    fresh_machines(context)?;
    let mut first = context.start_apply()?;
    let begun = first.until(NEXT_EVENT, |event| event["event"] == "stepStarted")?;
    ensure!(begun.is_some(), "the first apply had no steps");
    let number = first.id().to_string();
    let second = context.naru(&["apply", "cluster.yaml", "--yes"])?;
    let ended = first.end(WHOLE_RUN)?.exits(0)?;
    ensure!(ended.steps("stepFailed").is_empty(), "the second disturbed the first: {}", ended.shown());
    let said = format!("{}{}", second.stdout, second.stderr);
    // Either it waits for the first and has little left to do, or it refuses; it names the other one both times.
    ensure!(said.contains(&number), "exit {:?}, without naming process {number}:\n{said}", second.code);
    ensure!(matches!(second.code, Some(0 | 2)), "exit {:?}:\n{said}", second.code);
    complete(context)
}

fn power_cut(context: &Context) -> Result<()> {
    fresh_machines(context)?;
    let mut running = context.start_apply()?;
    let begun = running.until(NEXT_EVENT, |event| {
        event["event"] == "stepStarted" && event["step"].as_str().is_some_and(|step| step.starts_with("w2/"))
    })?;
    ensure!(begun.is_some(), "nothing was begun on w2");
    context.machines.power_cut(&context.name, "w2")?;
    let ended = running.end(WHOLE_RUN)?.exits(2)?;
    let failed = ended.steps("stepFailed");
    ensure!(
        !failed.is_empty() && failed.iter().all(|step| step.starts_with("w2/")),
        "not w2 alone failed: {failed:?}: {}",
        ended.shown()
    );
    context.fetch_kubeconfig()?;
    wait_until("the other two nodes are Ready", Duration::from_secs(5), || Ok(context.ready_nodes()? == 2))?;
    // Still without power it is told again, and nothing else is touched.
    let said = context.naru(&["apply", "cluster.yaml", "--yes"])?.exits(2)?;
    says(&said, &["w2", "cannot be reached"])?;
    context.machines.power_on(&context.name, "w2")?;
    complete(context)
}
