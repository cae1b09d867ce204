//! The linter: what is to be said about hosts, their network and the plan before anything changes. One table of rules;
//! each looks at one host with the whole fleet at hand. An error leaves the host out.

mod checks;
mod fleet;

use naru_observe::{HostObservation, Observation};

use crate::desired::Blueprint;
use crate::plan::{Finding, FindingCode, Severity};
use crate::planner::Options;

pub(crate) use checks::{carries_control_plane, refused_role};
use fleet::{Fleet, View};

/// What a rule found: how bad, in words, what to do.
struct Found {
    severity: Severity,
    text: String,
    hint: Option<String>,
}

impl Found {
    fn error(text: impl Into<String>) -> Self {
        Self { severity: Severity::Error, text: text.into(), hint: None }
    }

    fn warning(text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, text: text.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// On which hosts a rule looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// Hosts on which nothing of ours runs yet: what our own programs would show later says nothing then.
    Fresh,
    /// Hosts that are not on their way out: apply mends nothing on those.
    Staying,
    All,
}

impl On {
    fn holds(self, view: &View<'_>) -> bool {
        match self {
            Self::Fresh => view.is_fresh,
            Self::Staying => view.host.state.is_present(),
            Self::All => true,
        }
    }
}

struct Rule {
    code: FindingCode,
    on: On,
    check: fn(&Fleet<'_>, &View<'_>) -> Vec<Found>,
}

const fn rule(code: FindingCode, on: On, check: fn(&Fleet<'_>, &View<'_>) -> Vec<Found>) -> Rule {
    Rule { code, on, check }
}

/// Every rule about a single host.
const RULES: [Rule; 19] = [
    rule(FindingCode::DuplicateMachineId, On::All, checks::duplicate_machine_id),
    rule(FindingCode::DuplicateAddress, On::All, checks::duplicate_address),
    rule(FindingCode::ClockSkew, On::All, checks::clock_skew),
    rule(FindingCode::LittleMemory, On::Fresh, checks::little_memory),
    rule(FindingCode::LittleDisk, On::All, checks::little_disk),
    rule(FindingCode::PortInUse, On::Fresh, checks::port_in_use),
    rule(FindingCode::PortUnreachable, On::All, checks::port_unreachable),
    rule(FindingCode::MtuMismatch, On::All, checks::mtu_mismatch),
    rule(FindingCode::NoResolver, On::Fresh, checks::no_resolver),
    rule(FindingCode::NameUnresolved, On::All, checks::name_unresolved),
    rule(FindingCode::NetworkClash, On::Fresh, checks::network_clash),
    rule(FindingCode::OtherKubernetes, On::All, checks::other_kubernetes),
    rule(FindingCode::UnsupportedSystem, On::All, checks::unsupported_system),
    rule(FindingCode::OldKernel, On::All, checks::old_kernel),
    rule(FindingCode::SwapInUse, On::Fresh, checks::swap_in_use),
    rule(FindingCode::CertificateExpires, On::Staying, checks::certificate_expires),
    rule(FindingCode::ProxyMissing, On::Fresh, checks::proxy_missing),
    rule(FindingCode::RoleChange, On::All, checks::role_change),
    rule(FindingCode::Drift, On::Staying, checks::drift),
];

/// Workers from which on one control plane is worth a word.
const MANY_WORKERS: usize = 10;

pub(crate) fn check(blueprint: &Blueprint<'_>, observation: &Observation, options: &Options) -> Vec<Finding> {
    let fleet = Fleet::new(blueprint, observation);
    let mut findings = Vec::new();
    for host in &blueprint.inventory.spec.hosts {
        let Some(HostObservation::Reached(reached)) = observation.hosts.get(&host.name) else { continue };
        if !options.means(&host.name) {
            continue;
        }
        let view = View { host, reached, is_fresh: fleet::is_fresh(reached) };
        for rule in RULES.iter().filter(|rule| rule.on.holds(&view)) {
            for Found { severity, text, hint } in (rule.check)(&fleet, &view) {
                findings.push(Finding { severity, code: rule.code, host: Some(host.name.clone()), text, hint });
            }
        }
    }
    findings.extend(single_point_of_failure(blueprint));
    findings
}

fn single_point_of_failure(blueprint: &Blueprint<'_>) -> Option<Finding> {
    let workers = blueprint.inventory.present_hosts().count() - blueprint.control_planes.len();
    let [only] = blueprint.control_planes.as_slice() else { return None };
    (workers >= MANY_WORKERS).then(|| Finding {
        severity: Severity::Warning,
        code: FindingCode::SinglePointOfFailure,
        host: Some(only.name.clone()),
        text: format!("{workers} workers depend on this one control plane"),
        hint: None,
    })
}
