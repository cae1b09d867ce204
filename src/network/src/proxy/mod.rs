//! Services as nftables: one map lookup finds a service whatever their number, one rule picks an endpoint. What should
//! be is computed from the caches (`endpoints`), compared with what was last written, and only the difference goes to
//! `nft`, in one transaction (`ruleset`).

mod endpoints;
mod ruleset;

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tracing::{debug, warn};

use crate::watch::Watched;
use crate::{Config, Error};
use ruleset::Ruleset;

/// After a refusal everything is written anew, this much later.
const RETRY: Duration = Duration::from_secs(2);

pub(crate) async fn run(config: Config, mut watched: Watched) -> Result<(), Error> {
    watched.ready().await;
    let mut written: Option<Ruleset> = None;
    loop {
        let wanted = endpoints::ruleset(&config, &watched.services.state(), &watched.slices.state());
        let script = match &written {
            None => Some(wanted.whole()),
            Some(written) => wanted.difference(written),
        };
        if let Some(script) = script {
            debug!(bytes = script.len(), "writing service rules");
            match nft(&script).await {
                Ok(()) => written = Some(wanted),
                Err(error) => {
                    warn!(error = %error, "service rules were not written; trying again from scratch");
                    written = None;
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        watched.changed().await;
    }
}

async fn nft(script: &str) -> Result<(), Error> {
    let failed = |source| Error::Io { action: "run nft".to_owned(), source };
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("stdin was piped");
    // nft reads all its input before it writes anything long, so this cannot block both sides.
    stdin.write_all(script.as_bytes()).await.map_err(failed)?;
    drop(stdin);
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).lines().take(3).collect::<Vec<_>>().join(" ");
    Err(Error::Nft { message })
}
