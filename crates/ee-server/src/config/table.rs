//! The settings of the control plane: one row a setting, nothing else decides what exists.

use ee_protocol::settings::Setting;

/// Every setting of `easyenclave-server`.
pub const TABLE: &[Setting] = &[
    Setting::new(
        "EE_CONFIG",
        "",
        "TOML file with these settings; no search path",
    ),
    Setting::new(
        "EE_CONTROL_BIND",
        "0.0.0.0",
        "address of the API and the tunnel endpoint",
    ),
    Setting::new(
        "EE_CONTROL_PORT",
        "8088",
        "port of the API and the tunnel endpoint",
    ),
    Setting::new("EE_PROXY_BIND", "0.0.0.0", "address of the proxy listener"),
    Setting::new("EE_PROXY_PORT", "9090", "port of the proxy listener"),
    Setting::new(
        "EE_PUBLIC_URL",
        "http://localhost:8088",
        "where agents and people reach the API; links are built from it, never from Host",
    ),
    Setting::new(
        "EE_APP_DOMAIN",
        "",
        "domain of the apps: each is one label below it",
    )
    .unset("none: the first label of Host names the app"),
    Setting::new(
        "EE_TRUSTED_PROXIES",
        "127.0.0.0/8,::1/128",
        "networks whose X-Forwarded-* and X-EE-App count; empty: nobody's",
    )
    .empty_is_value(),
    Setting::new(
        "EE_PROXY_API",
        "public",
        "who may call POST /v1/proxy/{app}: public, token (scope proxy:use) or off",
    ),
    Setting::new(
        "EE_TLS_CERT_PATH",
        "",
        "PEM certificate chain for both listeners",
    )
    .unset("none: plain HTTP"),
    Setting::new("EE_TLS_KEY_PATH", "", "PEM private key of EE_TLS_CERT_PATH")
        .unset("none: plain HTTP"),
    Setting::new("EE_ADMIN_TOKEN", "", "token of the role admin")
        .secret()
        .unset("none: door closed, one-time bootstrap token"),
    Setting::new("EE_LAUNCHER_TOKEN", "", "token of the role launcher")
        .secret()
        .unset("none: door closed"),
    Setting::new("EE_UPTIME_TOKEN", "", "token of the role uptime")
        .secret()
        .unset("none: door closed"),
    Setting::new(
        "EE_REQUIRE_AUTH_CONFIGURED",
        "false",
        "refuse to start without EE_ADMIN_TOKEN or a stored admin token; no bootstrap token",
    ),
    Setting::new(
        "EE_ALLOWLIST_ASSET",
        "agent-attestation-allowlist.json",
        "name of the release asset that holds an app's allowlist",
    ),
    Setting::new(
        "EE_ALLOWLIST_DIR",
        "",
        "directory of allowlists in place of GitHub",
    )
    .unset("none: releases on GitHub"),
    Setting::new(
        "EE_GITHUB_API_URL",
        "https://api.github.com",
        "GitHub's API, or an enterprise's",
    ),
    Setting::new(
        "EE_GITHUB_TOKEN",
        "",
        "token for allowlist downloads, sent to the API host only",
    )
    .secret()
    .unset("none: 60 requests an hour"),
    Setting::new(
        "EE_PCCS_URL",
        "https://api.trustedservices.intel.com",
        "collateral endpoints in order, separated by commas; file:// works",
    ),
    Setting::new(
        "EE_ATTEST_INTERVAL_SEC",
        "3600",
        "seconds between attestations of an agent",
    ),
    Setting::new(
        "EE_ATTEST_DEADLINE_SEC",
        "30",
        "seconds an agent has to answer a challenge",
    ),
    Setting::new(
        "EE_HEALTH_TIMEOUT_SEC",
        "120",
        "seconds of silence that are a missed health",
    ),
    Setting::new(
        "EE_REGISTRATION_TTL_DAYS",
        "30",
        "days a registration lives",
    ),
    Setting::new(
        "EE_REGISTRATION_WARN_DAYS",
        "3",
        "days before its end in which it warns",
    ),
    Setting::new(
        "EE_DB_PATH",
        "control_plane/data/control-plane.db",
        "SQLite database; under $STATE_DIRECTORY if systemd gives one and this is unset",
    ),
    Setting::new(
        "EE_DATABASE_URL",
        "",
        "postgres://user:password@host/database for the ledger; what is no ledger stays in \
         registry.db in EE_DATA_DIR, and EE_DB_PATH must be unset",
    )
    .secret_url()
    .unset("none: SQLite at EE_DB_PATH"),
    Setting::new("EE_DATA_DIR", "", "collateral, keys, bootstrap token")
        .unset("the directory of the database"),
    Setting::new(
        "EE_BACKUP_DIR",
        "",
        "directory of backups: a copy of the database every night, and every batch of the books \
         before it is acknowledged; also for `backup` and `restore` without a path",
    )
    .unset("none: nothing is kept a second time"),
    Setting::new(
        "EE_BACKUP_KEEP_DAYS",
        "14",
        "days of which every moment can be restored from EE_BACKUP_DIR",
    ),
    Setting::new(
        "EE_REDO_TRANSFERS",
        "131072",
        "transfers by which account rows may lag behind the books, about, if there are not more \
         accounts; a start takes them in",
    ),
    Setting::new(
        "EE_PERIOD_SEC",
        "3600",
        "length of a billing period in seconds: at least 10, a divisor of 86400",
    ),
    Setting::new(
        "EE_LOCK_LEAD_SEC",
        "300",
        "seconds before a period at which its locks are renewed; at most half a period, and so \
         much if unset and 300 is more",
    ),
    Setting::new(
        "EE_SETTLEMENT_GRACE_SEC",
        "3600",
        "seconds from the end of a period to its settlement",
    ),
    Setting::new(
        "EE_SETTLEMENT_DEADLINE_SEC",
        "604800",
        "seconds from the end of a period to the verdict by force; more than the grace",
    ),
    Setting::new(
        "EE_ABUSE_DECISION_SEC",
        "259200",
        "seconds for which an undecided abuse report defers a settlement; at most the deadline",
    ),
    Setting::new(
        "EE_PAYOUT_HOLD_SEC",
        "0",
        "seconds for which pay rests before it can be moved; 86400 is advised",
    ),
    Setting::new(
        "EE_UNBONDING_SEC",
        "604800",
        "seconds for which withdrawn stake stays slashable",
    ),
    Setting::new(
        "EE_SLASH_DELAY_SEC",
        "86400",
        "seconds from the filing of an automatic slash to its execution",
    ),
    Setting::new(
        "EE_STAKE_MIN_USD",
        "",
        "least stake on forge-1: one amount, or premium=..,standard=..,economy=..",
    )
    .unset("more than 0"),
    Setting::new(
        "EE_DRAIN_SEC",
        "30",
        "seconds that requests in flight get at shutdown",
    ),
    Setting::new(
        "EE_LOG",
        "info",
        "log filter: a level, or target=level pairs",
    ),
    Setting::new("EE_LOG_FORMAT", "auto", "auto, pretty or json"),
];

/// What the command-line client `easyenclave` reads; it never reads the server's settings.
pub const CLIENT_TABLE: &[Setting] = &[
    Setting::new("EE_URL", "", "API of the control plane").unset("the current context's"),
    Setting::new("EE_TOKEN", "", "token for it")
        .secret()
        .unset("the current context's"),
    Setting::new("EE_CONTEXT", "", "context to use").unset("the current one"),
];
