//! The simulator: a fleet in memory that answers as agents, SSH and the API do, under virtual time and from one seed.
//! The real observation, planner and executor work on it; what can go wrong goes wrong wherever it can, and what must
//! never happen is looked for at every change. A seed that finds something replays it:
//! `cargo xtask simulate --seed N`.

pub mod campaign;
mod cluster;
mod fault;
mod fleet;
mod kubernetes;
pub mod machine;
pub mod operator;
mod random;
pub mod scenario;
pub mod seeds;
mod still;
mod watch;
mod world;

use std::sync::Arc;

use futures::future::LocalBoxFuture;

pub use cluster::Cluster;
pub use fault::{Fault, FaultKind};
pub use fleet::SimulatedFleet;
pub use kubernetes::Workload;
pub use random::Random;
pub use still::StillFleet;
pub use world::{EtcdCluster, RanHook, State, World, difference};

/// Runs work in a world that goes on from this state, under virtual time: whenever everything waits, the clock jumps
/// to the next moment at which something happens.
pub fn simulation<T>(state: State, work: impl FnOnce(Arc<World>) -> LocalBoxFuture<'static, T>) -> (T, State) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without input and output needs nothing that could be missing");
    runtime.block_on(async {
        let world = World::new(state);
        let done = work(world.clone()).await;
        (done, world.end())
    })
}
