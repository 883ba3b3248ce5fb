CREATE TABLE head (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    ledger_id BLOB NOT NULL CHECK (length(ledger_id) = 16),
    batch INTEGER NOT NULL CHECK (batch >= 0),
    seq INTEGER NOT NULL CHECK (seq >= batch),
    epoch INTEGER NOT NULL CHECK (epoch > 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE journal (
    batch INTEGER NOT NULL PRIMARY KEY CHECK (batch > 0),
    first_seq INTEGER NOT NULL UNIQUE CHECK (first_seq > 0),
    count INTEGER NOT NULL CHECK (count > 0),
    at_us INTEGER NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch > 0),
    watermark_us INTEGER NOT NULL,
    body BLOB NOT NULL,
    root BLOB NOT NULL CHECK (length(root) = 32)
) STRICT;

CREATE TRIGGER journal_keeps_rows
BEFORE DELETE ON journal
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;

CREATE TRIGGER journal_keeps_values
BEFORE UPDATE ON journal
BEGIN
    SELECT RAISE(ABORT, 'the journal is append-only');
END;

CREATE TABLE request (
    principal TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    outcome BLOB NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    at_us INTEGER NOT NULL,
    PRIMARY KEY (principal, route, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX request_by_age ON request (at_us);
