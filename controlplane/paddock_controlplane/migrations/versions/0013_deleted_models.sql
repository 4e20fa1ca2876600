-- owner: empty for the platform's own.
-- A registration that was deleted: its bytes stay known under the licenses that bound them when it was registered.
CREATE TABLE deleted_models (
    id text NOT NULL,
    owner text NOT NULL,
    licenses jsonb NOT NULL,
    output_licenses jsonb NOT NULL,
    modality jsonb NOT NULL,
    weights jsonb NOT NULL,
    deleted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, owner)
);
-- --
GRANT SELECT, INSERT, UPDATE ON deleted_models TO paddock_app;
-- --
ALTER TABLE deleted_models ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE deleted_models FORCE ROW LEVEL SECURITY;
-- --
CREATE POLICY scope ON deleted_models USING (current_setting('paddock.tenant', true) IN ('*', owner));
