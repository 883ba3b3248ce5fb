//! Runs one target: under libFuzzer where that is built in, else on the files that are named.
//!
//! `ee-fuzz money FILE…` repeats what a fuzzer found, with nothing but a Rust compiler.

#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(feature = "libfuzzer")]
mod under_libfuzzer {
    //! libFuzzer has the `main`, and passes over arguments that begin with two dashes.

    use std::sync::LazyLock;

    use ee_fuzz::{Target, target};

    static CHOSEN: LazyLock<&'static Target> = LazyLock::new(|| {
        let name = argument("--target=").expect("--target=NAME");
        target(&name).expect("the name of a target")
    });

    fn argument(prefix: &str) -> Option<String> {
        std::env::args().find_map(|argument| argument.strip_prefix(prefix).map(str::to_owned))
    }

    /// Names the targets: name, longest input, floor of coverage.
    #[expect(clippy::print_stdout, reason = "xtask reads it")]
    fn list() -> ! {
        for target in ee_fuzz::TARGETS {
            println!("{} {} {}", target.name, target.longest, target.floor);
        }
        std::process::exit(0);
    }

    /// Writes the seeds where libFuzzer will look for its corpus.
    fn begin() {
        if argument("--list").is_some() {
            list();
        }
        let Some(folder) = argument("--seeds=") else {
            return;
        };
        for (number, seed) in (CHOSEN.seeds)().iter().enumerate() {
            let file = std::path::Path::new(&folder).join(format!("seed-{number:03}"));
            std::fs::write(file, seed).expect("the folder of seeds can be written");
        }
    }

    libfuzzer_sys::fuzz_target!(init: begin(), |bytes: &[u8]| (CHOSEN.run)(bytes));
}

#[cfg(not(feature = "libfuzzer"))]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;
    let mut arguments = std::env::args().skip(1);
    let named = arguments.next().unwrap_or_default();
    let Some(target) = ee_fuzz::target(&named) else {
        let names: Vec<&str> = ee_fuzz::TARGETS.iter().map(|target| target.name).collect();
        report(&format!(
            "ee-fuzz TARGET FILE…; targets: {}",
            names.join(", ")
        ));
        return ExitCode::from(2);
    };
    for file in arguments {
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) => {
                report(&format!("{file}: {error}"));
                return ExitCode::from(2);
            }
        };
        (target.run)(&bytes);
        report(&format!("{file}: holds"));
    }
    ExitCode::SUCCESS
}

#[cfg(not(feature = "libfuzzer"))]
#[expect(
    clippy::print_stderr,
    reason = "a program that talks to who started it"
)]
fn report(line: &str) {
    eprintln!("{line}");
}
