CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% only grows', TG_TABLE_NAME;
END
$$;

CREATE TABLE head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    ledger_id BYTEA NOT NULL CHECK (length(ledger_id) = 16),
    batch BIGINT NOT NULL CONSTRAINT head_is_as_expected CHECK (batch >= 0),
    seq BIGINT NOT NULL CHECK (seq >= batch),
    epoch BIGINT NOT NULL CHECK (epoch > 0),
    root BYTEA NOT NULL CHECK (length(root) = 32),
    at_us BIGINT NOT NULL
);

CREATE TRIGGER head_stays
BEFORE DELETE OR TRUNCATE ON head
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE journal (
    batch BIGINT NOT NULL PRIMARY KEY CHECK (batch > 0),
    first_seq BIGINT NOT NULL CHECK (first_seq > 0),
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

-- Numbers of rows ("no") are seq * 2^22 + idx: one integer in the order of time.
-- Room in each page for the next version of its rows: no index is written then.
CREATE TABLE account (
    no BIGINT NOT NULL PRIMARY KEY CHECK (no > 0),
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    kind BIGINT NOT NULL CHECK (kind BETWEEN 1 AND 8),
    posted BIGINT NOT NULL,
    last BIGINT,
    CHECK (kind = 8 OR posted >= 0)
) WITH (fillfactor = 60);

-- An account's row is as of its transfer account.last: those behind it count too. All rows have the
-- transfers of commands up to sweep.through.
CREATE TABLE sweep (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    through BIGINT NOT NULL CHECK (through >= 0)
);

-- An account's history goes from account.last back through debit_before and credit_before: an index
-- by account would be written anew, page by page, with every batch.
CREATE TABLE transfer (
    no BIGINT NOT NULL PRIMARY KEY,
    kind BIGINT NOT NULL CHECK (kind BETWEEN 1 AND 16),
    debit BIGINT NOT NULL,
    credit BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    pending BIGINT,
    client_id TEXT COLLATE "C",
    reference TEXT COLLATE "C",
    actor TEXT COLLATE "C" NOT NULL,
    at_us BIGINT NOT NULL,
    debit_before BIGINT CHECK (debit_before < no),
    credit_before BIGINT CHECK (credit_before < no),
    CHECK (amount > 0 AND debit <> credit)
);

CREATE TRIGGER transfer_keeps_rows
BEFORE UPDATE OR DELETE OR TRUNCATE ON transfer
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE meter (
    node BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL CHECK (end_ms > start_ms),
    account BIGINT NOT NULL,
    price BIGINT NOT NULL CHECK (price >= 0),
    used_vcpu_us BIGINT NOT NULL CHECK (used_vcpu_us >= 0),
    metered BIGINT NOT NULL CHECK (metered >= 0),
    reserved BIGINT NOT NULL CHECK (reserved >= 0),
    posted BIGINT NOT NULL CHECK (posted >= 0),
    clawed_back BIGINT NOT NULL CHECK (clawed_back BETWEEN 0 AND posted),
    PRIMARY KEY (node, start_ms, end_ms, account)
);

-- A start reads what may still be judged, not the history.
CREATE INDEX meter_by_end ON meter (end_ms, node, start_ms, account);

CREATE TABLE lock (
    no BIGINT NOT NULL PRIMARY KEY,
    at_us BIGINT NOT NULL,
    node BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL CHECK (end_ms > start_ms),
    account BIGINT NOT NULL,
    from_ms BIGINT NOT NULL CHECK (from_ms >= start_ms),
    vcpus BIGINT NOT NULL CHECK (vcpus >= 0),
    mode BIGINT NOT NULL CHECK (mode IN (1, 2)),
    amount BIGINT NOT NULL CHECK (amount >= 0),
    posted BIGINT NOT NULL CHECK (posted BETWEEN 0 AND amount),
    state BIGINT NOT NULL CHECK (state BETWEEN 1 AND 4),
    expires_at_us BIGINT NOT NULL,
    app TEXT COLLATE "C",
    CHECK (state > 1 OR posted = 0)
);

CREATE INDEX lock_open ON lock (no) WHERE state = 1;

CREATE INDEX lock_by_account ON lock (account);

CREATE INDEX lock_by_node ON lock (node);

CREATE TRIGGER lock_resolves_once
BEFORE UPDATE ON lock
FOR EACH ROW WHEN (OLD.state <> 1)
EXECUTE FUNCTION refuse_change();

CREATE TABLE usage (
    no BIGINT NOT NULL PRIMARY KEY,
    at_us BIGINT NOT NULL,
    node BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL CHECK (end_ms > start_ms),
    account BIGINT NOT NULL,
    source TEXT COLLATE "C",
    client_id TEXT COLLATE "C",
    used_vcpu_us BIGINT NOT NULL CHECK (used_vcpu_us >= 0),
    charge BIGINT NOT NULL CHECK (charge >= 0),
    lock BIGINT,
    state BIGINT NOT NULL CHECK (state IN (1, 2))
);

CREATE INDEX usage_by_account ON usage (account);

CREATE TRIGGER usage_keeps_rows
BEFORE UPDATE OR DELETE OR TRUNCATE ON usage
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE payer (
    app TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    account BIGINT NOT NULL,
    vcpus BIGINT NOT NULL CHECK (vcpus > 0),
    price_max BIGINT CHECK (price_max >= 0),
    nodes_max BIGINT NOT NULL CHECK (nodes_max > 0),
    since_us BIGINT NOT NULL
);

CREATE TABLE client (
    form BIGINT NOT NULL CHECK (form BETWEEN 1 AND 6),
    scope TEXT COLLATE "C" NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32),
    seq BIGINT NOT NULL CHECK (seq > 0),
    at_us BIGINT NOT NULL,
    result BYTEA NOT NULL,
    PRIMARY KEY (form, scope, node, id)
);

