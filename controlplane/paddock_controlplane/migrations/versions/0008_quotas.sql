ALTER TABLE tenants ADD COLUMN end_user_limits jsonb NOT NULL DEFAULT '{}';
-- --
CREATE TABLE projects (
    tenant text NOT NULL REFERENCES tenants (id),
    name text NOT NULL,
    limits jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);
-- --
-- NULL: the key belongs to no project.
ALTER TABLE api_keys
    ADD COLUMN project text,
    ADD FOREIGN KEY (tenant, project) REFERENCES projects (tenant, name);
-- --
CREATE TABLE platform_limits (
    id text PRIMARY KEY CHECK (id = 'platform'),
    limits jsonb NOT NULL
);
-- --
-- One limit of one level, shared by all gateways. A rate's account is `bucket` (units times 6e10) as of `at` (Unix
-- nanoseconds); a budget's is what the ledger shows as spent, and what leases hold beyond that; a pool's is its leases.
CREATE TABLE quota_accounts (
    level text NOT NULL,
    kind text NOT NULL,
    period text NOT NULL,
    tenant text NOT NULL,
    ceiling bigint NOT NULL,
    spent bigint NOT NULL DEFAULT 0,
    leased bigint NOT NULL DEFAULT 0 CHECK (leased >= 0),
    bucket numeric NOT NULL DEFAULT 0,
    at bigint NOT NULL DEFAULT 0,
    used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (level, kind, period)
);
-- --
-- Whether there are budgets at all is asked for every batch of the ledger.
CREATE INDEX quota_accounts_budgets ON quota_accounts (period) WHERE period <> '';
-- --
-- What a gateway instance holds. `orphaned` is of its earlier processes: their last records may still come.
CREATE TABLE quota_leases (
    instance text NOT NULL,
    level text NOT NULL,
    kind text NOT NULL,
    period text NOT NULL,
    leased bigint NOT NULL DEFAULT 0 CHECK (leased >= 0),
    orphaned bigint NOT NULL DEFAULT 0 CHECK (orphaned >= 0),
    PRIMARY KEY (instance, level, kind, period),
    FOREIGN KEY (level, kind, period) REFERENCES quota_accounts ON DELETE CASCADE
);
-- --
CREATE INDEX quota_leases_account ON quota_leases (level, kind, period);
-- --
-- The process that an instance runs as, and its last call with the answer, to be given again if it was lost.
CREATE TABLE quota_sessions (
    instance text PRIMARY KEY,
    session text NOT NULL,
    started_at double precision NOT NULL,
    number bigint NOT NULL,
    answer bytea NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    orphaned_at timestamptz
);
-- --
-- Moves what the ledger has just taken in from leased to spent. It runs in the ledger's own transaction, once for a
-- batch, so an account and the ledger cannot differ, whatever is sent twice. The lock keeps accounts from being made
-- between a row and its sum; accounts are locked in the order of their key, as everywhere.
CREATE TYPE quota_brought AS (level text, kind text, period text, instance text, old_amount bigint, new_amount bigint);
-- --
CREATE FUNCTION paddock_quota_settle() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    brought quota_brought[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('paddock.quota_accounts'));
    IF NOT EXISTS (SELECT FROM quota_accounts WHERE period <> '') THEN
        RETURN NULL;
    END IF;
    WITH grouped AS (
        SELECT e.tenant, coalesce(e.project, '') AS project, e.key_id, coalesce(e.end_user_hash, '') AS person,
            e.gateway_instance AS instance, (to_timestamp(e.t_admit) AT TIME ZONE 'UTC')::date AS day,
            coalesce(e.t_admit < s.started_at, false) AS earlier,
            sum(e.input_tokens + e.output_tokens) AS tokens, sum(coalesce(e.cost_nano, 0)) AS nano
        FROM entered AS e LEFT JOIN quota_sessions AS s ON s.instance = e.gateway_instance
        GROUP BY 1, 2, 3, 4, 5, 6, 7
    ), spread AS (
        SELECT a.level, a.kind, a.period, g.instance, g.earlier, CASE WHEN k.money THEN g.nano ELSE g.tokens END AS amount
        FROM grouped AS g
        CROSS JOIN LATERAL (VALUES ('platform'), ('tenant:' || tenant), ('project:' || tenant || '/' || project),
            ('key:' || key_id), ('user:' || tenant || ':' || person)) AS l (level)
        CROSS JOIN LATERAL (VALUES ('tokens_per_day', to_char(day, 'YYYY-MM-DD'), false),
            ('tokens_per_month', to_char(day, 'YYYY-MM'), false),
            ('money_per_month_nano', to_char(day, 'YYYY-MM'), true)) AS k (kind, period, money)
        JOIN quota_accounts AS a ON a.level = l.level AND a.kind = k.kind AND a.period = k.period
    ), summed AS (
        SELECT level, kind, period, instance, coalesce(sum(amount) FILTER (WHERE earlier), 0)::bigint AS old_amount,
            coalesce(sum(amount) FILTER (WHERE NOT earlier), 0)::bigint AS new_amount
        FROM spread GROUP BY 1, 2, 3, 4
    )
    SELECT array_agg(ROW(level, kind, period, instance, old_amount, new_amount)::quota_brought) INTO brought FROM summed;
    IF brought IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM FROM quota_accounts WHERE (level, kind, period) IN (SELECT b.level, b.kind, b.period FROM unnest(brought) AS b)
        ORDER BY level, kind, period FOR UPDATE;
    -- Under those locks nobody else changes these leases. Old rows settle what is orphaned first, then what is leased.
    WITH covered AS (
        SELECT b.level, b.kind, b.period, b.instance,
            greatest(0, least(l.orphaned, b.old_amount)) AS old_part,
            greatest(0, least(l.leased, b.old_amount + b.new_amount - greatest(0, least(l.orphaned, b.old_amount))))
                AS new_part
        FROM unnest(brought) AS b JOIN quota_leases AS l USING (instance, level, kind, period)
    ), settled AS (
        UPDATE quota_leases AS l SET orphaned = l.orphaned - c.old_part, leased = l.leased - c.new_part FROM covered AS c
        WHERE (l.instance, l.level, l.kind, l.period) = (c.instance, c.level, c.kind, c.period)
    ), summed AS (
        SELECT b.level, b.kind, b.period, sum(b.old_amount + b.new_amount)::bigint AS amount,
            coalesce(sum(c.old_part + c.new_part), 0)::bigint AS freed
        FROM unnest(brought) AS b LEFT JOIN covered AS c USING (instance, level, kind, period) GROUP BY 1, 2, 3
    )
    UPDATE quota_accounts AS a SET spent = a.spent + s.amount, leased = a.leased - s.freed, used_at = now()
        FROM summed AS s WHERE (a.level, a.kind, a.period) = (s.level, s.kind, s.period);
    RETURN NULL;
END $$;
-- --
CREATE TRIGGER quota_settle AFTER INSERT ON usage REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION paddock_quota_settle();
-- --
GRANT SELECT, INSERT, UPDATE, DELETE ON projects, quota_accounts, quota_leases, quota_sessions TO paddock_app;
-- --
GRANT SELECT, INSERT, UPDATE ON platform_limits TO paddock_app;
-- --
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['projects', 'quota_accounts', 'quota_leases', 'quota_sessions', 'platform_limits'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['projects', 'quota_accounts'] LOOP
        EXECUTE format(
            'CREATE POLICY scope ON %I USING (current_setting(''paddock.tenant'', true) IN (''*'', tenant))', name);
    END LOOP;
    FOREACH name IN ARRAY ARRAY['quota_leases', 'quota_sessions', 'platform_limits'] LOOP
        EXECUTE format(
            'CREATE POLICY scope ON %I USING (current_setting(''paddock.tenant'', true) = ''*'')', name);
    END LOOP;
END $$;
