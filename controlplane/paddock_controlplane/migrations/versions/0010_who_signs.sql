-- The tables force row-level security on their owner too, and what is there already is filled in below.
SELECT set_config('paddock.tenant', '*', true), set_config('paddock.entity', '*', true);
-- --
-- issued_by: "platform", or "admin-token:ID" of the token with which it was issued; "tenant:ID" from before this was kept.
-- signs: it may issue links of the entity's signatories. The first token of the entity's first tenant may, and what is
-- issued with a token that may; never one that the platform issued, or gave a new secret, later.
ALTER TABLE tenant_admins
    ADD COLUMN issued_by text NOT NULL DEFAULT 'platform',
    ADD COLUMN signs boolean NOT NULL DEFAULT false;
-- --
UPDATE tenant_admins t SET issued_by = l.actor
FROM audit_log l WHERE l.action = 'tenant.admin.issue' AND l.subject = t.id;
-- --
UPDATE tenant_admins t SET signs = true
FROM audit_log l
WHERE l.action = 'tenant.create' AND (l.detail::jsonb ->> 'admin') = t.id
    AND t.tenant = (
        SELECT first.id FROM tenants first JOIN tenants own ON own.entity = first.entity
        WHERE own.id = t.tenant ORDER BY first.created_at, first.id LIMIT 1
    )
    AND NOT EXISTS (
        SELECT FROM audit_log r WHERE r.action = 'tenant.admin.rotate' AND r.subject = t.id AND r.actor = 'platform'
    );
-- --
-- With which admin token the link was issued, and who issued that token. Empty: the platform's own token, for its entity.
ALTER TABLE signatory_credentials
    ADD COLUMN issued_token text NOT NULL DEFAULT '',
    ADD COLUMN token_issued_by text NOT NULL DEFAULT '';
