//! Verdicts about platforms that were verified in full, by everything that decided them.
//!
//! The key covers the generation (root, verifier flags, bundle) and the whole canonical quote
//! but MRTD to REPORTDATA and the signature over the body. dcap-qvl 0.7.1 reads none of those
//! beyond verifying that signature, which every hit does itself; the differential test guards
//! this on each upgrade. Failures, nonces, report data, measurements and policy outcomes are
//! never stored.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ee_protocol::report_data::Digest;
use ring::digest::{self, SHA256};

use super::PlatformVerdict;
use crate::quote::ParsedQuote;

/// SHA-256 over root, verifier flags and bundle.
pub(super) type Generation = Digest;

/// Known platforms, oldest out.
pub(super) struct Cache {
    known: Mutex<Known>,
    entries_max: usize,
}

#[derive(Default)]
struct Known {
    verdicts: HashMap<Digest, (Generation, Arc<PlatformVerdict>)>,
    oldest_first: VecDeque<Digest>,
}

impl Cache {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            known: Mutex::default(),
            entries_max,
        }
    }

    pub(super) fn get(&self, key: &Digest) -> Option<Arc<PlatformVerdict>> {
        self.known()
            .verdicts
            .get(key)
            .map(|(_, verdict)| Arc::clone(verdict))
    }

    pub(super) fn insert(
        &self,
        key: Digest,
        generation: Generation,
        verdict: Arc<PlatformVerdict>,
    ) {
        let mut known = self.known();
        if known.verdicts.insert(key, (generation, verdict)).is_some() {
            return;
        }
        known.oldest_first.push_back(key);
        if known.oldest_first.len() > self.entries_max {
            let oldest = known
                .oldest_first
                .pop_front()
                .expect("longer than its maximum");
            known.verdicts.remove(&oldest);
        }
    }

    /// Drops what a replaced bundle had decided.
    pub(super) fn forget(&self, generation: &Generation) {
        let mut known = self.known();
        let Known {
            verdicts,
            oldest_first,
        } = &mut *known;
        verdicts.retain(|_, (of, _)| of != generation);
        oldest_first.retain(|key| verdicts.contains_key(key));
    }

    pub(super) fn forget_all(&self) {
        *self.known() = Known::default();
    }

    /// Nothing panics while holding the lock; entries are replaced whole.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a quote under a generation.
pub(super) fn key(generation: &Generation, quote: &ParsedQuote) -> Digest {
    let (bytes, layout) = (quote.bytes(), quote.layout());
    let mut context = digest::Context::new(&SHA256);
    context.update(generation);
    context.update(&bytes[..layout.measured]);
    context.update(&bytes[layout.measured_end..layout.end + 4]);
    context.update(&bytes[layout.end + 68..]);
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        quote::{DebugTds, PckCa},
        window::Window,
    };
    use ee_core::attestation::TcbStatus;
    use ee_protocol::time::Timestamp;

    fn verdict() -> PlatformVerdict {
        PlatformVerdict {
            tcb_status: TcbStatus::UpToDate,
            tcb_date: Timestamp::EPOCH,
            advisories: Vec::new(),
            eval_data_number: 0,
            level_id: String::new(),
            advice: String::new(),
            fmspc: [0; 6],
            ca: PckCa::Platform,
            window: Window::ALWAYS,
            machine: Vec::new(),
        }
    }

    #[test]
    fn key_vector_of_the_attestation_document_holds() {
        let bytes = include_bytes!("../../tests/vectors/quotes/near-mpc__quote_json.bin");
        let quote = ParsedQuote::parse(bytes, DebugTds::Refused).expect("a good quote");
        assert_eq!(quote.bytes().len(), 4_936);
        assert_eq!(
            hex::encode(key(&[0; 32], &quote)),
            "dc3cccc8e848312db823f998457697000fd11d406a43ea0bb9106ca58a9f8da8"
        );
    }

    #[test]
    fn cache_is_bounded_and_generations_can_be_dropped() {
        let cache = Cache::new(2);
        let verdict = Arc::new(verdict());
        for number in 0..3 {
            cache.insert([number; 32], [number; 32], Arc::clone(&verdict));
        }
        assert!(cache.get(&[0; 32]).is_none(), "the oldest is out");
        assert!(cache.get(&[1; 32]).is_some());
        cache.forget(&[1; 32]);
        assert!(cache.get(&[1; 32]).is_none());
        assert!(cache.get(&[2; 32]).is_some());
        cache.insert([4; 32], [4; 32], verdict);
        assert!(cache.get(&[2; 32]).is_some(), "room was made by forgetting");
    }
}
