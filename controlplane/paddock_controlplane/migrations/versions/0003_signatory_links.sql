-- The tables force row-level security on their owner too, and what is there already is filled in below.
SELECT set_config('paddock.tenant', '*', true), set_config('paddock.entity', '*', true);
-- --
ALTER TABLE signatory_credentials
    DROP CONSTRAINT signatory_credentials_offer_key,
    ADD COLUMN name text,
    ADD COLUMN email text,
    ADD COLUMN delivered_by text,
    ADD COLUMN issued_by text,
    ADD COLUMN salt bytea NOT NULL DEFAULT '',
    ADD COLUMN issued_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN revoked_at timestamptz,
    ADD COLUMN opened_at timestamptz,
    ADD COLUMN session_sha256 text;
-- --
UPDATE signatory_credentials c
SET name = o.signatory_name, email = o.signatory_email, delivered_by = o.delivered_by, issued_by = o.offered_by,
    issued_at = o.created_at
FROM offers o WHERE o.id = c.offer;
-- --
ALTER TABLE signatory_credentials
    ALTER COLUMN name SET NOT NULL,
    ALTER COLUMN email SET NOT NULL,
    ALTER COLUMN delivered_by SET NOT NULL,
    ALTER COLUMN issued_by SET NOT NULL;
-- --
-- An offer has one link at most that was not replaced.
CREATE UNIQUE INDEX signatory_credentials_live ON signatory_credentials (offer) WHERE revoked_at IS NULL;
-- --
ALTER TABLE offers
    DROP COLUMN signatory_name,
    DROP COLUMN signatory_email,
    DROP COLUMN delivered_by;
-- --
ALTER TABLE acceptances
    ADD COLUMN credential text REFERENCES signatory_credentials (id),
    ADD COLUMN audit_seq bigint,
    ADD COLUMN audit_digest text;
-- --
UPDATE acceptances a SET credential = c.id FROM signatory_credentials c WHERE c.offer = a.offer;
-- --
UPDATE acceptances a SET audit_seq = l.seq, audit_digest = l.digest
FROM audit_log l WHERE l.subject = a.id AND l.action = 'license.accept';
