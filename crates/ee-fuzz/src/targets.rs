//! The targets, one file each.

mod allowlists;
mod byte_stream;
mod collateral;
mod control_messages;
mod event_logs;
mod h1_heads;
mod journal;
mod ledger_bodies;
mod legacy_frames;
mod money;
mod paths;
mod periods;
mod proxied_heads;
mod quotes;

use crate::Target;

/// Every target.
pub const TARGETS: &[Target] = &[
    control_messages::TARGET,
    legacy_frames::TARGET,
    h1_heads::TARGET,
    proxied_heads::TARGET,
    paths::TARGET,
    byte_stream::TARGET,
    quotes::TARGET,
    collateral::TARGET,
    event_logs::TARGET,
    allowlists::TARGET,
    money::TARGET,
    periods::TARGET,
    journal::TARGET,
    ledger_bodies::TARGET,
];

/// The input as text; most parsers get nothing else.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
