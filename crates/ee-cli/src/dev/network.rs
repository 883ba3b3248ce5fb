//! `easyenclave dev`: control plane, agents, a rogue one and a backend, with one command.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, ExitCode},
    time::Duration,
};

use anyhow::{Context, bail};
use ee_control::ports::Clock;
use ee_protocol::{
    http::explain::AppExplanation, names::AppName, settings::Sources, time::Timestamp,
};
use ee_server::clock::SystemClock;
use ee_testbed::{DemoBackend, QuoteServer};
use tempfile::TempDir;

use super::{
    child::{self, AgentPlan, AgentSettings, Image},
    ledger::{self, Money, Posted},
    server::{SimulatedServer, quoting},
    simulation::{Seed, default},
    state::DevState,
};
use crate::{
    client::Client,
    failure::{Exit, Failure},
};

/// How long the agents may take to be judged: two seconds are the goal, machines differ.
const JUDGED_WITHIN: Duration = Duration::from_secs(30);
/// How often the network looks whether they were.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Arguments of `easyenclave dev` itself.
#[derive(Debug, Clone, clap::Args)]
pub struct NetworkArgs {
    /// The app that the agents serve
    #[arg(long, default_value = "hello", value_parser = AppName::parse)]
    app: AppName,
    /// Your own program's URL, to put it behind the network in place of the demo backend
    #[arg(long)]
    backend: Option<String>,
    /// Port of the API; 0 takes any free one
    #[arg(long, default_value_t = 8088)]
    control_port: u16,
    /// Port of the proxy listener
    #[arg(long, default_value_t = 9090)]
    proxy_port: u16,
    /// Port where the simulated platform makes quotes
    #[arg(long, default_value_t = 8089)]
    quote_port: u16,
    #[command(flatten)]
    seed: Seed,
}

/// A running development network.
struct Network {
    args: NetworkArgs,
    control: SimulatedServer,
    quotes: QuoteServer,
    _demo: Option<DemoBackend>,
    agents: Vec<(AgentPlan, Child, Timestamp)>,
    client: Client,
    money: Money,
    dir: TempDir,
}

/// Runs the network until Ctrl-C or SIGTERM.
pub async fn run(args: NetworkArgs) -> anyhow::Result<ExitCode> {
    let network = Network::start(args).await?;
    let outcome = network.introduce_until_stopped().await;
    crate::output::note("stopping: the agents end, and the network's data is deleted");
    network.stop().await?;
    outcome.map(|()| ExitCode::SUCCESS)
}

impl Network {
    async fn start(args: NetworkArgs) -> anyhow::Result<Self> {
        let dir = TempDir::with_prefix("easyenclave-dev-").context("creating a folder")?;
        let token = format!("dev-{}", random_hex()?);
        let control = SimulatedServer::start(args.seed, sources(&args, &token)).await;
        let control = control.map_err(|error| port_taken(error, &args))?;
        let quotes = quoting(args.seed, args.quote_port).await;
        let quotes = quotes.map_err(|error| port_taken(error, &args))?;
        let demo = match args.backend {
            Some(_) => None,
            None => Some(
                DemoBackend::start(loopback(0))
                    .await
                    .context("the demo backend")?,
            ),
        };
        let client = Client::new(&control.urls().0, Some(&token))?;
        let period_sec = control.server.state.settings.books_policy().period_s;
        let app = args.app.as_str();
        let money = ledger::seed(&client, app, &posted(app), period_sec).await?;
        let mut network = Self {
            args,
            control,
            quotes,
            _demo: demo,
            agents: Vec::new(),
            client,
            money,
            dir,
        };
        network.start_agents()?;
        network.save(&token)?;
        Ok(network)
    }

    fn start_agents(&mut self) -> anyhow::Result<()> {
        let app = self.args.app.as_str();
        let backend = match (&self.args.backend, &self._demo) {
            (Some(url), _) => url.clone(),
            (None, Some(demo)) => demo.url(),
            (None, None) => bail!("no backend"),
        };
        let control_ws = format!("ws://{}/v1/tunnel", self.control.server.api_addr);
        let shared = AgentSettings {
            seed: self.args.seed,
            app,
            control_ws: &control_ws,
            backend: &backend,
            log_dir: self.dir.path(),
        };
        for (id, image, machine) in [
            (format!("{app}-1"), Image::Good, 1),
            (format!("{app}-2"), Image::Good, 2),
            ("rogue".to_owned(), Image::Rogue, 3),
        ] {
            let node_token = self.money.node_tokens.get(&id).cloned();
            let plan = AgentPlan {
                id,
                image,
                machine,
                node_token,
            };
            let child = child::start(&plan, &shared)?;
            self.agents.push((plan, child, SystemClock.now()));
        }
        Ok(())
    }

    /// Lets other commands find this network: `dev kill` its agents, the client its API.
    fn save(&self, token: &str) -> anyhow::Result<()> {
        let agents = self
            .agents
            .iter()
            .map(|(plan, child, _)| (plan.id.clone(), child.id()));
        DevState {
            agents: agents.collect(),
        }
        .save(self.control_port())?;
        crate::context::save_dev(&self.control.urls().0, token)
    }

    async fn introduce_until_stopped(&self) -> anyhow::Result<()> {
        tokio::select! {
            told = super::stop_signal() => told,
            introduced = self.introduce() => {
                introduced?;
                super::stop_signal().await
            }
        }
    }

