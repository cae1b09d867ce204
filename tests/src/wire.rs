//! What happens to a machine's network cable, done from outside the machine: packets are counted, dropped after so many
//! bytes, or dropped altogether.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{Context, command};

const DEADLINE: Duration = Duration::from_secs(20);
const TABLE: &str = "naru_test_wire";

impl Context {
    /// Puts these nft rules before everything that arrives at a machine, in place of earlier ones of this kind.
    ///
    /// # Errors
    /// When nft refuses them.
    pub fn wire(&self, host: &str, rules: &[&str]) -> Result<()> {
        let lines: String = rules.iter().map(|rule| format!("    {rule}\n")).collect();
        let table = format!(
            "table inet {TABLE} {{}}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n  chain input {{\n    \
             type filter hook input priority -300; policy accept;\n{lines}  }}\n}}\n"
        );
        let machine = self.host(host)?;
        let mut nft = self.machines.in_network(&machine, "/usr/sbin/nft")?;
        command(nft.args(["-f", "-"]), Some(&table), DEADLINE)?.ok().map(drop)
    }

    /// Takes the rules away.
    ///
    /// # Errors
    /// When nft fails.
    pub fn mend_wire(&self, host: &str) -> Result<()> {
        let machine = self.host(host)?;
        let text = format!("table inet {TABLE} {{}}\ndelete table inet {TABLE}\n");
        let mut nft = self.machines.in_network(&machine, "/usr/sbin/nft")?;
        command(nft.args(["-f", "-"]), Some(&text), DEADLINE)?.ok().map(drop)
    }

    /// Bytes that the first `counter` of the rules has seen.
    ///
    /// # Errors
    /// When there is no counter.
    pub fn counted_bytes(&self, host: &str) -> Result<u64> {
        let machine = self.host(host)?;
        let mut nft = self.machines.in_network(&machine, "/usr/sbin/nft")?;
        let said = command(nft.args(["-j", "list", "table", "inet", TABLE]), None, DEADLINE)?.ok()?;
        let said: Value = serde_json::from_str(&said)?;
        let rules = said["nftables"].as_array().into_iter().flatten();
        let parts = rules.filter_map(|one| one["rule"]["expr"].as_array()).flatten();
        parts.filter_map(|part| part["counter"]["bytes"].as_u64()).next().context("the rules have no counter")
    }
}
