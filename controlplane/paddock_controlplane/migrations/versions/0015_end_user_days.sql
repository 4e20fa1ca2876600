-- What each end user took on a day of UTC (that of admission), so that a budget's account is made and held against the
-- ledger without a look at the rows.
CREATE TABLE usage_end_user_day (
    tenant text NOT NULL,
    end_user_hash text NOT NULL,
    day date NOT NULL,
    tokens bigint NOT NULL,
    cost_nano numeric NOT NULL,
    PRIMARY KEY (tenant, end_user_hash, day)
);
-- --
CREATE INDEX usage_end_user_day_day ON usage_end_user_day USING brin (day) WITH (autosummarize = on);
-- --
GRANT SELECT, INSERT, UPDATE, DELETE ON usage_end_user_day TO paddock_app;
-- --
ALTER TABLE usage_end_user_day ENABLE ROW LEVEL SECURITY;
-- --
ALTER TABLE usage_end_user_day FORCE ROW LEVEL SECURITY;
-- --
CREATE POLICY scope ON usage_end_user_day USING (current_setting('paddock.tenant', true) IN ('*', tenant));
-- --
-- False while nobody has added up yet what came before the account: no gateway gets units of it.
ALTER TABLE quota_accounts ADD COLUMN summed boolean NOT NULL DEFAULT true;
-- --
-- Rows go in with their sums, whoever enters them, in the order of the key, as in the hours.
CREATE FUNCTION paddock_usage_end_users() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO usage_end_user_day AS known (tenant, end_user_hash, day, tokens, cost_nano)
        SELECT tenant, end_user_hash, (to_timestamp(t_admit) AT TIME ZONE 'UTC')::date,
            sum(input_tokens + output_tokens), coalesce(sum(cost_nano), 0)
        FROM entered WHERE end_user_hash IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (tenant, end_user_hash, day)
        DO UPDATE SET tokens = known.tokens + excluded.tokens, cost_nano = known.cost_nano + excluded.cost_nano;
    RETURN NULL;
END $$;
-- --
CREATE TRIGGER end_users AFTER INSERT ON usage REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION paddock_usage_end_users();
-- --
-- The trigger's lock keeps rows out until this ends. Budgets are of this day and this month; near its begin of that
-- before it, too, since clocks differ.
INSERT INTO usage_end_user_day (tenant, end_user_hash, day, tokens, cost_nano)
    SELECT tenant, end_user_hash, (to_timestamp(t_admit) AT TIME ZONE 'UTC')::date,
        sum(input_tokens + output_tokens), coalesce(sum(cost_nano), 0)
    FROM usage WHERE end_user_hash IS NOT NULL
        AND t_admit >= extract(epoch FROM date_trunc('month', now() - interval '2 days', 'UTC'))::double precision
    GROUP BY 1, 2, 3;
