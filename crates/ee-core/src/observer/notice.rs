//! What an observer has to say, each a fact or the frame of facts.

use ee_protocol::{names::NodeId, time::Timestamp};

use crate::facts::{Breach, Dependency, Track};

/// What the books must hear, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A new epoch begins; whatever the last one left open is cut.
    Start {
        /// When.
        at: Timestamp,
    },
    /// All facts up to here were told; open tracks hold.
    Beat {
        /// Up to where.
        watermark: Timestamp,
    },
    /// We asked our nodes to go elsewhere.
    Drained {
        /// When.
        at: Timestamp,
    },
    /// We stop watching.
    Stop {
        /// When.
        at: Timestamp,
    },
    /// A track opens.
    TrackOpen {
        /// Whose.
        node: NodeId,
        /// Which.
        track: Track,
        /// When.
        at: Timestamp,
    },
    /// A track closes.
    TrackClose {
        /// Whose.
        node: NodeId,
        /// Which.
        track: Track,
        /// When.
        at: Timestamp,
    },
    /// A node did something wrong.
    Breach {
        /// Which node.
        node: NodeId,
        /// What.
        breach: Breach,
        /// When.
        at: Timestamp,
    },
    /// A node's evidence waits for a dependency, or for nothing any more.
    Waiting {
        /// Whose.
        node: NodeId,
        /// For what.
        dependency: Option<Dependency>,
        /// Since when.
        at: Timestamp,
    },
    /// A dependency went down or came back.
    Dependency {
        /// Which.
        dependency: Dependency,
        /// What became of it.
        state: DependencyState,
        /// When.
        at: Timestamp,
    },
}

/// Whether a dependency answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependencyState {
    /// It does not.
    Down,
    /// It does.
    Up,
}
