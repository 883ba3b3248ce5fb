//! Asking the blocking provider for a quote: one at a time, on a thread of its own, in time.

use std::{sync::Arc, time::Duration};

use ee_protocol::report_data::ReportData;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::quote::{QuoteBundle, QuoteError, QuoteProvider};

/// The agent's one door to its platform.
#[derive(Clone)]
pub struct Quoting {
    provider: Arc<dyn QuoteProvider>,
    /// The kernel serialises quotes; a second caller would only hold another thread.
    single_flight: Arc<Semaphore>,
}

impl Quoting {
    /// Asks `provider`.
    pub fn new(provider: Arc<dyn QuoteProvider>) -> Self {
        Self {
            provider,
            single_flight: Arc::new(Semaphore::new(1)),
        }
    }

    /// A quote over `report_data`, or why there is none after at most `budget`. A call that the
    /// platform does not answer keeps its thread and the door until it returns.
    pub async fn quote(
        &self,
        report_data: ReportData,
        budget: Duration,
    ) -> Result<QuoteBundle, QuoteError> {
        let deadline = Instant::now() + budget;
        let permit = timeout_at(deadline, Arc::clone(&self.single_flight).acquire_owned())
            .await
            .map_err(|_| QuoteError::Busy)?
            .expect("the semaphore is never closed");
        let provider = Arc::clone(&self.provider);
        let left = deadline.saturating_duration_since(Instant::now());
        let call = tokio::task::spawn_blocking(move || {
            let outcome = provider.quote(&report_data.0, left);
            drop(permit);
            outcome
        });
        match timeout_at(deadline, call).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(died)) => Err(QuoteError::Failed(died.to_string())),
            Err(_) => Err(QuoteError::Timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use ee_protocol::report_data::WorkloadClaims;

    use super::*;

    struct Slow(WorkloadClaims, Duration);

    impl QuoteProvider for Slow {
        fn claims(&self) -> &WorkloadClaims {
            &self.0
        }

        fn quote(&self, report_data: &[u8; 64], _: Duration) -> Result<QuoteBundle, QuoteError> {
            std::thread::sleep(self.1);
            Ok(QuoteBundle {
                quote: report_data.to_vec(),
                event_log: None,
            })
        }
    }

    #[tokio::test]
    async fn a_platform_that_hangs_costs_one_thread_and_is_named() {
        let hang = Duration::from_millis(400);
        let quoting = Quoting::new(Arc::new(Slow(WorkloadClaims::default(), hang)));
        let ask = |budget_ms| quoting.quote(ReportData([7; 64]), Duration::from_millis(budget_ms));
        assert_eq!(ask(50).await.unwrap_err(), QuoteError::Timeout);
        assert_eq!(
            ask(50).await.unwrap_err(),
            QuoteError::Busy,
            "the first call still runs"
        );
        assert_eq!(ask(5_000).await.unwrap().quote, [7; 64]);
    }
}
