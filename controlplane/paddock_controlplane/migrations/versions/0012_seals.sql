-- The salt of a record's digest in the audit chain. The chain holds the digest, so nothing here is worth changing.
CREATE TABLE seals (
    kind text NOT NULL CHECK (kind IN ('entity', 'acceptance', 'statement')),
    id text NOT NULL,
    entity text NOT NULL REFERENCES entities (id),
    salt bytea NOT NULL,
    PRIMARY KEY (kind, id)
);
-- --
GRANT SELECT, INSERT ON seals TO paddock_app;
-- --
ALTER TABLE seals ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE seals FORCE ROW LEVEL SECURITY;
-- --
CREATE POLICY scope ON seals USING (current_setting('paddock.entity', true) IN ('*', entity));
