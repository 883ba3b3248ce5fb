//! Log lines on standard error, filtered by `EE_LOG`, shaped by `EE_LOG_FORMAT`.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogFormat, Settings};

/// Starts logging for the process. A second call has no effect: the first one wins.
pub fn start(settings: &Settings) {
    let filter = EnvFilter::new(&settings.log);
    let json = match settings.log_format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    // Without internal errors: they are printed to standard error by a macro that panics when that
    // is gone, and a closed log must not end the server.
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    // An error means that logging was started before, as in tests and in `dev`.
    let _ = if json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init()
    } else {
        builder.with_target(false).try_init()
    };
}
