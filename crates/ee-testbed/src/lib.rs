//! The simulated side of the world: a TDX platform with its own root, a mock PCS, a fake GitHub, a
//! quoting service and a demo backend.
//!
//! **Invariant:** no production binary links this crate; the verifier meets it only through another
//! trust root, which is a constructor argument. Everything here is derived from a seed, so that
//! processes started apart agree on keys, certificates and registers. A simulated quote proves
//! nothing about any hardware.
//!
//! Sources: ATTESTATION section 8 (the recipe), Intel's PCK certificate profile, the PCS v4 API and
//! the TDX DCAP quote format for the byte layouts.

pub mod collateral;
pub mod dates;
//W pub mod demo_backend;
pub mod der;
pub mod event_log;
//W pub mod fake_github;
//W pub mod fake_tsm;
pub mod image;
pub mod keys;
//W pub mod mock_pcs;
pub mod pck;
pub mod pki;
pub mod platform;
pub mod provider;
pub mod quote;
//W pub mod quote_server;
//W pub mod serve;
pub mod tcb;
pub mod td;

pub use collateral::{Collateral, PcsItem, PcsItems};
pub use dates::{DatedItem, Window};
//W pub use demo_backend::DemoBackend;
//W pub use fake_github::{DigestMode, FakeGithub, GithubMode, Release};
//W pub use fake_tsm::FakeTsm;
pub use image::DemoImage;
//W pub use mock_pcs::{MockPcs, PcsMode};
pub use pki::{PckCa, PkiOptions, Revoked};
pub use platform::{DEFAULT_SEED, Flaw, Machine, SimOptions, SimPlatform};
pub use provider::SimQuoteProvider;
pub use quote::{QuoteVersion, padded};
//W pub use quote_server::QuoteServer;
pub use tcb::SimStatus;
pub use td::Td;
