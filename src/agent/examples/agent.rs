//! The agent alone, as a program: `agent [ignored…] [--root DIRECTORY]`, or `agent revert ID [--root DIRECTORY]` for
//! a watcher over a change. What `naru-node agent` is to hosts, this is to tests.

use naru_agent::{Host, run_watcher, serve_stdio_on};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after =
        |word: &str| arguments.iter().position(|argument| argument == word).and_then(|at| arguments.get(at + 1));
    let host = after("--root").map_or_else(Host::local, Host::rooted);
    if let Some(id) = after("revert") {
        return Ok(run_watcher(&host, id)?);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve_stdio_on(host))?;
    Ok(())
}
