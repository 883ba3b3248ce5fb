//! What both ends of EasyEnclave say to each other.
//!
//! Names, time, tunnel messages, the bytes a quote binds, HTTP types and problem codes. Nothing
//! here decides anything: parsing turns outside text into values that are valid by construction,
//! and every wire format has a golden test beside it.

pub mod access;
pub mod account;
pub mod control_mac;
pub mod depth;
pub mod http;
pub mod legacy;
pub mod money;
pub mod names;
pub mod period;
pub mod problem;
pub mod refusal;
pub mod report_data;
pub mod settings;
pub mod time;
pub mod tunnel;
