//! One request through each tunnel of a swarm, by its own app: whether it is routable in truth.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::agents;
use crate::load::{self, Load};

/// Requests at once.
const AT_ONCE: u32 = 32;

/// Fails unless each of the apps answers 200 at once.
pub fn run(proxy: SocketAddr, count: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime")?;
    runtime.block_on(async {
        let mut lanes = JoinSet::new();
        for lane in 0..AT_ONCE {
            lanes.spawn(async move {
                for number in (lane..count).step_by(AT_ONCE as usize) {
                    ask(proxy, number).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(lane) = lanes.join_next().await {
            lane.context("a lane of the sweep")??;
        }
        Ok(())
    })
}

async fn ask(proxy: SocketAddr, number: u32) -> Result<()> {
    let app = agents::app(number);
    let once = Load {
        length: Duration::from_secs(10),
        requests_max: 1,
        ..Load::get(proxy, format!("{app}.localhost"), "/bytes/1")
    };
    let answer = load::run(&once).await.with_context(|| app.clone())?;
    ensure!(answer.refused == 0, "{app} is not routable");
    Ok(())
}
