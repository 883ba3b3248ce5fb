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

pub mod autobahn;
pub mod chaos;
pub mod collateral;
pub mod dates;
pub mod demo_backend;
pub mod der;
pub mod event_log;
pub mod fake_github;
pub mod fake_tsm;
pub mod h2;
pub mod image;
pub mod keys;
pub mod mock_pcs;
pub mod pck;
pub mod pki;
pub mod platform;
pub mod postgres;
pub mod provider;
pub mod quote;
pub mod quote_server;
pub mod serve;
pub mod tcb;
pub mod td;
pub mod websocket_echo;
pub mod world;

pub use chaos::{ChaosLink, LinkFault};
pub use collateral::{Collateral, PcsItem, PcsItems};
pub use dates::{DatedItem, Window};
pub use demo_backend::DemoBackend;
pub use fake_github::{DigestMode, FakeGithub, GithubMode, Release};
pub use fake_tsm::FakeTsm;
pub use image::DemoImage;
pub use keys::MARKER;
pub use mock_pcs::{MockPcs, PcsMode};
pub use pki::{PckCa, PkiOptions, Revoked};
pub use platform::{DEFAULT_SEED, Flaw, Machine, SimOptions, SimPlatform};
pub use postgres::PostgresCluster;
pub use provider::SimQuoteProvider;
pub use quote::{QuoteVersion, padded};
pub use quote_server::QuoteServer;
pub use tcb::SimStatus;
pub use td::Td;
pub use world::World;
