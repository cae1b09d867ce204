//! The agent alone, as a program: `agent [ignored…] [--root DIRECTORY]`. What `naru-node agent` is to hosts, this is
//! to tests.

use naru_agent::{Host, serve_stdio_on};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = arguments.iter().position(|argument| argument == "--root").and_then(|at| arguments.get(at + 1));
    let host = root.map_or_else(Host::local, Host::rooted);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve_stdio_on(host))?;
    Ok(())
}
