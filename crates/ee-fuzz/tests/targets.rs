//! Every target, without a fuzzer: its seeds, what was found before, ten thousand damaged seeds.

use std::{fs, path::PathBuf};

use ee_fuzz::{TARGETS, damage::Damage, target};

/// Damaged inputs a target.
const INPUTS: usize = 10_000;

fn regressions(name: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "regressions", name]
        .iter()
        .collect();
    let Ok(files) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let read = |file: std::io::Result<fs::DirEntry>| fs::read(file.expect("an entry").path());
    files.map(|file| read(file).expect("readable")).collect()
}

fn holds(name: &str, inputs: usize) {
    let target = target(name).expect("a target");
    let seeds = (target.seeds)();
    let known = [seeds.clone(), regressions(name)].concat();
    for input in &known {
        (target.run)(input);
    }
    let mut damage = Damage::new(20_261_122);
    for _ in 0..inputs {
        (target.run)(&damage.of(&seeds, target.longest));
    }
}

macro_rules! targets {
    ($($test:ident: $name:literal, $inputs:expr;)*) => {
        $(
            #[test]
            fn $test() {
                holds($name, $inputs);
            }
        )*

        #[test]
        fn every_target_is_tested_and_every_regression_has_one() {
            let tested = [$($name),*];
            for target in TARGETS {
                assert!(tested.contains(&target.name), "{}", target.name);
                assert!(!(target.seeds)().is_empty(), "{} has no seeds", target.name);
            }
            let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "regressions"].iter().collect();
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let name = entry.expect("an entry").file_name();
                assert!(tested.contains(&name.to_string_lossy().as_ref()), "{name:?}");
            }
        }
    };
}

targets! {
    control_messages_hold: "control-messages", INPUTS;
    legacy_frames_hold: "legacy-frames", INPUTS;
    h1_heads_hold: "h1-heads", INPUTS;
    proxied_heads_hold: "proxied-heads", INPUTS;
    paths_hold: "paths", INPUTS;
    byte_stream_holds: "byte-stream", INPUTS;
    quotes_hold: "quotes", INPUTS;
    collateral_holds: "collateral", INPUTS;
    event_logs_hold: "event-logs", INPUTS;
    allowlists_hold: "allowlists", INPUTS;
    money_holds: "money", INPUTS;
    periods_hold: "periods", INPUTS;
    journal_holds: "journal", INPUTS;
    ledger_bodies_hold: "ledger-bodies", INPUTS;
}
