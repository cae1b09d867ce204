//! `naru explain`: where the chain from machine to Ready node is broken, what shows it, and what to do about it.

use std::fmt::Write as _;

use clap::Args;
use naru_agent::LinkName;
use naru_inventory::{Host, Role};
use naru_plan::Colour;

use super::{Format, json, print};
use crate::chain::{self, Chain, Seen, State};
use crate::cli::Terminal;
use crate::exit::{Exit, Failure};
use crate::session::{AnyInventory, Reach, Session};
use crate::style::{BAD, BOLD, DIM, GOOD, indent, paint};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 every link holds, 1 a mistake of yours, 2 a link is broken.")]
pub(crate) struct Explain {
    /// The host.
    host: String,
    #[command(flatten)]
    inventory: AnyInventory,
    /// How it is shown.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    reach: Reach,
}

impl Explain {
    pub(crate) async fn run(self, terminal: Terminal) -> Result<Exit, Failure> {
        let session = Session::open(self.inventory.file(), &self.reach).await?;
        let chain = match session.is_missing(&self.host) {
            Some((role, is_off)) => chain::of_missing(&session.inventory, &Host::new(&self.host, role, ""), is_off),
            None => chain::walk(&session.inventory, session.host(&self.host)?, &session.fleet).await,
        };
        match self.output {
            Format::Json => print(&json(&chain))?,
            Format::Text => print(&render(&chain, terminal.stdout))?,
        };
        Ok(if chain.broken.is_none() { Exit::Done } else { Exit::OurFailure })
    }
}

/// What a link is called on the screen.
fn title(name: LinkName) -> &'static str {
    match name {
        LinkName::Machine => "machine",
        LinkName::Ssh => "SSH",
        LinkName::Agent => "agent",
        LinkName::Disk => "disk",
        LinkName::Runtime => "runtime",
        LinkName::Certificates => "certificates",
        LinkName::Etcd => "etcd",
        LinkName::ControlPlane => "control plane",
        LinkName::Kubelet => "kubelet",
        LinkName::Api => "API",
        LinkName::Cni => "CNI",
        LinkName::Ready => "Ready",
    }
}

fn render(chain: &Chain, colour: Colour) -> String {
    let role = match chain.role {
        Role::ControlPlane => "control plane",
        Role::Worker => "worker",
    };
    let address = if chain.address.is_empty() { String::new() } else { format!("{}, ", chain.address) };
    let mut text = format!("{}  {address}{role} of cluster {}\n\n", paint(&chain.host, BOLD, colour), chain.cluster);
    for seen in &chain.links {
        link(&mut text, seen, colour);
    }
    let end = match chain.broken {
        None => format!("{}: every link holds.", chain.host),
        Some(name) => format!("{}: the chain breaks at: {}.", chain.host, title(name)),
    };
    let _ = writeln!(text, "\n{}", paint(&end, if chain.broken.is_none() { GOOD } else { BAD }, colour));
    text
}

fn link(text: &mut String, seen: &Seen, colour: Colour) {
    let link = &seen.link;
    let (mark, code) = match seen.state {
        State::Holds => ("✓", GOOD),
        State::Broken => ("✗", BAD),
        State::Consequence => ("·", DIM),
        State::Unknown => ("?", DIM),
    };
    let mut lines = link.found.lines();
    let first = lines.next().unwrap_or_default();
    let row = format!("{mark} {:<13}  {first}", title(link.name));
    let row = match seen.state {
        State::Holds => format!("{}{}", paint(mark, code, colour), row.trim_start_matches(mark)),
        State::Consequence => paint(&format!("{row} (follows from the above)"), code, colour),
        State::Broken | State::Unknown => paint(&row, code, colour),
    };
    let _ = writeln!(text, "  {}", row.trim_end());
    for line in lines {
        let _ = writeln!(text, "{}", indent(line, "                   "));
    }
    if seen.state != State::Broken {
        return;
    }
    for (word, what) in [("log", &link.log), ("fix", &link.hint)] {
        for (index, line) in what.iter().flat_map(|what| what.lines()).enumerate() {
            let word = if index == 0 { word } else { "" };
            let _ = writeln!(text, "      {word:<3}  {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use naru_agent::Link;

    use super::*;

    fn chain(broken: Option<LinkName>) -> Chain {
        use LinkName::{Agent, Machine, Ready, Runtime, Ssh};
        let link = |name| {
            let (state, hint) = match broken {
                Some(place) if place == name => (State::Broken, Some("systemctl restart containerd".to_owned())),
                Some(place) if place < name => (State::Consequence, Some("not shown".to_owned())),
                _ => (State::Holds, None),
            };
            let log = hint.is_some().then(|| "containerd: level=fatal no space\nsecond line".to_owned());
            let found = format!("what was found at the {}", title(name));
            Seen { state, link: Link { name, holds: state == State::Holds, found, log, hint } }
        };
        Chain {
            cluster: "prod".to_owned(),
            host: "w1".to_owned(),
            address: "10.0.0.21".to_owned(),
            role: Role::Worker,
            broken,
            links: [Machine, Ssh, Agent, Runtime, Ready].map(link).into(),
        }
    }

    #[test]
    fn the_first_broken_link_shows_its_log_and_its_fix() {
        insta::assert_snapshot!("broken", render(&chain(Some(LinkName::Runtime)), Colour::Never));
        insta::assert_snapshot!("well", render(&chain(None), Colour::Never));
        insta::assert_snapshot!("as_json", json(&chain(Some(LinkName::Runtime))));
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let coloured = render(&chain(Some(LinkName::Runtime)), Colour::Always);
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(plain + rest, render(&chain(Some(LinkName::Runtime)), Colour::Never));
    }
}
