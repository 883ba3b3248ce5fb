//! Reproducible damage: the same inputs on every machine, for runs without a fuzzer.

/// SplitMix64, by its seed.
pub struct Damage(u64);

/// What parsers have stumbled over before.
const TROUBLE: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\"",
    b"{",
    b"[",
    b"\\u0000",
    b"\\ud800",
    b"-0",
    b"1e999",
    b"NaN",
    b"\r\n",
    b"\n",
    b"\r",
    b":",
    b" ",
    b"\t",
    b"99999999999999999999",
    b"--",
    b"Z",
    b"+00:00",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"/../",
    b"//",
    b"%00",
    b"http://x",
];

impl Damage {
    /// Damage that follows from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below the bound, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).expect("below a usize")
    }

    /// One of the seeds, damaged in one to four places, at most `longest` bytes long.
    pub fn of(&mut self, seeds: &[Vec<u8>], longest: usize) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.once(&mut bytes, seeds);
        }
        bytes.truncate(longest);
        bytes
    }

    fn once(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(bytes.len() + 1);
        let end = bytes.len().min(at + 1 + self.below(48));
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            3 => {
                let trouble = TROUBLE[self.below(TROUBLE.len())];
                bytes.splice(at..at, trouble.iter().copied());
            }
            4 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                let until = other.len().min(from + self.below(64));
                bytes.splice(at..end, other[from..until].iter().copied());
            }
            5 => {
                let noise = (0..self.below(9)).map(|_| self.roll().to_le_bytes()[0]);
                let noise: Vec<u8> = noise.collect();
                bytes.splice(at..at, noise);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
        }
    }
}
