//! `naru kubeconfig`: an administrator's kubeconfig. The key is made here and printed, never kept; the certificate is
//! signed on a control-plane host and lives as long as `--ttl` says.

use clap::Args;
use jiff::SignedDuration;
use naru_inventory::Inventory;
use naru_observe::{Fleet, HostAgent};
use naru_plan::{AUTHORITY_KEY, administrator_certificate};

use super::print;
use crate::exit::{Exit, Failure};
use crate::session::{InventoryFile, Reach, Session};

/// A longer life than a year is a mistake: there is no way to take a certificate back.
const MAX_TTL_DAYS: i64 = 365;
const API_PORT: u16 = 6443;

#[derive(Debug, Args)]
pub(crate) struct Kubeconfig {
    #[command(flatten)]
    inventory: InventoryFile,
    /// How long it is valid, such as 18h or 7d.
    #[arg(long, default_value = "18h", value_parser = ttl)]
    ttl: SignedDuration,
    #[command(flatten)]
    reach: Reach,
}

fn ttl(text: &str) -> Result<SignedDuration, String> {
    let duration = match text.strip_suffix('d').map(str::parse::<i64>) {
        Some(Ok(days)) if (1..=MAX_TTL_DAYS).contains(&days) => SignedDuration::from_hours(days * 24),
        _ => text.parse::<SignedDuration>().map_err(|_| "expected a time span such as 18h or 7d".to_owned())?,
    };
    let allowed = SignedDuration::from_mins(1)..=SignedDuration::from_hours(MAX_TTL_DAYS * 24);
    if allowed.contains(&duration) { Ok(duration) } else { Err("allowed are one minute to 365 days".to_owned()) }
}

impl Kubeconfig {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let session = Session::open(&self.inventory.file, &self.reach).await?;
        let mut problems = Vec::new();
        for host in session.inventory.control_planes() {
            match session.fleet.connect(host).await {
                Ok(agent) => {
                    let endpoint = session.inventory.spec.control_plane.endpoint.clone();
                    let server = endpoint.unwrap_or_else(|| format!("{}:{API_PORT}", host.address));
                    return print(&self.sign(&session.inventory, agent.as_ref(), &server).await?);
                }
                Err(problem) => problems.push(Failure::problem(&host.name, &problem)),
            }
        }
        Err(problems
            .pop()
            .unwrap_or_else(|| Failure::ours("no control plane runs").hint("`naru apply` makes and starts machines")))
    }

    async fn sign(&self, inventory: &Inventory, agent: &dyn HostAgent, server: &str) -> Result<String, Failure> {
        let certificate = administrator_certificate(self.ttl.unsigned_abs());
        crate::fleet::kubeconfig(inventory.name(), agent, certificate, AUTHORITY_KEY, server).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighteen_hours_are_asked_for_as_eighteen_hours() {
        let seconds = |text| administrator_certificate(ttl(text).unwrap().unsigned_abs()).validity().as_secs();
        assert_eq!(seconds("18h"), 18 * 3_600);
        assert_eq!(seconds("7d"), 7 * 86_400);
        assert_eq!(seconds("90s"), 90);
        assert!(ttl("30s").is_err() && ttl("366d").is_err() && ttl("-1h").is_err() && ttl("soon").is_err());
    }
}
