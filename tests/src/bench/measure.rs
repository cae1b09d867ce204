//! Running a program and seeing what it costs: time, processor time, peak memory.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) processor: Duration,
    pub(crate) peak_bytes: u64,
}

/// Runs to the end; another exit code than zero is an error, with what was said.
pub(crate) fn cost(command: &mut Command) -> Result<(Cost, String)> {
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take().context("piped")?, child.stderr.take().context("piped")?);
    let reading = std::thread::spawn(move || std::io::read_to_string(stdout));
    let scolding = std::thread::spawn(move || std::io::read_to_string(stderr));
    let mut cost = Cost::default();
    let status = loop {
        if let Some(seen) = look(child.id()) {
            (cost.processor, cost.peak_bytes) = (seen.processor, seen.peak_bytes.max(cost.peak_bytes));
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    cost.wall = started.elapsed();
    let said = reading.join().map_err(|_| anyhow::anyhow!("a reader stumbled"))??;
    let scolded = scolding.join().map_err(|_| anyhow::anyhow!("a reader stumbled"))??;
    if !status.success() {
        bail!("{status}: {said}\n{scolded}");
    }
    Ok((cost, format!("{said}{scolded}")))
}

fn look(process: u32) -> Option<Cost> {
    const TICKS_PER_SECOND: u64 = 100;
    let status = fs_err::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.split_whitespace().next()?.parse().ok()?;
    let stat = fs_err::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let processor = Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND);
    Some(Cost { wall: Duration::ZERO, processor, peak_bytes: kib * 1_024 })
}

/// What the numbers were measured on.
pub(crate) fn conditions() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let text = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
    let info = text("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = text("/proc/meminfo");
    let memory = memory.lines().next().unwrap_or_default().split_whitespace().nth(1).unwrap_or_default().to_owned();
    let load = text("/proc/loadavg");
    format!(
        "{cpus} cores{model}, {} GiB, load {} at the start",
        memory.parse::<u64>().unwrap_or_default() >> 20,
        load.split(' ').next().unwrap_or_default()
    )
}