CREATE TRIGGER client_keeps_rows
BEFORE UPDATE OR DELETE OR TRUNCATE ON client
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE request (
    principal TEXT COLLATE "C" NOT NULL,
    route TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL CHECK (length(fingerprint) = 32),
    result BYTEA NOT NULL,
    seq BIGINT NOT NULL CHECK (seq > 0),
    at_us BIGINT NOT NULL,
    PRIMARY KEY (principal, route, key)
);

CREATE INDEX request_by_age ON request (seq);

CREATE TABLE policy (
    seq BIGINT NOT NULL PRIMARY KEY CHECK (seq > 0),
    from_us BIGINT NOT NULL,
    policy BYTEA NOT NULL
);

CREATE TRIGGER policy_keeps_rows
BEFORE UPDATE OR DELETE OR TRUNCATE ON policy
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE book_node (
    node BIGINT NOT NULL PRIMARY KEY,
    network TEXT COLLATE "C",
    vcpus BIGINT CHECK (vcpus >= 0),
    agent_vcpus BIGINT CHECK (agent_vcpus >= 0),
    tier BIGINT NOT NULL CHECK (tier BETWEEN 1 AND 3),
    registered BIGINT NOT NULL CHECK (registered IN (0, 1)),
    banned BIGINT NOT NULL CHECK (banned IN (0, 1)),
    platform BYTEA CHECK (platform IS NULL OR length(platform) = 32),
    expires_at_us BIGINT,
    revenue BYTEA NOT NULL,
    created_at_us BIGINT NOT NULL,
    updated_at_us BIGINT NOT NULL
);

CREATE TABLE node_price (
    node BIGINT NOT NULL,
    from_us BIGINT NOT NULL,
    price BIGINT NOT NULL CHECK (price >= 0),
    PRIMARY KEY (node, from_us)
);

CREATE TABLE fact (
    no BIGINT NOT NULL PRIMARY KEY,
    node BIGINT,
    kind BIGINT NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT,
    cause BIGINT NOT NULL CHECK (cause >= 0),
    epoch BIGINT,
    ending BIGINT NOT NULL CHECK (ending BETWEEN 1 AND 3),
    CHECK (until_us IS NULL OR until_us >= from_us)
);

CREATE INDEX fact_by_node ON fact (node);

CREATE INDEX fact_by_end ON fact (until_us, no);

