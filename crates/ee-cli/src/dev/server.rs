//! `easyenclave dev server`: the control plane alone, over a simulated platform.
//!
//! The same settings as `easyenclave-server`; what is left open falls back to loopback, a
//! throw-away database, and the simulation's collateral and allowlist. Once it serves, it prints
//! one line of JSON with its addresses, so that ports may be 0.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use ee_protocol::settings::{SecretRule, Sources};
use ee_server::{Inherited, RunningServer, Server, ServerOptions, Settings};
use ee_testbed::{QuoteServer, QuoteVersion};
use tempfile::TempDir;

use super::simulation::{Seed, World, default};

/// Name of the allowlist asset where nothing else is set; the default of `EE_ALLOWLIST_ASSET`.
pub const ALLOWLIST_ASSET: &str = "agent-attestation-allowlist.json";

/// Arguments of `easyenclave dev server`.
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    #[command(flatten)]
    seed: Seed,
    /// Make simulated quotes on this port too, for agents in any language; 0 takes any free one
    #[arg(long)]
    quote_port: Option<u16>,
}

/// A control plane over a simulation, and what must outlive it.
pub struct SimulatedServer {
    /// The running server.
    pub server: RunningServer,
    _world: World,
    _dir: TempDir,
}

impl SimulatedServer {
    /// Starts it; returns once both listeners are bound.
    pub async fn start(seed: Seed, mut sources: Sources) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("easyenclave-dev-").context("creating a folder")?;
        default(&mut sources, "EE_ALLOWLIST_ASSET", ALLOWLIST_ASSET);
        let asset = sources.env["EE_ALLOWLIST_ASSET"].clone();
        let world = seed.world(dir.path(), &asset).await?;
        world.provide(&mut sources, dir.path());
        let throw_away = dir.path().join("control-plane.db").display().to_string();
        for (name, value) in [
            ("EE_CONTROL_BIND", "127.0.0.1"),
            ("EE_PROXY_BIND", "127.0.0.1"),
            ("EE_APP_DOMAIN", "localhost"),
        ] {
            default(&mut sources, name, value);
        }
        // Books in PostgreSQL outlive the network; what is no ledger does not.
        match sources.env.contains_key("EE_DATABASE_URL") {
            true => default(
                &mut sources,
                "EE_DATA_DIR",
                dir.path().display().to_string(),
            ),
            false => default(&mut sources, "EE_DB_PATH", throw_away),
        }
        let settings = Settings::from_sources(&sources, SecretRule::AnyForDevelopment)
            .map_err(|problems| anyhow::anyhow!(super::joined(&problems)))?;
        super::log_to_stderr(&settings.log);
        let mut options = ServerOptions::new(seed.trust_root());
        options.sockets = Inherited::from_service_manager().context("LISTEN_FDS")?;
        let server = Box::pin(Server::start(settings, options)).await?;
        Ok(Self {
            server,
            _world: world,
            _dir: dir,
        })
    }

    /// `http://` URLs of the API and the proxy listener.
    pub fn urls(&self) -> (String, String) {
        let url = |addr: std::net::SocketAddr| format!("http://{addr}");
        (url(self.server.api_addr), url(self.server.proxy_addr))
    }

    /// Serves until SIGTERM or Ctrl-C, or until a task of the server dies; then drains.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let stopping = self.server.state.tasks.stopping();
        tokio::select! {
            told = super::stop_signal() => told?,
            () = stopping.cancelled() => {}
        }
        self.stop().await
    }

    /// Drains and ends.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.server.shutdown();
        self.server.join().await?;
        Ok(())
    }
}

/// Runs the control plane until SIGTERM or Ctrl-C.
pub async fn run(args: ServerArgs) -> anyhow::Result<ExitCode> {
    let running = SimulatedServer::start(args.seed, Sources::from_process()).await?;
    let quotes = match args.quote_port {
        Some(port) => Some(quoting(args.seed, port).await?),
        None => None,
    };
    let (control, proxy) = running.urls();
    let mut ready = serde_json::json!({ "control": control, "proxy": proxy });
    if let Some(quotes) = &quotes {
        ready["quote"] = format!("{}/quote", quotes.url()).into();
    }
    writeln!(std::io::stdout(), "{ready}").context("printing the addresses")?;
    running.run_until_stopped().await?;
    Ok(ExitCode::SUCCESS)
}

/// Serves quotes of the demo image on loopback.
pub async fn quoting(seed: Seed, port: u16) -> anyhow::Result<QuoteServer> {
    let address = (std::net::Ipv4Addr::LOCALHOST, port).into();
    QuoteServer::start(address, seed.platform(), &seed.image(), QuoteVersion::V4)
        .await
        .with_context(|| format!("quoting on port {port} (see --quote-port)"))
}
