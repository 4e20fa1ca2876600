-- Names of the groups of end users that the tenant's reports tell apart; a request that names another counts as `other`.
ALTER TABLE tenants ADD COLUMN end_user_groups jsonb NOT NULL DEFAULT '[]';
-- --
-- JSON, as the engine reported it; empty where it reported nothing.
ALTER TABLE usage ADD COLUMN raw_usage text;
-- --
-- The days of ids (of any century: a clock gone wrong, or no UUIDv7 at all) whose rows lay in the partition for all
-- others and are no longer kept.
CREATE TABLE usage_retired_apart (
    day date PRIMARY KEY,
    rows bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
-- --
-- Hours of admission some of whose rows went that way: their sums stay, and are compared with no rows any more.
CREATE TABLE usage_retired_hours (hour timestamptz PRIMARY KEY);
-- --
CREATE FUNCTION paddock_usage_day(id uuid) RETURNS date LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT date '1970-01-01'
        + (('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 86400000)::int
$$;
-- --
-- Deletes from the partition for all others the days whose last row arrived before the horizon. Answers the rows that
-- went. The lock lets no row in between the look and the deletion.
CREATE FUNCTION paddock_usage_retire_apart(horizon timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM usage_other WHERE ingested_at < horizon) THEN
        RETURN 0;
    END IF;
    LOCK TABLE usage_other IN SHARE ROW EXCLUSIVE MODE;
    CREATE TEMPORARY TABLE retiring ON COMMIT DROP AS
        SELECT paddock_usage_day(usage_id) AS day, count(*) AS rows FROM usage_other GROUP BY 1
        HAVING max(ingested_at) < horizon;
    INSERT INTO usage_retired_hours
        SELECT DISTINCT to_timestamp(floor(t_admit / 3600) * 3600) FROM usage_other
        WHERE paddock_usage_day(usage_id) IN (SELECT day FROM retiring) ON CONFLICT DO NOTHING;
    INSERT INTO usage_retired_apart AS old (day, rows) SELECT day, rows FROM retiring
        ON CONFLICT (day) DO UPDATE SET rows = old.rows + excluded.rows, at = now();
    DELETE FROM usage_other WHERE paddock_usage_day(usage_id) IN (SELECT day FROM retiring);
    GET DIAGNOSTICS gone = ROW_COUNT;
    DROP TABLE retiring;
    RETURN gone;
END $$;
-- --
-- Whether any of these days (counted from 1970) is no longer kept.
CREATE FUNCTION paddock_usage_days_gone(days int[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM unnest(days) AS d (number) WHERE EXISTS (
        SELECT FROM usage_retired AS r WHERE r.day = date '1970-01-01' + number)
        OR EXISTS (SELECT FROM usage_retired_apart AS a WHERE a.day = date '1970-01-01' + number))
$$;
-- --
REVOKE ALL ON FUNCTION paddock_usage_retire_apart(timestamptz), paddock_usage_days_gone(int[]) FROM PUBLIC;
-- --
GRANT EXECUTE ON FUNCTION paddock_usage_retire_apart(timestamptz), paddock_usage_days_gone(int[]) TO paddock_app;
-- --
GRANT SELECT ON usage_retired_apart, usage_retired_hours TO paddock_app;
-- --
-- How far the events were taken by a receiver. One control plane at a time sends, for as long as its lease holds.
CREATE TABLE usage_sinks (
    url text PRIMARY KEY,
    cursor text NOT NULL DEFAULT '',
    sent bigint NOT NULL DEFAULT 0,
    holder text NOT NULL DEFAULT '',
    held_until timestamptz NOT NULL DEFAULT now(),
    at timestamptz NOT NULL DEFAULT now()
);
-- --
GRANT SELECT, INSERT, UPDATE ON usage_sinks TO paddock_app;
-- --
ALTER TABLE usage_sinks ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE usage_sinks FORCE ROW LEVEL SECURITY;
-- --
CREATE POLICY scope ON usage_sinks USING (current_setting('paddock.tenant', true) = '*');
