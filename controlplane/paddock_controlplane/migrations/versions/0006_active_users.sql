-- Sketches of distinct end users (paddock_core.active_users.sketch), united from what gateways send. No person is in them.
CREATE TABLE active_users_day (
    tenant text NOT NULL REFERENCES tenants (id),
    product text NOT NULL,
    day date NOT NULL,
    sketch bytea NOT NULL,
    PRIMARY KEY (tenant, day, product)
);
-- --
CREATE INDEX active_users_day_day ON active_users_day (day);
-- --
-- The union of a month's days, which outlives them.
CREATE TABLE active_users_month (
    tenant text NOT NULL REFERENCES tenants (id),
    product text NOT NULL,
    month text NOT NULL CHECK (month ~ '^\d{4}-\d{2}$'),
    sketch bytea NOT NULL,
    PRIMARY KEY (month, tenant, product)
);
-- --
-- The first time in a month that an entity may have reached a share of a license's threshold.
CREATE TABLE active_users_marks (
    entity text NOT NULL REFERENCES entities (id),
    license text NOT NULL,
    month text NOT NULL,
    percent integer NOT NULL,
    low bigint NOT NULL,
    high bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (month, entity, license, percent)
);
-- --
GRANT SELECT, INSERT, UPDATE, DELETE ON active_users_day TO paddock_app;
-- --
GRANT SELECT, INSERT, UPDATE ON active_users_month TO paddock_app;
-- --
GRANT SELECT, INSERT ON active_users_marks TO paddock_app;
-- --
DO $$
DECLARE
    protected record;
BEGIN
    FOR protected IN
        SELECT * FROM (VALUES
            ('active_users_day', 'tenant'), ('active_users_month', 'tenant'), ('active_users_marks', 'entity')
        ) AS list (name, scope)
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', protected.name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', protected.name);
        EXECUTE format(
            'CREATE POLICY scope ON %I USING (current_setting(%L, true) IN (''*'', %I))',
            protected.name, 'paddock.' || protected.scope, protected.scope);
    END LOOP;
END $$;
