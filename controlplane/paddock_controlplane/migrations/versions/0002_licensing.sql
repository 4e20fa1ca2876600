ALTER TABLE entities ADD COLUMN domicile text NOT NULL DEFAULT '' CHECK (domicile ~ '^([A-Z]{2})?$');
-- --
ALTER TABLE statements
    ADD COLUMN current bigint,
    ADD COLUMN affiliates jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN corrects text REFERENCES statements (id),
    ADD COLUMN reason text;
-- --
CREATE TABLE grants (
    id text PRIMARY KEY,
    entity text NOT NULL REFERENCES entities (id),
    affiliates jsonb NOT NULL,
    licenses jsonb NOT NULL,
    models jsonb NOT NULL,
    valid_from double precision NOT NULL,
    valid_to double precision NOT NULL CHECK (valid_to > valid_from),
    grantor text NOT NULL,
    reference text NOT NULL,
    document_sha256 text NOT NULL,
    assurance text NOT NULL CHECK (assurance IN ('document', 'officer_attestation')),
    state text NOT NULL CHECK (state IN ('pending_review', 'active', 'withdrawn')),
    recorded_by text NOT NULL,
    at double precision NOT NULL,
    ended_at timestamptz,
    ended_reason text
);
-- --
CREATE INDEX grants_entity ON grants (entity);
-- --
-- Who compared the grant with its document. A person reviews a grant once; the key holds the address in lower case.
CREATE TABLE grant_reviews (
    "grant" text NOT NULL REFERENCES grants (id),
    reviewer text NOT NULL,
    entity text NOT NULL REFERENCES entities (id),
    name text NOT NULL,
    email text NOT NULL,
    salt bytea NOT NULL,
    at double precision NOT NULL,
    PRIMARY KEY ("grant", reviewer)
);
-- --
CREATE TABLE license_policy (
    id text PRIMARY KEY CHECK (id = 'platform'),
    threshold text NOT NULL CHECK (threshold IN ('literal', 'conservative')),
    consumers text NOT NULL CHECK (consumers IN ('full', 'terms_of_use')),
    grace_days double precision NOT NULL CHECK (grace_days >= 0)
);
-- --
GRANT SELECT, INSERT, UPDATE ON grants, license_policy TO paddock_app;
-- --
GRANT SELECT, INSERT, DELETE ON grant_reviews TO paddock_app;
-- --
ALTER TABLE grants ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE grants FORCE ROW LEVEL SECURITY;
-- --
-- Every entity that a grant covers may see it.
CREATE POLICY scope ON grants USING (
    current_setting('paddock.entity', true) IN ('*', entity)
    OR affiliates @> to_jsonb(current_setting('paddock.entity', true))
);
-- --
ALTER TABLE grant_reviews ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE grant_reviews FORCE ROW LEVEL SECURITY;
-- --
CREATE POLICY scope ON grant_reviews USING (current_setting('paddock.entity', true) IN ('*', entity));
