-- The secret before the last rotation opens the credential until `previous_until`, Unix seconds.
ALTER TABLE api_keys
    ADD COLUMN scopes jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN previous_sha256 text NOT NULL DEFAULT '',
    ADD COLUMN previous_until double precision NOT NULL DEFAULT 0,
    ADD COLUMN rotated_at timestamptz;
-- --
ALTER TABLE tenant_admins
    ADD COLUMN name text NOT NULL DEFAULT '',
    ADD COLUMN expires_at double precision,
    ADD COLUMN previous_sha256 text NOT NULL DEFAULT '',
    ADD COLUMN previous_until double precision NOT NULL DEFAULT 0,
    ADD COLUMN rotated_at timestamptz,
    ADD COLUMN revoked_at timestamptz;
-- --
CREATE INDEX tenant_admins_tenant ON tenant_admins (tenant);
-- --
-- A pod of a deployment: what it asked for, when it began, and until when it was seen. Times are Unix milliseconds.
-- tenant is NULL where the namespace belonged to nobody when the pod was first reported: only the platform sees that.
CREATE TABLE pod_time (
    uid text PRIMARY KEY,
    tenant text,
    deployment text NOT NULL,
    gpus bigint NOT NULL CHECK (gpus >= 0),
    cpu_millis bigint NOT NULL CHECK (cpu_millis >= 0),
    started_ms bigint NOT NULL,
    seen_ms bigint NOT NULL,
    CHECK (seen_ms >= started_ms)
);
-- --
CREATE INDEX pod_time_seen ON pod_time (seen_ms);
-- --
GRANT SELECT, INSERT, UPDATE, DELETE ON pod_time TO paddock_app;
-- --
ALTER TABLE pod_time ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE pod_time FORCE ROW LEVEL SECURITY;
-- --
CREATE POLICY scope ON pod_time USING (current_setting('paddock.tenant', true) IN ('*', tenant));
