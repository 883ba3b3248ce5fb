//! Why the books in PostgreSQL cannot be opened, in words that tell an operator what to do; and
//! what an error of the driver means for us.

use tokio_postgres::{Error, error::SqlState};

use crate::error::StoreError;

/// The books in PostgreSQL could not be opened; nothing of theirs was changed.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL is none.
    #[error("EE_DATABASE_URL is no PostgreSQL URL ({0}): postgresql://user@host/database")]
    Url(String),
    /// The connection would be readable by others.
    #[error(
        "EE_DATABASE_URL names {host}, and this server speaks to PostgreSQL without TLS: use a \
             Unix socket, loopback or a tunnel, or say sslmode=disable if the network is yours"
    )]
    OpenNetwork {
        /// The host.
        host: String,
    },
    /// TLS was asked for.
    #[error(
        "EE_DATABASE_URL asks for TLS, which this server does not speak to PostgreSQL: reach \
             it over a Unix socket or a tunnel"
    )]
    Tls,
    /// Nobody answers, or the answer is no.
    #[error("PostgreSQL is not reached: {0}; see EE_DATABASE_URL")]
    Connect(String),
    /// A setting that durability rests on is off.
    #[error(
        "PostgreSQL has {name} = {found}: what it acknowledges could be lost; set it to {needed}"
    )]
    Setting {
        /// The setting.
        name: &'static str,
        /// What PostgreSQL answered.
        found: String,
        /// What must hold.
        needed: &'static str,
    },
    /// A newer server has migrated these books.
    #[error(
        "the books have schema {found}, this server knows {known}: run the newer server; \
             schemas only go forward"
    )]
    NewerSchema {
        /// Their schema version; 0 is no schema at all.
        found: i64,
        /// The newest version this program has a script for.
        known: i64,
    },
    /// Books that were to be read only lack a migration.
    #[error("the books have schema {found}, this program needs {known}: start the server once")]
    OlderSchema {
        /// Their schema version; 0 is no schema at all.
        found: i64,
        /// The version needed.
        known: i64,
    },
    /// The script that made this schema is not the one compiled in.
    #[error(
        "migration {version} was applied from another script: this server and the one that \
             made the books do not belong together"
    )]
    ChangedScript {
        /// Which migration.
        version: i64,
    },
    /// PostgreSQL refused for another reason.
    #[error("PostgreSQL refused: {0}")]
    Refused(String),
    /// The thread that holds the connections did not start.
    #[error("cannot start the thread for PostgreSQL: {0}")]
    Thread(std::io::Error),
}

impl From<Error> for PostgresError {
    fn from(error: Error) -> Self {
        if is_lost(&error) {
            Self::Connect(text(&error))
        } else {
            Self::Refused(text(&error))
        }
    }
}

/// What the server or the operating system said; the driver's own text is only a class.
pub(super) fn text(error: &Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whether the connection is gone, so that a commit on its way may or may not have taken effect.
///
/// Everything but a clear answer counts: class 57P is a server that stops or crashes, class 08 a
/// connection that broke, and an error that no server sent is the driver's or the socket's.
pub(super) fn is_lost(error: &Error) -> bool {
    error.code().is_none_or(|code| {
        let class = code.code();
        class.starts_with("08") || class.starts_with("57P")
    })
}

/// What a read's failure means.
pub(super) fn of_read(error: &Error) -> StoreError {
    match error.code() {
        _ if is_lost(error) => StoreError::Unavailable(text(error)),
        Some(code) if *code == SqlState::DISK_FULL => StoreError::DiskFull,
        Some(_) | None => StoreError::Postgres(text(error)),
    }
}
