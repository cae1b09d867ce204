//! Controllers and scheduler alone against the API server at the URL given, without credentials: for trying things out.

use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:17443".into());
    let mut config = kube::Config::new(url.parse()?);
    config.read_timeout = None;
    let client = kube::Client::try_from(config)?;
    let (stop, shutdown) = tokio::sync::watch::channel(false);
    let controllers = naru_controllers::Config {
        root_ca_pem: Some("not a certificate\n".into()),
        node_monitor_grace: Duration::from_secs(8),
        ..naru_controllers::Config::default()
    };
    let running = tokio::spawn(controllers.run(client.clone(), shutdown.clone()));
    let scheduling = tokio::spawn(naru_scheduler::Config::default().run(client, shutdown));
    tokio::signal::ctrl_c().await?;
    stop.send_replace(true);
    running.await??;
    scheduling.await?;
    Ok(())
}
