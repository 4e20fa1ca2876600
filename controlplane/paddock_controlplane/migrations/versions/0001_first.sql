-- The role that every transaction takes on. It owns nothing, so row-level security always binds it.
DO $$
BEGIN
    CREATE ROLE paddock_app NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this server already made it
END $$;
-- --
DO $$
BEGIN
    EXECUTE format('GRANT paddock_app TO %I', current_user);
EXCEPTION WHEN unique_violation OR SQLSTATE 'XX000' THEN
    NULL; -- granted at this very moment by another database's migration
END $$;
-- --
-- The end of both chains. Its one row is what makes revisions and audit entries follow each other without gaps.
CREATE TABLE head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    revision bigint NOT NULL DEFAULT 0,
    policy_floor bigint NOT NULL DEFAULT 0,
    audit_seq bigint NOT NULL DEFAULT 0,
    audit_digest text NOT NULL DEFAULT repeat('0', 64)
);
-- --
INSERT INTO head DEFAULT VALUES;
-- --
CREATE TABLE policy_log (
    revision bigint PRIMARY KEY,
    kind text NOT NULL,
    id text NOT NULL,
    body jsonb,
    at timestamptz NOT NULL DEFAULT now()
);
-- --
CREATE INDEX policy_log_object ON policy_log (kind, id, revision DESC);
-- --
CREATE TABLE audit_log (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    tenant text,
    entity text,
    detail text NOT NULL,
    commitments text NOT NULL,
    prev text NOT NULL,
    digest text NOT NULL
);
-- --
CREATE TABLE idempotency_keys (
    principal text NOT NULL,
    key text NOT NULL,
    request text NOT NULL,
    status bigint,
    answer bytea,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, key)
);
-- --
CREATE INDEX idempotency_keys_at ON idempotency_keys (at);
-- --
CREATE TABLE entities (
    id text PRIMARY KEY,
    legal_name text NOT NULL,
    principal_place_of_business text NOT NULL CHECK (principal_place_of_business ~ '^[A-Z]{2}$'),
    receives_integrated_product boolean NOT NULL DEFAULT false,
    is_operator boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
-- --
CREATE UNIQUE INDEX entities_one_operator ON entities (is_operator) WHERE is_operator;
-- --
CREATE TABLE affiliations (
    entity text NOT NULL REFERENCES entities (id),
    affiliate text NOT NULL,
    PRIMARY KEY (entity, affiliate)
);
-- --
CREATE TABLE people (
    id text PRIMARY KEY,
    entity text NOT NULL REFERENCES entities (id),
    name text NOT NULL,
    title text NOT NULL,
    email text NOT NULL,
    authority text NOT NULL,
    salt bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
-- --
CREATE TABLE tenants (
    id text PRIMARY KEY,
    entity text NOT NULL REFERENCES entities (id),
    priced boolean NOT NULL DEFAULT false,
    limits jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
-- --
CREATE INDEX tenants_entity ON tenants (entity);
-- --
CREATE TABLE tenant_admins (
    id text PRIMARY KEY,
    tenant text NOT NULL REFERENCES tenants (id),
    secret_sha256 text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
-- --
CREATE TABLE namespaces (
    id text PRIMARY KEY,
    tenant text NOT NULL REFERENCES tenants (id),
    created_at timestamptz NOT NULL DEFAULT now()
);
-- --
CREATE INDEX namespaces_tenant ON namespaces (tenant);
-- --
CREATE TABLE api_keys (
    id text PRIMARY KEY,
    tenant text NOT NULL REFERENCES tenants (id),
    name text NOT NULL,
    secret_sha256 text NOT NULL,
    expires_at double precision,
    models jsonb NOT NULL DEFAULT '[]',
    limits jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
-- --
CREATE INDEX api_keys_tenant ON api_keys (tenant);
-- --
CREATE TABLE license_texts (
    license text NOT NULL,
    role text NOT NULL CHECK (role IN ('agreement', 'aup')),
    raw text NOT NULL,
    canonical text NOT NULL,
    content text NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (license, role)
);
-- --
CREATE TABLE offers (
    id text PRIMARY KEY,
    entity text NOT NULL REFERENCES entities (id),
    license text NOT NULL,
    role text NOT NULL CHECK (role IN ('operator', 'deployer', 'consumer')),
    digests jsonb NOT NULL,
    signatory_name text NOT NULL,
    signatory_email text NOT NULL,
    delivered_by text NOT NULL,
    offered_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
-- --
CREATE TABLE signatory_credentials (
    id text PRIMARY KEY,
    offer text NOT NULL UNIQUE REFERENCES offers (id),
    entity text NOT NULL REFERENCES entities (id),
    secret_sha256 text NOT NULL,
    used_at timestamptz
);
-- --
CREATE TABLE acceptances (
    id text PRIMARY KEY,
    entity text NOT NULL REFERENCES entities (id),
    license text NOT NULL,
    role text NOT NULL,
    offer text NOT NULL UNIQUE REFERENCES offers (id),
    person text REFERENCES people (id),
    jurisdiction text NOT NULL,
    digests jsonb NOT NULL,
    canonical text NOT NULL,
    flow_down boolean NOT NULL,
    state text NOT NULL,
    at double precision NOT NULL,
    ended_at timestamptz,
    ended_reason text
);
-- --
CREATE INDEX acceptances_entity ON acceptances (entity, license, role);
-- --
CREATE TABLE statements (
    id text PRIMARY KEY,
    entity text NOT NULL REFERENCES entities (id),
    license text NOT NULL,
    acceptance text NOT NULL REFERENCES acceptances (id),
    band text NOT NULL CHECK (band IN ('le_700m', 'gt_700m')),
    month text NOT NULL,
    method text NOT NULL,
    affiliates_included boolean NOT NULL,
    value bigint,
    at double precision NOT NULL
);
-- --
CREATE INDEX statements_entity ON statements (entity, license);
-- --
CREATE TABLE usage (
    usage_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    key_id text NOT NULL,
    owner_tenant text NOT NULL,
    deployment text NOT NULL,
    model text NOT NULL,
    dialect text NOT NULL,
    operation text NOT NULL,
    stream boolean NOT NULL,
    status text NOT NULL,
    finish_reason text,
    t_admit double precision NOT NULL,
    t_first_token double precision,
    t_end double precision NOT NULL,
    reserved_tokens bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens_engine bigint,
    output_tokens_sent bigint NOT NULL,
    output_tokens bigint NOT NULL,
    billed_from text NOT NULL,
    usage_source text NOT NULL,
    acceptance_id text NOT NULL,
    end_user_hash text,
    gateway_instance text NOT NULL,
    journal_seq bigint NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY RANGE (usage_id);
-- --
CREATE INDEX usage_tenant ON usage (tenant, usage_id);
-- --
-- Rows whose id lies outside of every day's bounds. Uniqueness holds, since the bounds are of the key itself.
CREATE TABLE usage_other PARTITION OF usage DEFAULT;
-- --
CREATE TABLE usage_hour (
    tenant text NOT NULL,
    hour timestamptz NOT NULL,
    model text NOT NULL,
    deployment text NOT NULL,
    key_id text NOT NULL,
    requests bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    inexact_requests bigint NOT NULL,
    PRIMARY KEY (tenant, hour, model, deployment, key_id)
);
-- --
-- Makes a day's partition: the first 48 bits of a UUIDv7 are its Unix time in milliseconds. The application's role may
-- not create tables, so this runs as the owner. False: the day's rows already lie in usage_other and stay there.
CREATE FUNCTION paddock_usage_partition(day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    starts bigint := extract(epoch FROM day::timestamp AT TIME ZONE 'UTC')::bigint * 1000;
    name text := 'usage_' || to_char(day, 'YYYYMMDD');
BEGIN
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
REVOKE ALL ON FUNCTION paddock_usage_partition(date) FROM PUBLIC;
-- --
GRANT EXECUTE ON FUNCTION paddock_usage_partition(date) TO paddock_app;
-- --
DO $$
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO paddock_app', current_schema());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO paddock_app', current_database());
END $$;
-- --
GRANT SELECT, INSERT, UPDATE, DELETE ON namespaces, api_keys, idempotency_keys, affiliations, people TO paddock_app;
-- --
GRANT SELECT, INSERT, UPDATE ON
    entities, tenants, tenant_admins, license_texts, offers, signatory_credentials, acceptances, statements, usage_hour
TO paddock_app;
-- --
-- What was recorded is never changed: no UPDATE on the ledger and the logs. Superseded policy rows may be dropped.
GRANT SELECT, INSERT ON usage, audit_log TO paddock_app;
-- --
GRANT SELECT, INSERT, DELETE ON policy_log TO paddock_app;
-- --
GRANT SELECT, UPDATE ON head TO paddock_app;
-- --
GRANT SELECT ON alembic_version TO paddock_app;
-- --
DO $$
DECLARE
    protected record;
BEGIN
    FOR protected IN
        SELECT * FROM (VALUES
            ('tenants', 'id', 'tenant'), ('tenant_admins', 'tenant', 'tenant'), ('namespaces', 'tenant', 'tenant'),
            ('api_keys', 'tenant', 'tenant'), ('usage', 'tenant', 'tenant'), ('usage_hour', 'tenant', 'tenant'),
            ('entities', 'id', 'entity'), ('affiliations', 'entity', 'entity'), ('people', 'entity', 'entity'),
            ('offers', 'entity', 'entity'), ('signatory_credentials', 'entity', 'entity'),
            ('acceptances', 'entity', 'entity'), ('statements', 'entity', 'entity'),
            ('idempotency_keys', 'principal', 'principal')
        ) AS list (name, key, scope)
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', protected.name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', protected.name);
        EXECUTE format(
            'CREATE POLICY scope ON %I USING (current_setting(%L, true) IN (''*'', %I))',
            protected.name, 'paddock.' || protected.scope, protected.key);
    END LOOP;
END $$;
-- --
-- Everybody's acts are written to the logs; only the platform reads them.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['audit_log', 'policy_log'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY append ON %I FOR INSERT WITH CHECK (true)', name);
        EXECUTE format('CREATE POLICY read ON %I FOR SELECT USING (current_setting(''paddock.tenant'', true) = ''*'')', name);
    END LOOP;
END $$;
-- --
CREATE POLICY prune ON policy_log FOR DELETE USING (current_setting('paddock.tenant', true) = '*');