CREATE TABLE observer (
    epoch BIGINT NOT NULL PRIMARY KEY CHECK (epoch > 0),
    replica TEXT COLLATE "C" NOT NULL,
    started_us BIGINT NOT NULL,
    watermark_us BIGINT NOT NULL,
    drained_us BIGINT,
    ending BIGINT NOT NULL CHECK (ending BETWEEN 1 AND 3)
);

CREATE TABLE settlement (
    node BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL CHECK (end_ms > start_ms),
    verdict BIGINT NOT NULL CHECK (verdict BETWEEN 1 AND 3),
    reasons BYTEA NOT NULL,
    covered_us BIGINT NOT NULL CHECK (covered_us >= 0),
    judged_us BIGINT NOT NULL CHECK (judged_us >= 0),
    facts_hash BYTEA NOT NULL CHECK (length(facts_hash) = 32),
    policy_hash BYTEA NOT NULL CHECK (length(policy_hash) = 32),
    state BIGINT NOT NULL CHECK (state BETWEEN 1 AND 3),
    cursor BIGINT,
    settled BIGINT NOT NULL CHECK (settled >= 0),
    failed BIGINT NOT NULL CHECK (failed >= 0),
    posted BIGINT NOT NULL CHECK (posted >= 0),
    returned BIGINT NOT NULL CHECK (returned >= 0),
    seq BIGINT NOT NULL CHECK (seq > 0),
    at_us BIGINT NOT NULL,
    PRIMARY KEY (node, start_ms, end_ms)
);

CREATE INDEX settlement_by_period ON settlement (start_ms, end_ms, node);

CREATE INDEX settlement_open ON settlement (node, start_ms, end_ms) WHERE state = 1;

CREATE TRIGGER settlement_is_judged_once
BEFORE UPDATE ON settlement
-- 3: inconclusive so far, facts may still come.
FOR EACH ROW WHEN (OLD.state <> 3
    AND (OLD.verdict <> NEW.verdict OR OLD.seq <> NEW.seq OR OLD.facts_hash <> NEW.facts_hash))
EXECUTE FUNCTION refuse_change();

CREATE TABLE abuse (
    no BIGINT NOT NULL PRIMARY KEY,
    at_us BIGINT NOT NULL,
    node BIGINT NOT NULL,
    from_us BIGINT NOT NULL,
    until_us BIGINT,
    reason TEXT COLLATE "C" NOT NULL,
    reported_by TEXT COLLATE "C" NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    state BIGINT NOT NULL CHECK (state BETWEEN 1 AND 4),
    decision BIGINT CHECK (decision BETWEEN 1 AND 3),
    authorized_by TEXT COLLATE "C",
    decision_actor TEXT COLLATE "C",
    decision_at_us BIGINT
);

CREATE INDEX abuse_by_node ON abuse (node);

CREATE TABLE slash (
    no BIGINT NOT NULL PRIMARY KEY,
    at_us BIGINT NOT NULL,
    node BIGINT NOT NULL,
    reason BIGINT NOT NULL CHECK (reason IN (1, 2)),
    evidence TEXT COLLATE "C" NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    due_us BIGINT,
    state BIGINT NOT NULL CHECK (state BETWEEN 1 AND 4),
    decision BIGINT CHECK (decision BETWEEN 1 AND 3),
    authorized_by TEXT COLLATE "C",
    decision_actor TEXT COLLATE "C",
    decision_at_us BIGINT
);

CREATE TABLE unbonding (
    no BIGINT NOT NULL PRIMARY KEY,
    node BIGINT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0),
    free_at_us BIGINT NOT NULL
);

CREATE INDEX unbonding_by_amount ON unbonding (amount, no);

CREATE TABLE hold (
    node BIGINT NOT NULL,
    start_ms BIGINT NOT NULL,
    end_ms BIGINT NOT NULL CHECK (end_ms > start_ms),
    amount BIGINT NOT NULL CHECK (amount >= 0),
    free_at_us BIGINT NOT NULL,
    PRIMARY KEY (node, start_ms, end_ms)
);

CREATE INDEX hold_by_amount ON hold (amount, node, start_ms, end_ms);

CREATE TABLE claim (
    no BIGINT NOT NULL PRIMARY KEY,
    node BIGINT NOT NULL,
    account BIGINT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount >= 0)
);

CREATE INDEX claim_by_amount ON claim (amount, no);
