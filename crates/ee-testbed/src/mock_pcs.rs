//! A mock PCS and PCCS: the v4 URL layout of Intel's service, with the faults of real mirrors.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use http::{Method, Response, StatusCode};

use crate::{
    collateral::{Collateral, PcsItem},
    platform::SimPlatform,
    serve::{Ask, Body, Fake, answer, any_port, query, text},
};

/// How the mirror behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PcsMode {
    /// Serves what is current.
    Normal,
    /// Answers 503.
    Outage,
    /// Goes on serving what was current at this time.
    Stale {
        /// Unix seconds.
        since: u64,
    },
    /// Serves collateral with lower numbers that is still valid.
    Rollback,
    /// Serves what is current, late.
    Slow(Duration),
    /// Answers 200 with a web page, as captive portals do.
    Garbage,
    /// Signs nothing anew: serves the right texts with one signature bit flipped.
    BadSignature,
}

/// Seconds since the Unix epoch, from whoever may read a clock.
pub type UnixClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A mock PCS on loopback; it stops when it is dropped.
pub struct MockPcs {
    fake: Fake,
    state: Arc<Mutex<State>>,
}

struct State {
    platform: SimPlatform,
    mode: PcsMode,
    requests: Vec<String>,
}

impl MockPcs {
    /// Serves the collateral of `platform`; `now` is asked at each request.
    pub async fn start(
        platform: SimPlatform,
        now: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let state = State {
            platform,
            mode: PcsMode::Normal,
            requests: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let now: UnixClock = Arc::new(now);
        let handler = move |ask: Ask| respond(Arc::clone(&shared), Arc::clone(&now), ask);
        Ok(Self {
            fake: Fake::start(any_port(), handler).await?,
            state,
        })
    }

    /// What `EE_PCCS_URL` takes.
    pub fn url(&self) -> String {
        self.fake.url()
    }

    /// Changes the behaviour from the next request on.
    pub fn set_mode(&self, mode: PcsMode) {
        lock(&self.state).mode = mode;
    }

    /// Serves another platform's collateral from the next request on.
    pub fn set_platform(&self, platform: SimPlatform) {
        lock(&self.state).platform = platform;
    }

    /// Paths and queries so far, in order.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }
}

async fn respond(state: Arc<Mutex<State>>, now: UnixClock, ask: Ask) -> Response<Body> {
    let (platform, mode) = {
        let mut state = lock(&state);
        state.requests.push(ask.uri().to_string());
        (state.platform.clone(), state.mode.clone())
    };
    let collateral = match mode {
        PcsMode::Normal => platform.collateral(now()),
        PcsMode::Outage => return text(StatusCode::SERVICE_UNAVAILABLE, "maintenance\n"),
        PcsMode::Stale { since } => platform.collateral(since),
        PcsMode::Rollback => platform.rolled_back_collateral(now()),
        PcsMode::Slow(delay) => {
            tokio::time::sleep(delay).await;
            platform.collateral(now())
        }
        PcsMode::Garbage => return answer(StatusCode::OK, "text/html", "<h1>Welcome</h1>"),
        PcsMode::BadSignature => spoilt(platform.collateral(now())),
    };
    serve_item(&platform, &collateral, &ask)
}

fn serve_item(platform: &SimPlatform, collateral: &Collateral, ask: &Ask) -> Response<Body> {
    if ask.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n");
    }
    let items = collateral.pcs_items();
    match ask.uri().path() {
        "/tdx/certification/v4/tcb" if knows_fmspc(platform, ask) => found(items.tcb_info, JSON),
        "/tdx/certification/v4/qe/identity" => found(items.qe_identity, JSON),
        "/sgx/certification/v4/pckcrl" if query(ask, "ca") == Some(platform.ca().as_str()) => {
            found(items.pck_crl, CRL)
        }
        // A PCCS answers the root's list in hexadecimal, Intel's own host in DER.
        "/sgx/certification/v4/rootcacrl" => answer(
            StatusCode::OK,
            "text/plain",
            hex::encode(items.root_crl.body),
        ),
        "/IntelSGXRootCA.der" => found(items.root_crl, CRL),
        _ => text(StatusCode::NOT_FOUND, "no such item\n"),
    }
}

const JSON: &str = "application/json";
const CRL: &str = "application/pkix-crl";

fn knows_fmspc(platform: &SimPlatform, ask: &Ask) -> bool {
    let asked = query(ask, "fmspc").and_then(|text| hex::decode(text).ok());
    asked.is_some_and(|fmspc| fmspc == platform.collateral_fmspc())
}

fn found(item: PcsItem, content_type: &str) -> Response<Body> {
    let mut response = answer(StatusCode::OK, content_type, item.body);
    if let Some((name, chain)) = item.chain_header {
        let value = chain
            .parse()
            .expect("percent-encoding leaves visible ASCII");
        response.headers_mut().insert(name, value);
    }
    response
}

fn spoilt(mut collateral: Collateral) -> Collateral {
    let last = |bytes: &mut Vec<u8>| {
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
    };
    last(&mut collateral.tcb_info_signature);
    last(&mut collateral.qe_identity_signature);
    last(&mut collateral.pck_crl);
    last(&mut collateral.root_ca_crl);
    collateral
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state
        .lock()
        .expect("no handler panics while it holds the state")
}
