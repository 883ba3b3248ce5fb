//! Bodies of the ledger's routes, told as a story to whole books in memory.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use ee_control::{
    abuse,
    answers::{Answered, Caller, Failure, Reads},
    books::BooksHandle,
    credits, locks, nodes,
    ports::Clock,
    sequencer, settlements, usage,
};
use ee_core::books::{Policy, Principal, principal::Role};
use ee_protocol::{
    http::{
        abuse::{AbuseRequest, DecisionRequest, SlashRequest},
        credits::{BatchRequest, PayoutRequest, PurchaseRequest, TransferRequest},
        ledger::ClockRequest,
        locks::{LockRequest, PayerRequest},
        nodes::{NodeRequest, StakeRequest},
        settlements::{FactRequest, FinalizeRequest},
        tokens::{RotateRequest, TokenRequest},
        usage::UsageRequest,
    },
    names::{AppName, NodeId},
    problem::Problem,
    time::Timestamp,
};
use ee_store::ledger::{Ledger, MemoryLedger};
use tokio::sync::oneshot;

use super::text;
use crate::{Target, seeds};

pub const TARGET: Target = Target {
    name: "ledger-bodies",
    about: "bodies of the ledger's routes, told as a story to whole books in memory",
    run,
    seeds: stories,
    longest: 4 * 1024,
    floor: 6000,
};

/// When every story begins: 2026-11-22T12:00:00Z.
const BEGIN_US: i64 = 1_795_348_800_000_000;
/// Requests of one story.
const REQUESTS_MAX: usize = 40;

fn stories() -> Vec<Vec<u8>> {
    let begin = [
        r#"p{"account_id":"alice","amount_usd":"25.00","external_ref":"pay-1"}"#,
        r#"n{"node_id":"n1","price_usd":0.04,"vcpus":4,"allow_update":true}"#,
    ];
    let money = [
        r#"t{"from_account":"alice","to_account":"bob","amount_usd":1.5}"#,
        r#"T{"id":"t1","from_account":"alice","to_account":"bob","amount_usd":"0.000001"}"#,
        r#"b{"transfers":[{"id":"b1","from_account":"alice","to_account":"bob","amount_usd":1,"chain":true},{"id":"b2","from_account":"bob","to_account":"alice","amount_usd":1e30}]}"#,
        r#"o{"id":"o1","account_id":"bob","amount_usd":"0.5","external_ref":"out-1"}"#,
    ];
    let compute = [
        r#"l{"id":"l1","account_id":"alice","node_id":"n1","vcpus":2,"period":"2026-11-22T13Z","mode":"metered"}"#,
        r#"u{"account_id":"alice","node_id":"n1","period_start":"2026-11-22T13:00:00Z","period_end":"2026-11-22T14:00:00+00:00","vcpu_hours":0.25,"usage_id":"u1"}"#,
        r#"F{"node_id":"n1","track":"health","from":"2026-11-22T13:00:00Z","until":"2026-11-22T14:00:00Z"}"#,
        r#"a{"node_id":"n1","period_start":"2026-11-22T13:00:00Z","period_end":"2026-11-22T14:00:00Z","reason":"spam","reported_by":"bob"}"#,
        r#"d{"action":"authorize","authorized_by":"owner"}"#,
        "W7200",
        r#"f{"node_id":"n1","period_start":"2026-11-22T13:00:00Z","period_end":"2026-11-22T14:00:00Z"}"#,
    ];
    let stake = [
        r#"s{"id":"s1","action":"deposit","amount_usd":"5","account_id":"alice"}"#,
        r#"x{"id":"x1","node_id":"n1","reason":"attestation_fraud","evidence":"seen"}"#,
        r#"y{"action":"authorize","authorized_by":"owner"}"#,
        r#"s{"id":"s2","action":"withdraw","amount_usd":"1"}"#,
        r#"P{"account_id":"alice","vcpus":1,"max_price_usd":"0.05","nodes_max":2}"#,
        "R",
        r#"k{"role":"account","resources":["account=alice"],"expires_in_s":60}"#,
        r#"c{"now":"2026-11-22T13:00:00Z"}"#,
    ];
    let story = |rest: &[&str]| [&begin[..], rest].concat().join("\n").into_bytes();
    let mut seeds = vec![story(&money), story(&compute), story(&stake)];
    seeds.extend(seeds::texts(&[begin[0], compute[1], stake[0]]));
    seeds
}

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::SeqCst))
    }
}

fn run(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(tell(text));
}

async fn tell(text: &str) {
    let clock = Arc::new(HandClock(AtomicI64::new(BEGIN_US)));
    let memory = Ledger::Memory(MemoryLedger::new(*b"ledger of a fuzz"));
    let port: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
    let opened = sequencer::open(memory, port, Policy::documented()).await;
    let (books, sequencer) = opened.expect("books in memory open");
    let (told, stop) = oneshot::channel::<()>();
    let story = async {
        let teller = Teller::new(&books, &clock);
        for line in text.split('\n').take(REQUESTS_MAX) {
            teller.request(line).await;
        }
        let sound = books.read(|books| books.audit()).await;
        assert!(matches!(sound, Ok(Ok(()))), "the books add up: {sound:?}");
        // The sequencer may have ended already.
        let _ended = told.send(());
    };
    let stop = async {
        let _told = stop.await;
    };
    let (stopped, ()) = tokio::join!(sequencer.run(stop), story);
    assert!(matches!(stopped, sequencer::Stopped::Asked), "{stopped:?}");
}

/// Sends the requests, each as the admin.
struct Teller<'a> {
    books: &'a BooksHandle,
    clock: &'a HandClock,
    caller: Caller,
    /// The last of each kind, for routes that name one.
    lock: RefCell<String>,
    report: RefCell<String>,
    slash: RefCell<String>,
}

