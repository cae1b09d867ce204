//! `naru diff`: what on the hosts is not as it should be, and whose doing that is.

use std::fmt::Write as _;

use clap::Args;
use naru_plan::Colour;

use super::{Format, json, print};
use crate::cli::Terminal;
use crate::drift::{Difference, Differences, HostDifferences, Origin, differences};
use crate::exit::{Exit, Failure};
use crate::session::{InventoryFlag, Reach, Session};
use crate::style::{BAD, BOLD, DIM, GOOD, WARN, names, paint, plural};

/// Longer diffs are cut; `-o json` has them whole.
const MAX_DIFF_LINES: usize = 60;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 done, 1 a mistake of yours, 2 a host could not be looked at, 3 something differs (with \
                  --detailed-exitcode)."
)]
pub(crate) struct Diff {
    /// Only these hosts.
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
    #[command(flatten)]
    inventory: InventoryFlag,
    /// Exit with 3 if something differs.
    #[arg(long)]
    detailed_exitcode: bool,
    /// How it is shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    reach: Reach,
}

impl Diff {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let session = Session::open(&self.inventory.file, &self.reach).await?;
        session.check_names(&self.hosts)?;
        let observation = session.observe(&|_, _| {}).await;
        let plan = session.plan(&observation);
        // A host whose desired state cannot be told has a problem, and is not asked for it.
        let resources =
            |host: &_, reached: &naru_observe::Reached| session.resources(host, &reached.facts).unwrap_or_default();
        let found = differences(&session.inventory, &observation, &plan, &self.hosts, &resources);
        match self.output {
            Format::Json => print(&json(&found))?,
            Format::Text => print(&render(&found, terminal.stdout))?,
        };
        Ok(match (found.is_incomplete(), found.is_empty()) {
            (true, _) => Exit::OurFailure,
            (false, false) if self.detailed_exitcode => Exit::Pending,
            (false, _) => Exit::Done,
        })
    }
}

/// Hosts that differ in the same way are shown as one.
fn render(found: &Differences, colour: Colour) -> String {
    let mut groups: Vec<(Vec<&str>, &HostDifferences)> = Vec::new();
    for host in found.hosts.iter().filter(|host| host.unknown.is_some() || !host.differences.is_empty()) {
        let same = |other: &HostDifferences| other.unknown == host.unknown && other.differences == host.differences;
        match groups.iter_mut().find(|(_, other)| same(other)) {
            Some((names, _)) => names.push(&host.host),
            None => groups.push((vec![&host.host], host)),
        }
    }
    let mut text = String::new();
    for (hosts, host) in &groups {
        let _ = writeln!(text, "{}", paint(&names(hosts), BOLD, colour));
        if let Some(unknown) = &host.unknown {
            let _ = writeln!(text, "  {} {unknown}", paint("?", BAD, colour));
        }
        for difference in &host.differences {
            one(&mut text, difference, colour);
        }
        text.push('\n');
    }
    text + &totals(found)
}

fn one(text: &mut String, difference: &Difference, colour: Colour) {
    let (word, code) = match difference.origin {
        Origin::Drift => ("drift", BAD),
        Origin::Inventory => ("inventory", WARN),
    };
    let _ = writeln!(text, "  {}  {}", paint(&format!("{word:<9}"), code, colour), difference.summary);
    let lines = || difference.diff.iter().flat_map(|diff| diff.lines());
    for line in lines().take(MAX_DIFF_LINES) {
        let code = match line.bytes().next() {
            Some(b'+') => GOOD,
            Some(b'-') => BAD,
            _ => DIM,
        };
        let _ = writeln!(text, "      {}", paint(line, code, colour));
    }
    let hidden = lines().count().saturating_sub(MAX_DIFF_LINES);
    if hidden > 0 {
        let _ = writeln!(text, "      … {hidden} more lines (-o json has them all)");
    }
}

fn totals(found: &Differences) -> String {
    let count = |origin| {
        let all = found.hosts.iter().flat_map(|host| &host.differences);
        all.filter(|difference| difference.origin == origin).count()
    };
    let unknown = found.hosts.iter().filter(|host| host.unknown.is_some()).count();
    let hosts = plural(found.hosts.len(), "host");
    let mut text = match (count(Origin::Drift), count(Origin::Inventory)) {
        (0, 0) => format!("Cluster {}: no difference on {hosts}", found.cluster),
        (drift, inventory) => {
            let drifted = found.hosts.iter().filter(|host| !host.differences.is_empty()).count();
            format!(
                "Cluster {}: {drifted} of {hosts} differ: {drift} changed behind naru's back, {inventory} that the \
                 inventory wants otherwise",
                found.cluster
            )
        }
    };
    if unknown > 0 {
        let _ = write!(text, "; {} could not be looked at", plural(unknown, "host"));
    }
    text + ".\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, unknown: Option<&str>, differences: Vec<Difference>) -> HostDifferences {
        HostDifferences { host: name.to_owned(), unknown: unknown.map(str::to_owned), differences }
    }

    #[test]
    fn hosts_that_differ_alike_are_folded() {
        let drift = Difference {
            origin: Origin::Drift,
            summary: "change /etc/naru/node.yaml".to_owned(),
            diff: Some(
                "--- /etc/naru/node.yaml\n+++ /etc/naru/node.yaml\n@@ -1 +1 @@\n-port: 1\n+port: 2\n".to_owned(),
            ),
        };
        let wanted = Difference { origin: Origin::Inventory, summary: "set label disk=ssd".to_owned(), diff: None };
        let mut hosts = vec![host("cp1", None, Vec::new()), host("w0", Some("it cannot be reached: no route"), vec![])];
        hosts.extend((1..=9).map(|number| host(&format!("w{number}"), None, vec![drift.clone(), wanted.clone()])));
        let found = Differences { cluster: "prod".to_owned(), hosts };
        insta::assert_snapshot!("folded", render(&found, Colour::Never));
        insta::assert_snapshot!("as_json", json(&Differences { hosts: found.hosts[..3].to_vec(), ..found }));
        let none = Differences { cluster: "prod".to_owned(), hosts: vec![host("w1", None, Vec::new())] };
        assert_eq!(render(&none, Colour::Never), "Cluster prod: no difference on 1 host.\n");
    }
}
