//! Evidence to attestation result: pure, given collateral, reference values and the time.
//!
//! One module a stage of ATTESTATION 1, cheap before costly, first failure wins:
//! [`evidence`] (1), [`quote`] (3), [`binding`] (4), [`allowlist`] (5, 6, 10), [`collateral`]
//! (7), [`platform`] (8), [`policy`] (9), [`event_log`] (10), [`sealed`] (11). Nothing here
//! fetches, waits or reads a clock; the caller brings collateral, reference values, what it
//! remembers, and `now`. A pass can be made from a [`VerifiedQuote`] only, and a
//! [`VerifiedQuote`] by a [`Verifier`] only.

pub mod allowlist;
pub mod appraise;
pub mod attributes;
pub mod binding;
mod chain;
pub mod collateral;
mod crypto;
mod der;
pub mod event_log;
pub mod evidence;
pub mod explain;
mod pck;
mod pem;
pub mod platform;
pub mod policy;
pub mod quote;
pub mod registers;
pub mod root;
pub mod sealed;
pub mod window;

pub use allowlist::{Allowlist, Entry, Selection, TcbPolicy};
pub use appraise::{AppraisalInput, Finish, Reference, appraise_all, finish};
pub use attributes::TdAttributes;
pub use collateral::{BundleItems, CollateralBundle, CollateralItem, ItemKind};
pub use evidence::Evidence;
pub use platform::{VerifiedQuote, Verifier, VerifierLimits};
pub use policy::{NetworkPolicy, PolicyFacts, SealedRule, Standing};
pub use quote::{DebugTds, ParsedQuote, PckCa};
pub use registers::{Register, RegisterName, Registers};
pub use root::TrustRoot;
pub use window::Window;
