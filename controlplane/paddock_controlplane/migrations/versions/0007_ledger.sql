-- Rows that are there already keep their place: they have no project and no price, and arrived before all others.
ALTER TABLE usage
    ADD COLUMN project text,
    ADD COLUMN end_user_group text,
    ADD COLUMN cache_read_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN cache_write_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN reasoning_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN price_id text,
    ADD COLUMN currency text,
    ADD COLUMN cost_nano bigint,
    ADD COLUMN corrects uuid,
    ADD COLUMN reason text,
    ADD COLUMN arrival bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT usage_buckets_are_disjoint CHECK (
        corrects IS NOT NULL OR (
            cache_read_tokens >= 0 AND cache_write_tokens >= 0 AND reasoning_tokens >= 0
            AND cache_read_tokens + cache_write_tokens <= input_tokens AND reasoning_tokens <= output_tokens)),
    ADD CONSTRAINT usage_cost_has_a_price CHECK (
        (price_id IS NULL) = (cost_nano IS NULL) AND (currency IS NULL) = (cost_nano IS NULL));
-- --
CREATE INDEX usage_arrival ON usage (arrival);
-- --
CREATE INDEX usage_corrects ON usage (corrects) WHERE corrects IS NOT NULL;
-- --
-- Rows lie in the order of their arrival, which is nearly that of admission: the smallest index does.
CREATE INDEX usage_t_admit ON usage USING brin (t_admit) WITH (autosummarize = on);
-- --
ALTER TABLE usage_hour
    DROP CONSTRAINT usage_hour_pkey,
    ADD COLUMN project text NOT NULL DEFAULT '',
    ADD COLUMN end_user_group text NOT NULL DEFAULT '',
    ADD COLUMN currency text NOT NULL DEFAULT '',
    ADD COLUMN cache_read_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN cache_write_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN reasoning_tokens bigint NOT NULL DEFAULT 0,
    ADD COLUMN cost_nano numeric NOT NULL DEFAULT 0,
    ADD COLUMN corrections bigint NOT NULL DEFAULT 0,
    ADD PRIMARY KEY (tenant, hour, model, deployment, key_id, project, end_user_group, currency);
-- --
-- Offset from PostgreSQL's transaction numbers to `arrival`: raised after a restore, where those numbers begin anew.
CREATE TABLE usage_clock (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    transaction_offset bigint NOT NULL DEFAULT 0
);
-- --
INSERT INTO usage_clock DEFAULT VALUES;
-- --
CREATE FUNCTION paddock_usage_arrival() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT pg_current_xact_id()::text::bigint + transaction_offset FROM usage_clock $$;
-- --
-- Every transaction whose arrival is below this has ended, so nothing can appear there any more.
CREATE FUNCTION paddock_usage_horizon() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + transaction_offset FROM usage_clock $$;
-- --
CREATE FUNCTION paddock_usage_restart_clock() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    newest bigint;
BEGIN
    PERFORM FROM usage_clock FOR UPDATE; -- two at once would raise it twice
    SELECT max(arrival) INTO newest FROM usage;
    UPDATE usage_clock SET transaction_offset = transaction_offset + newest - paddock_usage_arrival() + 1
    WHERE newest >= paddock_usage_arrival();
END $$;
-- --
-- Days whose rows are no longer kept. An id of such a day is refused: it could not be told from a replay.
CREATE TABLE usage_retired (
    day date PRIMARY KEY,
    rows bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
-- --
-- Drops a day's partition if its last row arrived before the horizon. Answers the rows that went, null if it stays.
CREATE FUNCTION paddock_usage_retire(old date, horizon timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name text := 'usage_' || to_char(old, 'YYYYMMDD');
    newest timestamptz;
    found bigint;
BEGIN
    IF to_regclass('public.' || name) IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('LOCK TABLE usage IN ACCESS EXCLUSIVE MODE');
    EXECUTE format('SELECT max(ingested_at), count(*) FROM %I', name) INTO newest, found;
    IF newest >= horizon OR old >= (horizon AT TIME ZONE 'UTC')::date THEN
        RETURN NULL;
    END IF;
    EXECUTE format('DROP TABLE %I', name);
    INSERT INTO usage_retired (day, rows) VALUES (old, found);
    RETURN found;
END $$;
-- --
-- As before, but a day that was retired gets no partition again, which the answer null tells.
CREATE OR REPLACE FUNCTION paddock_usage_partition(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    starts bigint := extract(epoch FROM day::timestamp AT TIME ZONE 'UTC')::bigint * 1000;
    name text := 'usage_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF EXISTS (SELECT FROM usage_retired WHERE usage_retired.day = paddock_usage_partition.day) THEN
        RETURN NULL;
    END IF;
    IF to_regclass('public.' || name) IS NOT NULL THEN
        RETURN true;
    END IF;
    EXECUTE format(
        'CREATE TABLE %I PARTITION OF usage FOR VALUES FROM (%L) TO (%L)', name,
        rpad(lpad(to_hex(starts), 12, '0'), 32, '0')::uuid,
        rpad(lpad(to_hex(starts + 86400000), 12, '0'), 32, '0')::uuid);
    RETURN true;
EXCEPTION
    WHEN duplicate_table THEN RETURN true;
    WHEN check_violation THEN RETURN false;
END $$;
-- --
CREATE TABLE prices (
    id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    tenant text NOT NULL,
    deployment text NOT NULL,
    model text NOT NULL,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    effective_from double precision NOT NULL,
    prices jsonb,
    set_by text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    CHECK ((deployment = '') <> (model = ''))
);
-- --
-- What was issued: the signed text itself. `until_arrival` is where the next statement goes on.
CREATE TABLE usage_statements (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    month text NOT NULL CHECK (month ~ '^[0-9]{4}-[0-9]{2}$'),
    until_arrival bigint NOT NULL,
    document text NOT NULL,
    digest text NOT NULL,
    signature text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant, month)
);
-- --
REVOKE ALL ON FUNCTION paddock_usage_retire(date, timestamptz), paddock_usage_restart_clock() FROM PUBLIC;
-- --
GRANT EXECUTE ON FUNCTION paddock_usage_retire(date, timestamptz), paddock_usage_restart_clock() TO paddock_app;
-- --
GRANT SELECT ON usage_clock, usage_retired TO paddock_app;
-- --
GRANT SELECT, INSERT ON prices, usage_statements TO paddock_app;
-- --
-- Roll-ups may be built anew from the rows.
GRANT DELETE ON usage_hour TO paddock_app;
-- --
ALTER TABLE prices ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE prices FORCE ROW LEVEL SECURITY;
-- --
-- Prices for everybody are everybody's to read; only the platform sets any.
CREATE POLICY scope ON prices USING (tenant = '' OR current_setting('paddock.tenant', true) IN ('*', tenant))
    WITH CHECK (current_setting('paddock.tenant', true) = '*');
-- --
ALTER TABLE usage_statements ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE usage_statements FORCE ROW LEVEL SECURITY;
-- --
CREATE POLICY scope ON usage_statements USING (current_setting('paddock.tenant', true) IN ('*', tenant));