    async fn introduce(&self) -> anyhow::Result<()> {
        let (control, proxy) = self.control.urls();
        say(&format!(
            "EasyEnclave {}  DEVELOPMENT NETWORK  simulated TDX proves nothing; \
             data is deleted on exit",
            env!("CARGO_PKG_VERSION")
        ));
        say(&format!("  ok    control plane  {control}   proxy {proxy}"));
        say(&format!(
            "  ok    quoting        http://{}/quote",
            self.quotes.addr()
        ));
        for (plan, _, started) in &self.agents {
            say(&self.judged(plan, *started).await?);
        }
        say(&format!("  ok    ledger         {}", self.money.summary));
        let port = self.control.server.proxy_addr.port();
        say(&format!(
            "Next: curl http://{}.localhost:{port}/",
            self.args.app
        ));
        Ok(())
    }

    /// Waits until the control plane has judged an agent; the line that says how.
    async fn judged(&self, plan: &AgentPlan, started: Timestamp) -> anyhow::Result<String> {
        let path = format!("/v1/apps/{}/explain", self.args.app);
        let give_up = started.after(JUDGED_WITHIN);
        let (id, app) = (&plan.id, &self.args.app);
        while SystemClock.now() < give_up {
            if let Some(explanation) = self.client.get_if_found::<AppExplanation>(&path).await? {
                let took = SystemClock.now().since(started).as_millis();
                if explanation
                    .nodes
                    .iter()
                    .any(|node| node.agent == *id && node.eligible)
                {
                    let price = self.money.prices.get(id);
                    let price = price.map(|price| format!("  {price}/vCPU-h"));
                    return Ok(format!(
                        "  ok    agent {id:8} app {app}  attested in {took} ms{}",
                        price.unwrap_or_default()
                    ));
                }
                let refused = explanation
                    .refused
                    .iter()
                    .find(|attempt| attempt.agent_id == *id);
                if let Some(attempt) = refused {
                    return Ok(format!(
                        "  FAIL  agent {id:8} app {app}  {}",
                        attempt.reason
                    ));
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let log = self.dir.path().join(format!("{id}.log"));
        bail!(
            "agent {id} was not judged; its log:\n{}",
            std::fs::read_to_string(log)?
        )
    }

    fn control_port(&self) -> u16 {
        self.control.server.api_addr.port()
    }

    async fn stop(self) -> anyhow::Result<()> {
        DevState::remove(self.control_port())?;
        crate::context::remove_dev(&self.control.urls().0)?;
        for (_, child, _) in self.agents {
            child::stop(child);
        }
        self.control.stop().await
    }
}

/// A second network on the same ports is the usual reason; what to do about it.
fn port_taken(error: anyhow::Error, args: &NetworkArgs) -> anyhow::Error {
    let is_taken = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::AddrInUse)
    };
    if !error.chain().any(is_taken) {
        return error;
    }
    let NetworkArgs {
        control_port,
        proxy_port,
        quote_port,
        ..
    } = args;
    Failure::new(
        Exit::Conflict,
        "port_taken",
        format!("{error:#}; one of {control_port}, {proxy_port}, {quote_port} is in use"),
        "end the other network with Ctrl-C, or easyenclave dev --control-port 0 --proxy-port 0 \
         --quote-port 0",
    )
    .into()
}

fn sources(args: &NetworkArgs, token: &str) -> Sources {
    let mut sources = Sources::from_process();
    if args.control_port != 0 {
        let url = format!("http://127.0.0.1:{}", args.control_port);
        default(&mut sources, "EE_PUBLIC_URL", url);
    }
    for (name, value) in [
        ("EE_CONTROL_PORT", args.control_port.to_string()),
        ("EE_PROXY_PORT", args.proxy_port.to_string()),
        ("EE_ADMIN_TOKEN", token.to_owned()),
        ("EE_HEALTH_TIMEOUT_SEC", "6".to_owned()),
        // After a start nothing is held against nodes for the longer of the two (LEDGER 7): with
        // the default a node killed in the first half minute would fail nothing.
        ("EE_ATTEST_DEADLINE_SEC", "6".to_owned()),
        ("EE_PERIOD_SEC", ledger::PERIOD_SEC.to_string()),
        ("EE_SETTLEMENT_GRACE_SEC", ledger::GRACE_SEC.to_string()),
        (
            "EE_SETTLEMENT_DEADLINE_SEC",
            ledger::DEADLINE_SEC.to_string(),
        ),
        ("EE_DRAIN_SEC", "2".to_owned()),
        ("EE_LOG", "warn".to_owned()),
    ] {
        default(&mut sources, name, value);
    }
    sources
}

/// Two prices, so that the cheaper node is chosen as long as it lives.
fn posted(app: &str) -> [Posted; 2] {
    let node = |number: u32, usd| Posted {
        node: format!("{app}-{number}"),
        usd,
    };
    [node(1, "0.040"), node(2, "0.055")]
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn random_hex() -> anyhow::Result<String> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 24];
    SystemRandom::new()
        .fill(&mut bytes)
        .ok()
        .context("the system has no randomness")?;
    Ok(hex::encode(bytes))
}

#[expect(
    clippy::print_stdout,
    reason = "the introduction is what this command is for"
)]
fn say(line: &str) {
    println!("{line}");
}
