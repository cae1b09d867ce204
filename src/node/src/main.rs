//! `naru-node`: the program on every host. `run` is the node itself; `agent` serves `naru` over stdin and stdout.

fn main() {}
