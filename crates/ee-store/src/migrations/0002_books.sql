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
    first_seq INTEGER NOT NULL CHECK (first_seq > 0),
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

-- Numbers of rows ("no") are seq * 2^22 + idx: one integer in the order of time.
CREATE TABLE account (
    no INTEGER NOT NULL PRIMARY KEY CHECK (no > 0),
    name TEXT NOT NULL UNIQUE,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 8),
    posted INTEGER NOT NULL,
    last INTEGER,
    CHECK (kind = 8 OR posted >= 0)
) STRICT;

-- An account's row is as of its transfer account.last: those behind it count too. All rows have the
-- transfers of commands up to sweep.through.
CREATE TABLE sweep (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL CHECK (through >= 0)
) STRICT;

-- An account's history goes from account.last back through debit_before and credit_before: an index
-- by account would be written anew, page by page, with every batch.
CREATE TABLE transfer (
    no INTEGER NOT NULL PRIMARY KEY,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 16),
    debit INTEGER NOT NULL,
    credit INTEGER NOT NULL,
    amount INTEGER NOT NULL,
    pending INTEGER,
    client_id TEXT,
    reference TEXT,
    actor TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    debit_before INTEGER CHECK (debit_before < no),
    credit_before INTEGER CHECK (credit_before < no),
    CHECK (amount > 0 AND debit <> credit)
) STRICT;

CREATE TRIGGER transfer_keeps_rows
BEFORE DELETE ON transfer
BEGIN
    SELECT RAISE(ABORT, 'transfers never change');
END;

CREATE TRIGGER transfer_keeps_values
BEFORE UPDATE ON transfer
BEGIN
    SELECT RAISE(ABORT, 'transfers never change');
END;

CREATE TABLE meter (
    node INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL CHECK (end_ms > start_ms),
    account INTEGER NOT NULL,
    price INTEGER NOT NULL CHECK (price >= 0),
    used_vcpu_us INTEGER NOT NULL CHECK (used_vcpu_us >= 0),
    metered INTEGER NOT NULL CHECK (metered >= 0),
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    posted INTEGER NOT NULL CHECK (posted >= 0),
    clawed_back INTEGER NOT NULL CHECK (clawed_back BETWEEN 0 AND posted),
    PRIMARY KEY (node, start_ms, end_ms, account)
) STRICT, WITHOUT ROWID;

-- A start reads what may still be judged, not the history.
CREATE INDEX meter_by_end ON meter (end_ms, node, start_ms, account);

CREATE TABLE lock (
    no INTEGER NOT NULL PRIMARY KEY,
    at_us INTEGER NOT NULL,
    node INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL CHECK (end_ms > start_ms),
    account INTEGER NOT NULL,
    from_ms INTEGER NOT NULL CHECK (from_ms >= start_ms),
    vcpus INTEGER NOT NULL CHECK (vcpus >= 0),
    mode INTEGER NOT NULL CHECK (mode IN (1, 2)),
    amount INTEGER NOT NULL CHECK (amount >= 0),
    posted INTEGER NOT NULL CHECK (posted BETWEEN 0 AND amount),
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    expires_at_us INTEGER NOT NULL,
    app TEXT,
    CHECK (state > 1 OR posted = 0)
) STRICT;

CREATE INDEX lock_open ON lock (no) WHERE state = 1;

CREATE INDEX lock_by_account ON lock (account);

CREATE INDEX lock_by_node ON lock (node);

CREATE TRIGGER lock_resolves_once
BEFORE UPDATE ON lock
WHEN OLD.state <> 1
BEGIN
    SELECT RAISE(ABORT, 'a lock resolves once');
END;

CREATE TABLE usage (
    no INTEGER NOT NULL PRIMARY KEY,
    at_us INTEGER NOT NULL,
    node INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL CHECK (end_ms > start_ms),
    account INTEGER NOT NULL,
    source TEXT,
    client_id TEXT,
    used_vcpu_us INTEGER NOT NULL CHECK (used_vcpu_us >= 0),
    charge INTEGER NOT NULL CHECK (charge >= 0),
    lock INTEGER,
    state INTEGER NOT NULL CHECK (state IN (1, 2))
) STRICT;

