-- The tables force row-level security on their owner too, and what is there already is filled in below.
SELECT set_config('paddock.tenant', '*', true), set_config('paddock.entity', '*', true);
-- --
-- When the signatory stated what a correction corrects: the age of a statement counts from there.
ALTER TABLE statements ADD COLUMN stated_at double precision;
-- --
-- Until when an acceptance of older words holds; null while its words are those in force.
ALTER TABLE acceptances ADD COLUMN grace_until double precision;
-- --
-- A person who compares grants with their documents, with a token of their own.
CREATE TABLE reviewers (
    id text PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL,
    delivered_by text NOT NULL,
    secret_sha256 text NOT NULL,
    salt bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);
-- --
CREATE UNIQUE INDEX reviewers_one_address ON reviewers (lower(email)) WHERE ended_at IS NULL;
-- --
-- The key of a review held an address, which could not be erased; from now on it holds the reviewer's id.
UPDATE grant_reviews SET reviewer = encode(sha256(salt || convert_to(reviewer, 'UTF8')), 'hex');
-- --
ALTER TABLE grants ADD COLUMN reviews bigint NOT NULL DEFAULT 0;
-- --
UPDATE grants SET reviews = (SELECT count(*) FROM grant_reviews WHERE grant_reviews."grant" = grants.id);
-- --
-- An entity needs a model's files: made when the download is allowed, or when a copy that is there is used.
CREATE TABLE artifact_references (
    entity text NOT NULL REFERENCES entities (id),
    model text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (entity, model)
);
-- --
CREATE INDEX artifact_references_model ON artifact_references (model);
-- --
-- What is known to lie somewhere for a model: weights on the volume, tokenizers in the store.
CREATE TABLE artifacts (
    model text NOT NULL,
    digest text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('weights', 'tokenizer')),
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, digest)
);
-- --
CREATE INDEX artifacts_digest ON artifacts (digest);
-- --
CREATE TABLE purges (
    id text PRIMARY KEY,
    model text NOT NULL,
    state text NOT NULL CHECK (state IN ('ordered', 'started', 'done', 'withdrawn')),
    why text NOT NULL CHECK (why IN ('last_reference', 'operator')),
    cause text NOT NULL,
    license text NOT NULL,
    ordered_at double precision NOT NULL,
    started_at double precision,
    ended_at double precision,
    removed jsonb NOT NULL DEFAULT '[]',
    kept jsonb NOT NULL DEFAULT '[]',
    bytes bigint NOT NULL DEFAULT 0
);
-- --
CREATE UNIQUE INDEX purges_one_open ON purges (model) WHERE state IN ('ordered', 'started');
-- --
-- Decisions that denied, counted by the hour: a flood of them is one row, and two entries of the audit log.
CREATE TABLE denials (
    hour bigint NOT NULL,
    source text NOT NULL,
    entity text NOT NULL,
    role text NOT NULL,
    verb text NOT NULL,
    model text NOT NULL,
    reason text NOT NULL,
    count bigint NOT NULL,
    told bigint NOT NULL,
    first_at double precision NOT NULL,
    last_at double precision NOT NULL,
    PRIMARY KEY (hour, source, entity, role, verb, model, reason)
);
-- --
GRANT SELECT, INSERT, UPDATE ON purges, reviewers TO paddock_app;
-- --
GRANT SELECT, INSERT, UPDATE, DELETE ON artifact_references, artifacts, denials TO paddock_app;
-- --
GRANT UPDATE ON grant_reviews TO paddock_app;
-- --
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['reviewers', 'artifacts', 'purges', 'denials'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY scope ON %I USING (current_setting(''paddock.entity'', true) = ''*'')', name);
    END LOOP;
END $$;
-- --
ALTER TABLE artifact_references ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE artifact_references FORCE ROW LEVEL SECURITY;
-- --
CREATE POLICY scope ON artifact_references USING (current_setting('paddock.entity', true) IN ('*', entity));
-- --
-- An affiliate that a grant names may see that it is covered; only the platform writes.
DROP POLICY scope ON grants;
-- --
CREATE POLICY covered ON grants FOR SELECT USING (
    current_setting('paddock.entity', true) IN ('*', entity)
    OR affiliates @> to_jsonb(current_setting('paddock.entity', true))
);
-- --
CREATE POLICY added ON grants FOR INSERT WITH CHECK (current_setting('paddock.entity', true) = '*');
-- --
CREATE POLICY changed ON grants FOR UPDATE USING (current_setting('paddock.entity', true) = '*');
