CREATE TABLE app (
    name TEXT NOT NULL PRIMARY KEY,
    repo TEXT NOT NULL,
    network TEXT NOT NULL,
    bound_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
    node_id TEXT NOT NULL PRIMARY KEY,
    app TEXT NOT NULL REFERENCES app (name),
    agent_id TEXT NOT NULL,
    release_tag TEXT NOT NULL,
    network TEXT NOT NULL,
    registered_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL,
    last_health_at_us INTEGER,
    CHECK (expires_at_us >= registered_at_us)
) STRICT, WITHOUT ROWID;

CREATE INDEX node_by_app ON node (app);

CREATE TABLE last_attestation (
    node_id TEXT NOT NULL PRIMARY KEY REFERENCES node (node_id) ON DELETE CASCADE,
    at_us INTEGER NOT NULL,
    trust_root TEXT NOT NULL,
    sealed INTEGER NOT NULL CHECK (sealed IN (0, 1)),
    flagged INTEGER NOT NULL CHECK (flagged IN (0, 1)),
    binding TEXT NOT NULL,
    pinning TEXT NOT NULL,
    provenance TEXT NOT NULL,
    allowlist_digest BLOB NOT NULL CHECK (length(allowlist_digest) = 32),
    allowlist_entry TEXT NOT NULL,
    tcb_status TEXT NOT NULL,
    tcb_date_us INTEGER NOT NULL,
    advisories TEXT NOT NULL,
    tcb_eval_data_number INTEGER NOT NULL,
    evidence_digest BLOB NOT NULL CHECK (length(evidence_digest) = 32),
    collateral_expires_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE allowlist_pin (
    repo_key TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    content BLOB NOT NULL,
    provenance TEXT NOT NULL,
    digest_published INTEGER NOT NULL CHECK (digest_published IN (0, 1)),
    first_seen_us INTEGER NOT NULL,
    changed_digest BLOB CHECK (changed_digest IS NULL OR length(changed_digest) = 32),
    changed_content BLOB,
    changed_provenance TEXT,
    changed_at_us INTEGER,
    revoked INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1)),
    PRIMARY KEY (repo_key, tag),
    CHECK ((changed_digest IS NULL) = (changed_at_us IS NULL)),
    CHECK ((changed_digest IS NULL) = (changed_content IS NULL)),
    CHECK ((changed_digest IS NULL) = (changed_provenance IS NULL))
) STRICT;

CREATE TABLE tcb_first_seen (
    fmspc BLOB NOT NULL CHECK (length(fmspc) = 6),
    level TEXT NOT NULL,
    first_seen_us INTEGER NOT NULL,
    PRIMARY KEY (fmspc, level)
) STRICT, WITHOUT ROWID;

CREATE TABLE collateral_mark (
    item TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL CHECK (number >= 0),
    issued_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE attestation_log (
    seq INTEGER NOT NULL PRIMARY KEY CHECK (seq > 0),
    at_us INTEGER NOT NULL,
    agent_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    app TEXT NOT NULL,
    network TEXT NOT NULL,
    session TEXT NOT NULL,
    nonce TEXT NOT NULL,
    body_digest TEXT NOT NULL,
    evidence_digest TEXT NOT NULL,
    allowlist_digest TEXT NOT NULL,
    entry TEXT NOT NULL,
    generation TEXT NOT NULL,
    policy TEXT NOT NULL,
    verdict TEXT NOT NULL,
    code TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX attestation_log_by_node ON attestation_log (node_id, seq);

CREATE TRIGGER attestation_log_keeps_rows
BEFORE DELETE ON attestation_log
BEGIN
    SELECT RAISE(ABORT, 'the attestation log is append-only');
END;

CREATE TRIGGER attestation_log_keeps_values
BEFORE UPDATE ON attestation_log
BEGIN
    SELECT RAISE(ABORT, 'the attestation log is append-only');
END;

CREATE TABLE attestation_log_head (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE clock_mark (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    now_us INTEGER NOT NULL
) STRICT;

CREATE TABLE auth (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    bootstrap_hash BLOB CHECK (bootstrap_hash IS NULL OR length(bootstrap_hash) = 32),
    bootstrap_used_at_us INTEGER,
    admin_hash BLOB CHECK (admin_hash IS NULL OR length(admin_hash) = 32)
) STRICT;

INSERT INTO auth (id) VALUES (1);
