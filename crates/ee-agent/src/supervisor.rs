//! Keeps the tunnels of an agent up, each on a lane of its own, until it is told to stop.
//!
//! Make before break: a control plane that wants a tunnel replaced keeps the old one until the
//! new one is attested. Only an agent that holds as many as it may lets the old one go first, and
//! only while all its other lanes serve.
//!
//! The first lane goes ahead. The others follow once a tunnel was attested over inner TLS: only
//! its key shows that tunnels are of one boot, so without it each would replace the one before.

use std::{sync::Arc, time::Duration};

use ee_protocol::refusal::Refusal;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{AgentState, Shared},
    lane::{Lane, TunnelId},
    settings::TUNNELS_MAX,
    tasks,
    tunnel::{self, Report},
};

/// Reports waiting for the agent: a tunnel sends a handful in its life.
const REPORTS: usize = 64;
/// Orders waiting for a tunnel: it gets at most two.
const ORDERS: usize = 2;
/// After the grace for requests, closing handshakes get this long.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// A replaced tunnel's requests get as long as at shutdown by default.
const REPLACED_GRACE: Duration = Duration::from_secs(30);
/// The other lanes follow the first one within this: as long as a first reconnection may wait.
const FOLLOW_WITHIN: Duration = Duration::from_secs(1);
/// A lane that must wait for another one's replacement looks again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

enum Event {
    Report(Report),
    Ended(String),
}

type Message = (TunnelId, Event);

