//! The simulated platform as a quote provider of the agent.

use std::time::Duration;

use ee_agent::quote::{QuoteBundle, QuoteError, QuoteProvider};
use ee_protocol::report_data::WorkloadClaims;
use serde_json::Value;

use crate::{image::DemoImage, platform::SimPlatform, quote::QuoteVersion, td::Td};

/// Quotes of one TD on one simulated machine.
pub struct SimQuoteProvider {
    platform: SimPlatform,
    version: QuoteVersion,
    td: Td,
    claims: WorkloadClaims,
    event_log: Option<Value>,
}

impl SimQuoteProvider {
    /// A TD that runs `image`.
    pub fn new(platform: SimPlatform, image: &DemoImage, version: QuoteVersion) -> Self {
        let (td, claims) = (image.td(), image.claims());
        Self {
            platform,
            version,
            td,
            claims,
            event_log: Some(image.event_log()),
        }
    }

    /// The same provider with another TD: debug, other owner, service TD.
    #[must_use]
    pub fn with_td(mut self, change: impl FnOnce(Td) -> Td) -> Self {
        self.td = change(self.td);
        self
    }

    /// The same provider with other claims than the image's.
    #[must_use]
    pub fn with_claims(mut self, change: impl FnOnce(&mut WorkloadClaims)) -> Self {
        change(&mut self.claims);
        self
    }

    /// The same provider with another event log, or none.
    #[must_use]
    pub fn with_event_log(mut self, event_log: Option<Value>) -> Self {
        self.event_log = event_log;
        self
    }
}

impl QuoteProvider for SimQuoteProvider {
    fn claims(&self) -> &WorkloadClaims {
        &self.claims
    }

    fn quote(&self, report_data: &[u8; 64], _budget: Duration) -> Result<QuoteBundle, QuoteError> {
        let quote = self.platform.quote(&self.td, self.version, report_data);
        Ok(QuoteBundle {
            quote,
            event_log: self.event_log.clone(),
        })
    }
}
