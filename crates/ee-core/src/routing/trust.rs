//! What a node's word is worth (ROUTING 2): the posted price divided by how likely a delivered
//! vCPU-hour is, in integers. Factors are permille; every division rounds down, the last one up.

use ee_protocol::{
    money::{AMOUNT_MAX_MICRO_USD, MicroUsd, Price},
    time::Timestamp,
};
use std::collections::BTreeMap;

use crate::attestation::TcbStatus;

/// `⌊1024·2^(−d/7)⌋`: what a day's health windows weigh `d` days later.
const HEALTH_WEIGHT: [u64; 56] = [
    1024, 927, 840, 760, 689, 624, 565, 512, 463, 420, 380, 344, 312, 282, 256, 231, 210, 190, 172,
    156, 141, 128, 115, 105, 95, 86, 78, 70, 64, 57, 52, 47, 43, 39, 35, 32, 28, 26, 23, 21, 19,
    17, 16, 14, 13, 11, 10, 9, 8, 8, 7, 6, 5, 5, 4, 4,
];
/// `⌊1024·2^(−d/30)⌋`: what a day's verdicts weigh `d` days later.
const VERDICT_WEIGHT: [u64; 90] = [
    1024, 1000, 977, 955, 933, 912, 891, 871, 851, 831, 812, 794, 776, 758, 741, 724, 707, 691,
    675, 660, 645, 630, 615, 601, 588, 574, 561, 548, 536, 523, 512, 500, 488, 477, 466, 456, 445,
    435, 425, 415, 406, 397, 388, 379, 370, 362, 353, 345, 337, 330, 322, 315, 307, 300, 294, 287,
    280, 274, 268, 261, 256, 250, 244, 238, 233, 228, 222, 217, 212, 207, 203, 198, 194, 189, 185,
    181, 176, 172, 168, 165, 161, 157, 153, 150, 147, 143, 140, 137, 134, 130,
];
/// What is believed of a node of which nothing was seen weighs as much as these.
const HEALTH_PRIOR: (u64, u64) = (19 * 1024, 20 * 1024);
const VERDICT_PRIOR: (u64, u64) = (9 * 1024, 10 * 1024);
const HEALTH_LEAST: u64 = 500;
const VERDICT_LEAST: u64 = 300;
/// What an authorised report of abuse leaves of the factor, and for how many days.
const ABUSE_LEAVES: u64 = 700;
/// Days after which verdicts and abuse no longer count.
pub const REMEMBERED_DAYS: u32 = 90;
/// Days of attested work after which a node is no newcomer.
const TENURE_DAYS: u64 = 14;
const TRUST_LEAST: u64 = 250;
const WHOLE: u64 = 1_000;

/// The UTC day of an instant, counted from the epoch.
pub fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.unix_seconds().div_euclid(86_400)).unwrap_or(0)
}

/// What was judged of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Day {
    /// Windows of health time-out length that were covered.
    pub ok: u64,
    /// Windows that were missed, and by nobody's fault but the node's.
    pub miss: u64,
    /// Periods that passed.
    pub pass: u64,
    /// Periods that failed.
    pub fail: u64,
}

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// By day since the epoch.
    pub days: BTreeMap<u32, Day>,
    /// The days on which reports of abuse were authorised.
    pub abuse: Vec<u32>,
}

/// A node's last verdict on evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// What Intel says of its platform.
    pub tcb: TcbStatus,
    /// Tenths of the interval between attestations since then, at most 10.
    pub age: u64,
}

/// A node's stake beside what its network demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backing {
    /// What is at stake.
    pub stake: MicroUsd,
    /// The least; zero: its network demands none.
    pub demanded: MicroUsd,
}

/// How likely a node delivers what it is paid for, and why, in permille.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    /// How its platform stands, and how fresh that is.
    pub attestation: u16,
    /// Health windows that it covered.
    pub health: u16,
    /// Periods that passed, less what abuse costs.
    pub settlement: u16,
    /// What it has to lose.
    pub stake: u16,
    /// How long it has been here.
    pub tenure: u16,
    /// All together.
    pub total: u16,
}