impl<'a> Teller<'a> {
    fn new(books: &'a BooksHandle, clock: &'a HandClock) -> Self {
        Self {
            books,
            clock,
            caller: Caller {
                principal: Principal::Role(Role::Admin),
                key: None,
                reads: Reads::All,
            },
            lock: RefCell::default(),
            report: RefCell::default(),
            slash: RefCell::default(),
        }
    }

    async fn request(&self, line: &str) {
        let (route, body) = line.split_at_checked(1).unwrap_or(("", line));
        let body_bytes = body.as_bytes();
        match route {
            "p" | "t" | "T" | "b" | "o" => self.credits(route, body_bytes).await,
            "l" | "u" | "P" | "R" => self.compute(route, body_bytes).await,
            "n" | "s" | "F" | "f" => self.node(route, body_bytes).await,
            "a" | "d" | "x" | "y" => self.dispute(route, body_bytes).await,
            "W" => {
                // At most a year: further on a story is only slower.
                let seconds = body.parse::<i64>().unwrap_or(0).clamp(-86_400, 31_536_000);
                self.clock
                    .0
                    .fetch_add(seconds * 1_000_000, Ordering::SeqCst);
            }
            _ => {
                let _ = ClockRequest::parse(body_bytes);
                let _ = serde_json::from_slice::<TokenRequest>(body_bytes);
                let _ = serde_json::from_slice::<RotateRequest>(body_bytes);
            }
        }
    }

    async fn credits(&self, route: &str, body: &[u8]) {
        let (books, caller) = (self.books, &self.caller);
        if route == "p"
            && let Some(request) = good(PurchaseRequest::parse(body))
        {
            answered(credits::purchase(books, caller, request).await);
        } else if route == "t"
            && let Some(request) = good(TransferRequest::parse_seed(body))
        {
            answered(credits::transfer(books, caller, request).await);
        } else if route == "T"
            && let Some(request) = good(TransferRequest::parse(body))
        {
            answered(credits::transfer(books, caller, request).await);
        } else if route == "b"
            && let Some(request) = good(BatchRequest::parse(body))
        {
            answered(credits::transfer_batch(books, caller, request).await);
        } else if route == "o"
            && let Some(request) = good(PayoutRequest::parse(body))
        {
            answered(credits::payout(books, caller, request).await);
        }
    }

    async fn compute(&self, route: &str, body: &[u8]) {
        let (books, caller) = (self.books, &self.caller);
        if route == "l"
            && let Some(request) = good(LockRequest::parse(body))
        {
            if let Some(locked) = answered(locks::lock(books, caller, request).await) {
                self.lock.replace(locked.lock_id);
            }
        } else if route == "u"
            && let Some(request) = good(UsageRequest::parse(body))
        {
            answered(usage::report(books, caller, request).await);
        } else if route == "P"
            && let Some(request) = good(PayerRequest::parse(body))
        {
            let app = AppName::parse("hello").expect("a name");
            answered(locks::bind_payer(books, caller, app, request).await);
        } else if route == "R" {
            let id = self.lock.borrow().clone();
            if let Ok(lock) = locks::lock_id(&id) {
                answered(locks::release(books, caller, lock).await);
            }
        }
    }

    async fn node(&self, route: &str, body: &[u8]) {
        let (books, caller) = (self.books, &self.caller);
        if route == "n"
            && let Some(request) = good(NodeRequest::parse(body))
        {
            fair(nodes::register(books, caller, request).await.err());
        } else if route == "s"
            && let Some(request) = good(StakeRequest::parse(body))
        {
            let node = NodeId::parse("n1").expect("an id");
            answered(nodes::stake(books, caller, node, request).await);
        } else if route == "F"
            && let Some(request) = good(FactRequest::parse(body))
        {
            answered(settlements::report_facts(books, caller, request).await);
        } else if route == "f"
            && let Some(request) = good(FinalizeRequest::parse("2026-11-22T13Z", body))
        {
            answered(settlements::finalize(books, caller, &request).await);
        }
    }

    async fn dispute(&self, route: &str, body: &[u8]) {
        let (books, caller) = (self.books, &self.caller);
        if route == "a"
            && let Some(request) = good(AbuseRequest::parse(body))
        {
            if let Some(filed) = answered(abuse::file(books, caller, request).await) {
                self.report.replace(filed.report_id);
            }
        } else if route == "d"
            && let Some(request) = good(DecisionRequest::parse(body))
        {
            let report = self.report.borrow().clone();
            answered(abuse::decide(books, caller, &report, request).await);
        } else if route == "x"
            && let Some(request) = good(SlashRequest::parse(body))
        {
            if let Some(filed) = answered(abuse::file_slash(books, caller, request).await) {
                self.slash.replace(filed.slash_id);
            }
        } else if route == "y"
            && let Some(request) = good(DecisionRequest::parse(body))
        {
            let slash = self.slash.borrow().clone();
            answered(abuse::decide_slash(books, caller, &slash, request).await);
        }
    }
}

/// A body that is refused is the sender's business: a 4xx.
fn good<T>(parsed: Result<T, Box<Problem>>) -> Option<T> {
    match parsed {
        Ok(request) => Some(request),
        Err(problem) => {
            assert!((400..500).contains(&problem.status), "{problem:?}");
            None
        }
    }
}

fn answered<T>(result: Result<Answered<T>, Failure>) -> Option<T> {
    match result {
        Ok(answered) => Some(answered.body),
        Err(failure) => {
            fair(Some(failure));
            None
        }
    }
}

/// The books decided, or there was nothing of that name.
fn fair(failure: Option<Failure>) {
    if let Some(failure) = failure {
        let status = failure.code().status();
        assert!((400..500).contains(&status), "{failure:?}");
    }
}
