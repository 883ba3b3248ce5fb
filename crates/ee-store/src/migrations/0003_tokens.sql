-- Managed tokens: hashes only. Of a rotated token the hash before is good for a grace.
CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 12),
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    resources TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    previous_digest BLOB CHECK (previous_digest IS NULL OR length(previous_digest) = 32),
    previous_until_us INTEGER,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER,
    last_used_at_us INTEGER,
    revoked_at_us INTEGER,
    CHECK ((previous_digest IS NULL) = (previous_until_us IS NULL))
) STRICT, WITHOUT ROWID;

-- Who changed what, in the transaction of the change.
CREATE TABLE audit (
    seq INTEGER NOT NULL PRIMARY KEY,
    at_us INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL
) STRICT;

CREATE TRIGGER audit_never_changes BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit rows never change');
END;

CREATE TRIGGER audit_never_shrinks BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit rows are kept');
END;
