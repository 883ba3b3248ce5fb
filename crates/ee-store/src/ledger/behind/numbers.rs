//! A set of account numbers: one bit each, for they are counted from 1 without gap.

use ee_core::books::AccountNo;

/// Numbers in a word.
const WORD: usize = 64;

/// A set of account numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers(Vec<u64>);

impl Numbers {
    pub(super) fn insert(&mut self, no: AccountNo) {
        let (word, bit) = place(no);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    pub(super) fn remove(&mut self, no: AccountNo) {
        let (word, bit) = place(no);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    /// The members from `first` up to and without `end`, in order.
    pub(super) fn within(&self, first: u32, end: u32) -> Vec<AccountNo> {
        let mut found = Vec::new();
        let words = first as usize / WORD..(end as usize).div_ceil(WORD);
        for at in words {
            let mut word = self.0.get(at).copied().unwrap_or(0);
            while word != 0 {
                let bit = word.trailing_zeros() as usize;
                word &= word - 1;
                let no = u32::try_from(at * WORD + bit).expect("a number was inserted");
                if (first..end).contains(&no) {
                    found.push(AccountNo(no));
                }
            }
        }
        found
    }
}

fn place(no: AccountNo) -> (usize, u64) {
    let no = no.0 as usize;
    (no / WORD, 1 << (no % WORD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order_and_within_bounds() {
        let mut numbers = Numbers::default();
        for no in [200, 1, 64, 63, 128] {
            numbers.insert(AccountNo(no));
        }
        numbers.remove(AccountNo(128));
        numbers.remove(AccountNo(9_999));
        let within = |first, end| -> Vec<u32> {
            let found = numbers.within(first, end).into_iter();
            found.map(|no| no.0).collect()
        };
        assert_eq!(within(1, 1_000), [1, 63, 64, 200]);
        assert_eq!(within(63, 200), [63, 64]);
        assert_eq!(within(65, 65), Vec::<u32>::new());
    }
}
