//! `cargo xtask bench up`: how long an apply takes and what it leaves in memory and on disk, as a table. Numbers are
//! reported, never judged: the machine below is shared and small.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use naru_e2e::{Context, say};
use naru_machines::{ClusterSpec, ImageSpec, Provider, Release};
use serde_json::Value;

const RUNS: usize = 3;
const SETTLE: Duration = Duration::from_secs(60);

pub(crate) fn run() -> Result<()> {
    let context = Context::new("bench-up")?;
    let measured = measure(&context);
    context.machines.delete(&context.name)?;
    measured
}

fn measure(context: &Context) -> Result<()> {
    let text = fs_err::read_to_string(Context::root().join("inventories/local.yaml"))?;
    fs_err::write(&context.inventory, text.replace("name: local", &format!("name: {}", context.name)))?;
    say("one control plane, two workers, containerd installed; every write fsynced; all on this computer\n");
    let mut noop = Vec::new();
    for run in 1..=RUNS {
        context.machines.delete(&context.name)?;
        let spec = ClusterSpec::simple(&context.name, 1, 2, &ImageSpec::prepared(Release::Trixie));
        context.machines.ensure(&spec, &|_| {})?;
        let (whole, stages) = apply(context)?;
        say(&format!("apply, run {run}: {:.2} s until three nodes are Ready (goal 30 s)", whole.as_secs_f64()));
        for (stage, (start, end)) in ordered(stages) {
            say(&format!("    {:5.2} – {:5.2} s  {stage}", start.as_secs_f64(), end.as_secs_f64()));
        }
        let start = Instant::now();
        let said = context.naru(&["apply", "cluster.yaml", "--yes"])?.exits(0)?;
        ensure!(said.to_lowercase().contains("nothing to do"), "the no-op apply said {said}");
        noop.push(start.elapsed().as_secs_f64());
    }
    noop.sort_by(f64::total_cmp);
    say(&format!("\nno-op apply: median {:.2} s of {RUNS} (goal 1.5 s)", noop[noop.len() / 2]));
    std::thread::sleep(SETTLE);
    memory(context)?;
    readiness(context)?;
    sizes(context)
}

/// Title of a step → when the first of it began and the last ended, on all hosts.
type Stages = BTreeMap<String, (Duration, Duration)>;

fn apply(context: &Context) -> Result<(Duration, Stages)> {
    let start = Instant::now();
    let mut command = context.naru_command(&["apply", "cluster.yaml", "--yes", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = child.stdout.take().context("stdout was piped")?;
    let mut stages = Stages::new();
    for line in BufReader::new(stdout).lines() {
        let event: Value = serde_json::from_str(&line?).unwrap_or_default();
        let Some(title) = event["title"].as_str() else { continue };
        let at = start.elapsed();
        let stage = stages.entry(title.to_owned()).or_insert((at, at));
        stage.1 = at;
    }
    ensure!(child.wait()?.success(), "apply failed; run it by hand in {}", context.folder.display());
    Ok((start.elapsed(), stages))
}

fn ordered(stages: Stages) -> Vec<(String, (Duration, Duration))> {
    let mut stages: Vec<_> = stages.into_iter().collect();
    stages.sort_by_key(|(_, times)| *times);
    stages
}

fn memory(context: &Context) -> Result<()> {
    say(&format!("\nresident memory {} s after Ready:", SETTLE.as_secs()));
    for (host, program, goal) in
        [("cp1", "naru-control-plane", 60), ("cp1", "naru-node", 25), ("w1", "naru-node", 25), ("w2", "naru-node", 25)]
    {
        let said = context.on(host, &format!("grep -h -E 'VmRSS|RssAnon' /proc/$(pidof {program})/status"))?;
        let mut kilobytes = said.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        let (resident, own) = (kilobytes.next().unwrap_or_default(), kilobytes.next().unwrap_or_default());
        let (resident, own) = (resident / 1024.0, own / 1024.0);
        say(&format!("    {host:<4} {program:<20} {resident:6.1} MiB, of which {own:5.1} anonymous (goal {goal} MB)"));
    }
    Ok(())
}

/// systemd knows when it started the process and when the process said that /readyz answers.
fn readiness(context: &Context) -> Result<()> {
    let script = "systemctl restart naru-control-plane && systemctl show naru-control-plane --value \
                  -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic";
    let said = context.on("cp1", script)?;
    let mut micros: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    micros.sort_unstable();
    ensure!(micros.len() == 2, "systemctl said {said}");
    say(&format!("\ncontrol plane, process start to ready: {} ms (goal 500 ms)", (micros[1] - micros[0]) / 1000));
    Ok(())
}

fn sizes(context: &Context) -> Result<()> {
    say("\nstatic programs:");
    for program in ["naru", "naru-control-plane", "naru-node"] {
        let bytes = fs_err::metadata(context.programs().join(program))?.len();
        say(&format!("    {program:<20} {:5.1} MB", bytes as f64 / 1e6));
    }
    Ok(())
}