CREATE INDEX usage_by_account ON usage (account);

CREATE TRIGGER usage_keeps_rows
BEFORE DELETE ON usage
BEGIN
    SELECT RAISE(ABORT, 'usage never changes');
END;

CREATE TRIGGER usage_keeps_values
BEFORE UPDATE ON usage
BEGIN
    SELECT RAISE(ABORT, 'usage never changes');
END;

CREATE TABLE payer (
    app TEXT NOT NULL PRIMARY KEY,
    account INTEGER NOT NULL,
    vcpus INTEGER NOT NULL CHECK (vcpus > 0),
    price_max INTEGER CHECK (price_max >= 0),
    nodes_max INTEGER NOT NULL CHECK (nodes_max > 0),
    since_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE client (
    form INTEGER NOT NULL CHECK (form BETWEEN 1 AND 6),
    scope TEXT NOT NULL,
    node TEXT NOT NULL,
    id TEXT NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    seq INTEGER NOT NULL CHECK (seq > 0),
    at_us INTEGER NOT NULL,
    result BLOB NOT NULL,
    PRIMARY KEY (form, scope, node, id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER client_keeps_rows
BEFORE DELETE ON client
BEGIN
    SELECT RAISE(ABORT, 'answers are kept');
END;

CREATE TRIGGER client_keeps_values
BEFORE UPDATE ON client
BEGIN
    SELECT RAISE(ABORT, 'answers are kept');
END;

CREATE TABLE request (
    principal TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    result BLOB NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    at_us INTEGER NOT NULL,
    PRIMARY KEY (principal, route, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX request_by_age ON request (seq);

CREATE TABLE policy (
    seq INTEGER NOT NULL PRIMARY KEY CHECK (seq > 0),
    from_us INTEGER NOT NULL,
    policy BLOB NOT NULL
) STRICT;

CREATE TRIGGER policy_keeps_rows
BEFORE DELETE ON policy
BEGIN
    SELECT RAISE(ABORT, 'policies never change');
END;

CREATE TRIGGER policy_keeps_values
BEFORE UPDATE ON policy
BEGIN
    SELECT RAISE(ABORT, 'policies never change');
END;

CREATE TABLE book_node (
    node INTEGER NOT NULL PRIMARY KEY,
    network TEXT,
    vcpus INTEGER CHECK (vcpus >= 0),
    agent_vcpus INTEGER CHECK (agent_vcpus >= 0),
    tier INTEGER NOT NULL CHECK (tier BETWEEN 1 AND 3),
    registered INTEGER NOT NULL CHECK (registered IN (0, 1)),
    banned INTEGER NOT NULL CHECK (banned IN (0, 1)),
    platform BLOB CHECK (platform IS NULL OR length(platform) = 32),
    expires_at_us INTEGER,
    revenue BLOB NOT NULL,
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE node_price (
    node INTEGER NOT NULL,
    from_us INTEGER NOT NULL,
    price INTEGER NOT NULL CHECK (price >= 0),
    PRIMARY KEY (node, from_us)
) STRICT, WITHOUT ROWID;

CREATE TABLE fact (
    no INTEGER NOT NULL PRIMARY KEY,
    node INTEGER,
    kind INTEGER NOT NULL,
    from_us INTEGER NOT NULL,
    until_us INTEGER,
    cause INTEGER NOT NULL CHECK (cause >= 0),
    epoch INTEGER,
    ending INTEGER NOT NULL CHECK (ending BETWEEN 1 AND 3),
    CHECK (until_us IS NULL OR until_us >= from_us)
) STRICT;

CREATE INDEX fact_by_node ON fact (node);

CREATE INDEX fact_by_end ON fact (until_us);

CREATE TABLE observer (
    epoch INTEGER NOT NULL PRIMARY KEY CHECK (epoch > 0),
    replica TEXT NOT NULL,
    started_us INTEGER NOT NULL,
    watermark_us INTEGER NOT NULL,
    drained_us INTEGER,
    ending INTEGER NOT NULL CHECK (ending BETWEEN 1 AND 3)
) STRICT;

CREATE TABLE settlement (
    node INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL CHECK (end_ms > start_ms),
    verdict INTEGER NOT NULL CHECK (verdict BETWEEN 1 AND 3),
    reasons BLOB NOT NULL,
    covered_us INTEGER NOT NULL CHECK (covered_us >= 0),
    judged_us INTEGER NOT NULL CHECK (judged_us >= 0),
    facts_hash BLOB NOT NULL CHECK (length(facts_hash) = 32),
    policy_hash BLOB NOT NULL CHECK (length(policy_hash) = 32),
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),
    cursor INTEGER,
    settled INTEGER NOT NULL CHECK (settled >= 0),
    failed INTEGER NOT NULL CHECK (failed >= 0),
    posted INTEGER NOT NULL CHECK (posted >= 0),
    returned INTEGER NOT NULL CHECK (returned >= 0),
    seq INTEGER NOT NULL CHECK (seq > 0),
    at_us INTEGER NOT NULL,
    PRIMARY KEY (node, start_ms, end_ms)
) STRICT, WITHOUT ROWID;

CREATE INDEX settlement_by_period ON settlement (start_ms, end_ms);

CREATE INDEX settlement_open ON settlement (node, start_ms, end_ms) WHERE state = 1;

CREATE TRIGGER settlement_is_judged_once
BEFORE UPDATE ON settlement
-- 3: inconclusive so far, facts may still come.
WHEN OLD.state <> 3
    AND (OLD.verdict <> NEW.verdict OR OLD.seq <> NEW.seq OR OLD.facts_hash <> NEW.facts_hash)
BEGIN
    SELECT RAISE(ABORT, 'a period is judged once');
END;

CREATE TABLE abuse (
    no INTEGER NOT NULL PRIMARY KEY,
    at_us INTEGER NOT NULL,
    node INTEGER NOT NULL,
    from_us INTEGER NOT NULL,
    until_us INTEGER,
    reason TEXT NOT NULL,
    reported_by TEXT NOT NULL,
    actor TEXT NOT NULL,
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    decision INTEGER CHECK (decision BETWEEN 1 AND 3),
    authorized_by TEXT,
    decision_actor TEXT,
    decision_at_us INTEGER
) STRICT;

CREATE INDEX abuse_by_node ON abuse (node);

CREATE TABLE slash (
    no INTEGER NOT NULL PRIMARY KEY,
    at_us INTEGER NOT NULL,
    node INTEGER NOT NULL,
    reason INTEGER NOT NULL CHECK (reason IN (1, 2)),
    evidence TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    due_us INTEGER,
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    decision INTEGER CHECK (decision BETWEEN 1 AND 3),
    authorized_by TEXT,
    decision_actor TEXT,
    decision_at_us INTEGER
) STRICT;

CREATE TABLE unbonding (
    no INTEGER NOT NULL PRIMARY KEY,
    node INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0),
    free_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX unbonding_by_amount ON unbonding (amount, no);

CREATE TABLE hold (
    node INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL CHECK (end_ms > start_ms),
    amount INTEGER NOT NULL CHECK (amount >= 0),
    free_at_us INTEGER NOT NULL,
    PRIMARY KEY (node, start_ms, end_ms)
) STRICT, WITHOUT ROWID;

CREATE INDEX hold_by_amount ON hold (amount, node, start_ms, end_ms);

CREATE TABLE claim (
    no INTEGER NOT NULL PRIMARY KEY,
    node INTEGER NOT NULL,
    account INTEGER NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0)
) STRICT;

CREATE INDEX claim_by_amount ON claim (amount, no);