impl Trust {
    /// Weighs what is known of a node.
    pub fn of(record: &Record, today: u32, evidence: Evidence, backing: Backing) -> Self {
        let factors = [
            attestation(evidence),
            record.health(today),
            record.settlement(today),
            stake(backing),
            record.tenure(),
        ];
        let product: u128 = factors.iter().map(|factor| u128::from(*factor)).product();
        let total = u64::try_from(product / u128::from(WHOLE).pow(4)).unwrap_or(WHOLE);
        let [attestation, health, settlement, stake, tenure] = factors.map(permille);
        Self {
            attestation,
            health,
            settlement,
            stake,
            tenure,
            total: permille(total.max(TRUST_LEAST)),
        }
    }

    /// What a delivered vCPU-hour costs at a posted price.
    pub fn effective(&self, price: Price) -> Price {
        let posted = i128::from(price.micros()) * i128::from(WHOLE);
        let total = i128::from(self.total);
        let effective = (posted + total - 1) / total;
        let most = i64::try_from(effective)
            .unwrap_or(i64::MAX)
            .min(AMOUNT_MAX_MICRO_USD);
        Price::new(MicroUsd::from_micros(most)).expect("neither negative nor above the most")
    }
}

impl Record {
    fn health(&self, today: u32) -> u64 {
        let seen = self.weighed(today, &HEALTH_WEIGHT, |day| (day.ok, day.miss));
        share(seen, HEALTH_PRIOR).max(HEALTH_LEAST)
    }

    fn settlement(&self, today: u32) -> u64 {
        let seen = self.weighed(today, &VERDICT_WEIGHT, |day| (day.pass, day.fail));
        let recent = |day: &&u32| today.saturating_sub(**day) < REMEMBERED_DAYS;
        let reports = self.abuse.iter().filter(recent).count();
        let passed = share(seen, VERDICT_PRIOR);
        let left = (0..reports.min(8)).fold(passed, |left, _| left * ABUSE_LEAVES / WHOLE);
        left.max(VERDICT_LEAST)
    }

    fn tenure(&self) -> u64 {
        let days = self.days.values().filter(|day| day.ok > 0).count() as u64;
        900 + (100 * days / TENURE_DAYS).min(100)
    }

    /// Good and bad ones, each by the weight of its day.
    fn weighed(&self, today: u32, weights: &[u64], of: impl Fn(&Day) -> (u64, u64)) -> (u64, u64) {
        let mut sums = (0, 0);
        for (day, seen) in &self.days {
            let age = usize::try_from(today.saturating_sub(*day)).unwrap_or(usize::MAX);
            if let Some(weight) = weights.get(age) {
                let (good, bad) = of(seen);
                sums = (sums.0 + good * weight, sums.1 + bad * weight);
            }
        }
        sums
    }
}

/// The share of good ones beside what is believed beforehand.
fn share((good, bad): (u64, u64), (believed, of): (u64, u64)) -> u64 {
    (good + believed) * WHOLE / (good + bad + of)
}

fn attestation(Evidence { tcb, age }: Evidence) -> u64 {
    let tcb = match tcb {
        TcbStatus::UpToDate => 1_000,
        TcbStatus::SWHardeningNeeded => 970,
        TcbStatus::ConfigurationNeeded => 950,
        TcbStatus::ConfigurationAndSWHardeningNeeded => 921,
        // Only a policy that permits it lets such a node serve.
        TcbStatus::TDRelaunchAdvised
        | TcbStatus::TDRelaunchAdvisedConfigurationNeeded
        | TcbStatus::OutOfDate
        | TcbStatus::OutOfDateConfigurationNeeded
        | TcbStatus::Revoked => 800,
    };
    tcb * (WHOLE - 5 * age.min(10)) / WHOLE
}

fn stake(Backing { stake, demanded }: Backing) -> u64 {
    let [stake, demanded] =
        [stake, demanded].map(|money| u128::try_from(money.micros()).unwrap_or(0));
    // Twice the least: with the least itself all eligible nodes would have the same.
    match demanded * 2 {
        0 => WHOLE,
        target => 950 + u64::try_from((50 * stake / target).min(50)).unwrap_or(50),
    }
}

fn permille(factor: u64) -> u16 {
    u16::try_from(factor.min(WHOLE)).unwrap_or(1_000)
}

#[cfg(test)]
mod tests;
