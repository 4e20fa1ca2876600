-- Models that somebody made from others. `base` and `teachers` may name models of the catalogue, which is no table.
CREATE TABLE registered_models (
    id text PRIMARY KEY,
    owner text REFERENCES tenants (id),
    base text NOT NULL,
    kind text NOT NULL,
    public_name text,
    teachers jsonb NOT NULL,
    published boolean,
    "precision" text NOT NULL,
    weights jsonb,
    managed_by text NOT NULL CHECK (managed_by IN ('api', 'cluster')),
    created_at timestamptz NOT NULL DEFAULT now()
);
-- --
CREATE INDEX registered_models_owner ON registered_models (owner);
-- --
ALTER TABLE license_policy ADD COLUMN admission text NOT NULL DEFAULT 'warn' CHECK (admission IN ('warn', 'deny'));
-- --
GRANT SELECT, INSERT, UPDATE, DELETE ON registered_models TO paddock_app;
-- --
ALTER TABLE registered_models ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE registered_models FORCE ROW LEVEL SECURITY;
-- --
-- A tenant writes its own alone.
CREATE POLICY scope ON registered_models USING (current_setting('paddock.tenant', true) IN ('*', owner));
-- --
-- The platform's models and published ones are there for every tenant.
CREATE POLICY shared ON registered_models FOR SELECT USING (
    current_setting('paddock.tenant', true) <> '' AND (owner IS NULL OR published)
);
