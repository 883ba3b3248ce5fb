CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;

CREATE TABLE head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    ledger_id BYTEA NOT NULL CHECK (length(ledger_id) = 16),
    batch BIGINT NOT NULL CONSTRAINT head_is_as_expected CHECK (batch >= 0),
    seq BIGINT NOT NULL CHECK (batch < 0 OR seq >= batch),
    epoch BIGINT NOT NULL CHECK (epoch > 0),
    root BYTEA NOT NULL CHECK (length(root) = 32),
    at_us BIGINT NOT NULL
);

CREATE TRIGGER head_stays
BEFORE DELETE OR TRUNCATE ON head
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE journal (
    batch BIGINT NOT NULL PRIMARY KEY CHECK (batch > 0),
    first_seq BIGINT NOT NULL UNIQUE CHECK (first_seq > 0),
    count BIGINT NOT NULL CHECK (count > 0),
    at_us BIGINT NOT NULL,
    epoch BIGINT NOT NULL CHECK (epoch > 0),
    watermark_us BIGINT NOT NULL,
    body BYTEA NOT NULL,
    root BYTEA NOT NULL CHECK (length(root) = 32)
);

CREATE TRIGGER journal_keeps_rows
BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE request (
    principal TEXT COLLATE "C" NOT NULL,
    route TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32),
    outcome BYTEA NOT NULL,
    seq BIGINT NOT NULL CHECK (seq > 0),
    at_us BIGINT NOT NULL,
    PRIMARY KEY (principal, route, key)
);

CREATE INDEX request_by_age ON request (at_us);