/// Owns the tunnels.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    state: watch::Sender<AgentState>,
    /// Requests that each serving tunnel may have at once.
    share: watch::Sender<u32>,
    reports: mpsc::Sender<Message>,
    inbox: mpsc::Receiver<Message>,
    lanes: Vec<Lane>,
    next_id: TunnelId,
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, state: watch::Sender<AgentState>) -> Self {
        let (reports, inbox) = mpsc::channel(REPORTS);
        let mut lanes: Vec<Lane> = (0..shared.lanes).map(|_| Lane::new()).collect();
        lanes[0].want_within(Duration::ZERO);
        Self {
            share: watch::Sender::new(shared.identity.max_inflight),
            shared,
            state,
            reports,
            inbox,
            lanes,
            next_id: 0,
        }
    }

    /// Works until `shutdown`; then requests in flight have `drain` to finish.
    pub(crate) async fn run(mut self, shutdown: CancellationToken, drain: Duration) {
        loop {
            let dial_at = self.lanes.iter().filter_map(Lane::dial_at).min();
            tokio::select! {
                Some((id, event)) = self.inbox.recv() => self.handle_event(id, event),
                () = sleep_until_some(dial_at) => self.open_due(),
                () = shutdown.cancelled() => break,
            }
        }
        for lane in &mut self.lanes {
            lane.leave("shutdown", drain);
        }
        let ended = tokio::time::timeout(drain + CLOSE_DEADLINE, self.everything_ended());
        if ended.await.is_err() {
            tracing::warn!(event = "tunnels_left_open");
        }
        self.state.send_replace(AgentState::Stopped);
    }

    async fn everything_ended(&mut self) {
        while self.lanes.iter().any(|lane| !lane.is_empty()) {
            match self.inbox.recv().await {
                Some((id, Event::Ended(_))) => {
                    for lane in &mut self.lanes {
                        lane.ended(id);
                    }
                }
                Some((_, Event::Report(_))) => {}
                None => return,
            }
        }
    }

    fn open_due(&mut self) {
        let now = Instant::now();
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].dial_at().is_some_and(|at| at <= now) {
                self.open(lane);
            }
        }
    }

    fn open(&mut self, lane: usize) {
        let held: usize = self.lanes.iter().map(Lane::len).sum();
        if held >= TUNNELS_MAX {
            return self.make_room(lane);
        }
        let id = self.next_id;
        self.next_id += 1;
        let (orders, inbox) = mpsc::channel(ORDERS);
        let attempt = self.lanes[lane].opened(id, orders);
        let is_refused = matches!(*self.state.borrow(), AgentState::Refused { .. });
        if lane == 0 && !self.is_serving() && !is_refused {
            self.state.send_replace(AgentState::Connecting { attempt });
        }
        let (shared, sender) = (Arc::clone(&self.shared), self.reports.clone());
        let share = self.share.subscribe();
        // A tunnel reports a handful of times; if the queue is full all the same, the report is
        // lost rather than the tunnel held up.
        let report = {
            let sender = sender.clone();
            move |report| drop(sender.try_send((id, Event::Report(report))))
        };
        // The task ends by itself: its orders come from the lane, and their end tells it to leave.
        drop(tasks::spawn("tunnel", async move {
            let ended = tunnel::run(shared, report, inbox, share).await;
            drop(sender.send((id, Event::Ended(ended))).await);
        }));
    }

    /// The control plane takes no further tunnel: the lane's own one goes first, if the others
    /// serve meanwhile.
    fn make_room(&mut self, lane: usize) {
        let others = self.lanes.iter().enumerate().filter(|(at, _)| *at != lane);
        if others.into_iter().all(|(_, other)| other.serving() > 0)
            && self.lanes[lane].serving() > 0
        {
            self.lanes[lane].rest();
            self.lanes[lane].leave("replaced", REPLACED_GRACE);
            self.grant();
        } else {
            self.lanes[lane].postpone(LOOK_AGAIN);
        }
    }

    fn handle_event(&mut self, id: TunnelId, event: Event) {
        let Some(lane) = self.lanes.iter().position(|lane| lane.has(id)) else {
            return;
        };
        match event {
            Event::Report(Report::Challenged) => self.say(AgentState::Attesting),
            Event::Report(Report::Attested { siblings }) => {
                self.handle_attested(lane, id, siblings)
            }
            Event::Report(Report::Refused { reason, detail }) => {
                log_refusal(&reason, &detail);
                self.say(AgentState::Refused { reason, detail });
            }
            Event::Report(Report::Replace { from, until }) => {
                self.lanes[lane].replace(id, from, until);
            }
            Event::Ended(reason) => self.handle_ended(lane, id, &reason),
        }
    }

    fn handle_attested(&mut self, lane: usize, id: TunnelId, siblings: Siblings) {
        self.lanes[lane].attested(id, REPLACED_GRACE);
        let identity = &self.shared.identity;
        tracing::info!(
            event = "attested", agent = %identity.agent_id, app = %identity.app_name, lane
        );
        self.state.send_replace(AgentState::Active);
        match siblings {
            Siblings::Belong => self.follow(),
            Siblings::Replace => self.first_lane_only(),
        }
        self.grant();
    }

    fn follow(&mut self) {
        for lane in &mut self.lanes {
            lane.want_within(FOLLOW_WITHIN);
        }
    }

    fn first_lane_only(&mut self) {
        for lane in &mut self.lanes[1..] {
            lane.rest();
            lane.leave("replaced", REPLACED_GRACE);
        }
    }

    fn handle_ended(&mut self, lane: usize, id: TunnelId, reason: &str) {
        tracing::info!(event = "tunnel_ended", lane, reason);
        if let Some(wait) = self.lanes[lane].ended(id) {
            tracing::info!(event = "reconnecting", lane, in_ms = wait.as_millis());
        }
        if !self.is_serving() && *self.state.borrow() == AgentState::Active {
            self.state
                .send_replace(AgentState::Connecting { attempt: 1 });
        }
        self.grant();
    }

    /// What a single tunnel meets says nothing of the agent while another one serves.
    fn say(&self, state: AgentState) {
        if !self.is_serving() {
            self.state.send_replace(state);
        }
    }

    fn is_serving(&self) -> bool {
        self.serving() > 0
    }

    fn serving(&self) -> usize {
        self.lanes.iter().map(Lane::serving).sum()
    }

    /// Shares the agent's capacity among the tunnels that serve.
    fn grant(&self) {
        let Ok(serving @ 1..) = u32::try_from(self.serving()) else {
            return;
        };
        let each = (self.shared.max_inflight / serving).max(1);
        self.share
            .send_if_modified(|share| std::mem::replace(share, each) != each);
    }
}

/// What the control plane takes further tunnels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Siblings {
    /// Tunnels of the same boot.
    Belong,
    /// Newcomers that replace this one.
    Replace,
}

fn log_refusal(reason: &str, detail: &[Refusal]) {
    tracing::warn!(event = "refused", reason);
    for Refusal {
        code,
        check,
        expected,
        actual,
        hint,
    } in detail
    {
        tracing::warn!(event = "refusal", code, check, expected, actual, hint);
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
