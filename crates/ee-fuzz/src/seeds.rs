//! Seeds that several targets share: real quotes, and what the simulator makes.

use ee_testbed::{DEFAULT_SEED, DemoImage, QuoteVersion, SimOptions, SimPlatform};

/// The seconds of the Unix epoch at which the simulator's collateral holds.
pub const NOW_S: u64 = 1_790_000_000;

macro_rules! vectors {
    ($($path:literal),* $(,)?) => {
        [$(include_bytes!(concat!("../../ee-attest/tests/vectors/", $path)).as_slice()),*]
    };
}

/// Quotes of real machines, one of each form.
pub fn real_quotes() -> Vec<Vec<u8>> {
    let real = vectors![
        "quotes/near-mpc__quote_json.bin",
        "quotes/go-tdx-guest__quote_v5_sample_dat.bin",
        "quotes/dcap-qvl__tdx_quote_td15ex.bin",
        "quotes/dcap-qvl__sgx_quote.bin",
    ];
    real.map(<[u8]>::to_vec).into()
}

/// A real event log.
pub fn real_event_log() -> Vec<u8> {
    vectors!["eventlogs/near-mpc__quote_json.json"][0].to_vec()
}

/// Collateral of a real platform.
pub fn real_collateral() -> Vec<u8> {
    vectors!["collateral/tdx-b0c06f000000-platform-eval20-2026-10-08.json"][0].to_vec()
}

/// A simulated platform without flaw.
pub fn platform() -> SimPlatform {
    SimPlatform::new(DEFAULT_SEED, SimOptions::default())
}

/// What runs on it.
pub fn image() -> DemoImage {
    DemoImage::new(DEFAULT_SEED)
}

/// A quote of it in each form.
pub fn simulated_quotes() -> Vec<Vec<u8>> {
    let (platform, td) = (platform(), image().td());
    let quote = |version| platform.quote(&td, version, &[0; 64]);
    QuoteVersion::ALL.map(quote).into()
}

/// Texts as seeds.
pub fn texts<T: AsRef<str>>(texts: &[T]) -> Vec<Vec<u8>> {
    texts
        .iter()
        .map(|text| text.as_ref().as_bytes().to_vec())
        .collect()
}
