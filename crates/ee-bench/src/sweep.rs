//! One request through each tunnel of a swarm, by its own app: whether it is routable in truth.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::agents;
use crate::load::{Line, Load};

/// Requests at once.
const AT_ONCE: u32 = 32;

/// How many of the apps do not answer 200 at once, and what the first of them said instead.
pub struct Missed {
    pub count: usize,
    pub example: String,
}

/// Asks every app once.
pub fn run(proxy: SocketAddr, count: u32) -> Result<Missed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime")?;
    runtime.block_on(async {
        let mut lanes = JoinSet::new();
        for lane in 0..AT_ONCE {
            lanes.spawn(async move {
                let mut missed = Vec::new();
                for number in (lane..count).step_by(AT_ONCE as usize) {
                    missed.extend(ask(proxy, number).await?);
                }
                anyhow::Ok(missed)
            });
        }
        let mut missed = Vec::new();
        while let Some(lane) = lanes.join_next().await {
            missed.extend(lane.context("a lane of the sweep")??);
        }
        Ok(Missed {
            count: missed.len(),
            example: missed.into_iter().next().unwrap_or_default(),
        })
    })
}

/// What the app of an agent says instead of 200.
async fn ask(proxy: SocketAddr, number: u32) -> Result<Option<String>> {
    let app = agents::app(number);
    let load = Load::get(proxy, format!("{app}.localhost"), "/once");
    let mut line = Line::open(&load).await.with_context(|| app.clone())?;
    let (accepted, _) = line.ask().await.with_context(|| app.clone())?;
    let status = line.last_head().lines().next().unwrap_or_default();
    Ok((!accepted).then(|| format!("{app}: {status}")))
}
