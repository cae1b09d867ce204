//! Asks one host by hand: `ask USER@ADDRESS[:PORT] KEY-FILE HOST-KEY AGENT-PROGRAM` reads requests from stdin, one JSON
//! document per line, and prints the responses. NARU_ASK_PASSWORD is what sudo or doas may ask for.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use naru_hosts::{
    AgentProgram, Credentials, Deadlines, Dialer, Elevation, HostAddress, HostError, HostKeyPolicy, HostLink, Route,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [target, key, host_key, program] = words.as_slice() else { return Err("four arguments are needed".into()) };
    let (user, address) = target.split_once('@').ok_or("USER@ADDRESS is needed")?;
    let (address, port) = address.split_once(':').unwrap_or((address, "22"));
    let host = HostAddress {
        name: address.to_owned(),
        address: address.to_owned(),
        port: port.parse()?,
        user: user.to_owned(),
    };
    let route = Route {
        host,
        credentials: Credentials { identity_files: vec![PathBuf::from(key)], ..Credentials::default() },
        host_keys: HostKeyPolicy::Pinned(vec![host_key.clone()]),
        elevation: Elevation {
            password: std::env::var("NARU_ASK_PASSWORD").ok().map(|text| Arc::new(text.into())),
            ..Elevation::default()
        },
        deadlines: Deadlines::default(),
        via: None,
    };
    let link = HostLink::new(Dialer::silent(), route, Arc::new(AgentProgram::read(Path::new(program))?));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let connection = link.agent().await.map_err(told)?;
        say(&format!("connected in {:?}", started.elapsed()));
        for line in std::io::stdin().lock().lines() {
            let started = Instant::now();
            match connection.call(&serde_json::from_str(&line?)?).await {
                Ok(response) => say(&serde_json::to_string_pretty(&response)?),
                Err(error) => say(&told(error)),
            }
            say(&format!("({:?})", started.elapsed()));
        }
        connection.close().await;
        Ok(())
    })
}

fn told(error: HostError) -> String {
    let detail = error.detail().unwrap_or_default();
    format!("error: {error}\n{detail}\nhint: {}", error.hint().unwrap_or_default())
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
