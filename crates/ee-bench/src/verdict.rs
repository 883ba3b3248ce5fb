//! Verdicts per second and core, in units of one P-256 verification of the same run.
//!
//! One thread. Each path runs in batches, and the best batch counts: the others were disturbed by
//! whatever else the machine did. The evidence is the simulated platform's, whose certificates,
//! signatures and documents have the sizes and the count of real ones.

use anyhow::{Context, Result, ensure};
use ee_attest::collateral::CollateralBundle;
use ee_attest::platform::{Verifier, VerifierLimits};
use ee_attest::root::TrustRoot;
use ee_protocol::time::Timestamp;
use ee_testbed::{DEFAULT_SEED, DemoImage, QuoteVersion, SimOptions, SimPlatform};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};

use crate::load::count;
use crate::stopwatch::Stopwatch;
use crate::table::Table;

/// The time of judgement: inside the validity of everything the platform makes for it.
const NOW_UNIX_S: u64 = 1_790_000_000;

/// Bytes that a quote's signature covers: header and TD report of version 4.
const SIGNED_BYTES: usize = 632;

#[derive(clap::Args)]
pub struct Options {
    /// Batches; the best one counts.
    #[arg(long, default_value_t = 30)]
    batches: usize,
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW_UNIX_S.cast_signed())
}

/// One measured path.
struct Path {
    name: &'static str,
    goal: Option<f64>,
    microseconds: f64,
}

pub fn run(options: &Options) -> Result<()> {
    let bench = Bench::new()?;
    let paths = [
        Path {
            name: "one P-256 verification",
            goal: None,
            microseconds: p256(options)?,
        },
        Path {
            name: "warm: known platform, fresh quote",
            goal: Some(1.3),
            microseconds: bench.warm(options)?,
        },
        Path {
            name: "new platform, collateral remembered",
            goal: Some(6.0),
            microseconds: bench.new_platform(options)?,
        },
        Path {
            name: "cold: nothing remembered",
            goal: Some(11.0),
            microseconds: bench.cold(options)?,
        },
    ];
    let unit = paths[0].microseconds;
    let mut table = Table::new(&["path", "us", "per second and core", "x P-256", "goal"]);
    for path in &paths {
        table.row(vec![
            path.name.to_owned(),
            format!("{:.1}", path.microseconds),
            format!("{:.0}", 1e6 / path.microseconds),
            format!("{:.2}", path.microseconds / unit),
            path.goal
                .map_or_else(|| "–".to_owned(), |goal| format!("<= {goal}")),
        ]);
    }
    println!("{}", table.markdown());
    Ok(())
}

/// A verifier, and evidence it has not seen.
struct Bench {
    verifier: Verifier,
    collateral: CollateralBundle,
    /// One machine, each quote over other report data.
    of_one: Vec<Vec<u8>>,
    /// A quote each of many machines.
    of_many: Vec<Vec<u8>>,
}

/// Verdicts in one batch: long enough that reading the clock does not count.
const BATCH: usize = 50;

impl Bench {
    fn new() -> Result<Self> {
        let platform = SimPlatform::new(DEFAULT_SEED, SimOptions::default());
        let root = TrustRoot::new(platform.root_name(), platform.root_der())?;
        let td = DemoImage::new(DEFAULT_SEED).td();
        let quote = |platform: &SimPlatform, number: usize| {
            let mut report_data = [0; 64];
            report_data[..8].copy_from_slice(&number.to_le_bytes());
            platform.quote(&td, QuoteVersion::V4, &report_data)
        };
        let machines = 1..=u32::try_from(BATCH).context("the size of a batch")?;
        let of_many = machines
            .map(|number| quote(&platform.sibling(number), 0))
            .collect();
        let json = platform.collateral(NOW_UNIX_S).to_json();
        Ok(Self {
            verifier: Verifier::new(root, VerifierLimits::default()),
            collateral: CollateralBundle::from_json(json.as_bytes())
                .map_err(|failure| anyhow::anyhow!("{failure:?}"))?,
            of_one: (0..=BATCH).map(|number| quote(&platform, number)).collect(),
            of_many,
        })
    }

    /// As it does in service: every signature is checked once, and remembered.
    fn collateral_arrives(&self) -> Result<()> {
        let checked = self.collateral.verify(self.verifier.root(), now());
        checked.map_err(|failure| anyhow::anyhow!("{failure:?}"))
    }

    fn judge(&self, quote: &[u8]) -> Result<()> {
        let verified = self.verifier.verify_quote(quote, &self.collateral, now());
        verified
            .map(drop)
            .map_err(|failure| anyhow::anyhow!("{failure:?}"))
    }

    fn warm(&self, options: &Options) -> Result<f64> {
        self.judge(&self.of_one[BATCH])?;
        best(options, BATCH, || {
            self.of_one[..BATCH]
                .iter()
                .try_for_each(|quote| self.judge(quote))
        })
    }

    fn new_platform(&self, options: &Options) -> Result<f64> {
        let mut best_us = f64::MAX;
        for _ in 0..options.batches {
            self.verifier.forget_all();
            self.collateral_arrives()?;
            let once = Options { batches: 1 };
            let us = best(&once, BATCH, || {
                self.of_many.iter().try_for_each(|q| self.judge(q))
            })?;
            best_us = best_us.min(us);
        }
        Ok(best_us)
    }

    fn cold(&self, options: &Options) -> Result<f64> {
        best(options, BATCH, || {
            self.of_one[..BATCH].iter().try_for_each(|quote| {
                self.verifier.forget_all();
                self.judge(quote)
            })
        })
    }
}

/// The yardstick: the same library, a message of the same length.
fn p256(options: &Options) -> Result<f64> {
    let rng = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let broken = |_| anyhow::anyhow!("the key pair");
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &rng).map_err(broken)?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &rng)
        .map_err(|error| anyhow::anyhow!("the key pair: {error}"))?;
    let message = [7; SIGNED_BYTES];
    let signature = pair.sign(&rng, &message).map_err(broken)?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
    best(options, BATCH, || {
        for _ in 0..BATCH {
            ensure!(
                key.verify(&message, signature.as_ref()).is_ok(),
                "the signature is good"
            );
        }
        Ok(())
    })
}

/// Microseconds of one of `per_batch` in the best batch.
fn best(options: &Options, per_batch: usize, mut batch: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best_us = f64::MAX;
    for _ in 0..options.batches {
        let started = Stopwatch::start();
        batch()?;
        best_us = best_us.min(started.elapsed().as_secs_f64() * 1e6 / count(per_batch));
    }
    Ok(best_us)
}
