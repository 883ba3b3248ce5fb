//! Merit order (ROUTING 3): prices in geometric buckets of 1 %, within which they count as equal.

use ee_protocol::money::Price;

/// The lowest bucket begins here, in µ$ per vCPU-hour.
const FIRST_MICRO_USD: i64 = 1_000;
/// Buckets, up to some $25 per vCPU-hour; what is dearer shares the last.
const BUCKETS: u16 = 1_024;

/// A place in the merit order; the smaller serves first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u16);

impl Bucket {
    /// A node without a price sorts after all priced ones.
    pub const UNPRICED: Self = Self(u16::MAX);

    /// The bucket of a price.
    pub fn of(price: Option<Price>) -> Self {
        let Some(price) = price else {
            return Self::UNPRICED;
        };
        let mut bucket = 0;
        let mut begins = next(FIRST_MICRO_USD);
        while begins <= price.micros() && bucket + 1 < BUCKETS {
            bucket += 1;
            begins = next(begins);
        }
        Self(bucket)
    }
}

const fn next(begins: i64) -> i64 {
    let grown = begins * 101 / 100;
    if grown > begins { grown } else { begins + 1 }
}

#[cfg(test)]
mod tests {
    use ee_protocol::money::MicroUsd;

    use super::*;

    fn bucket(micros: i64) -> Bucket {
        Bucket::of(Price::new(MicroUsd::from_micros(micros)))
    }

    #[test]
    fn prices_fall_into_the_buckets_of_the_worked_example() {
        let example = [40_333, 40_734, 41_238, 43_042].map(bucket);
        assert_eq!(
            example,
            [Bucket(376), Bucket(377), Bucket(378), Bucket(382)]
        );
    }

    #[test]
    fn unpriced_nodes_come_last() {
        assert!(bucket(i64::from(u32::MAX)) < Bucket::of(None));
        assert_eq!((bucket(0), bucket(1_009)), (Bucket(0), Bucket(0)));
        assert_eq!(bucket(1_010), Bucket(1));
    }
}
