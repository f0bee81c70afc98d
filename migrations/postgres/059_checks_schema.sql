-- The views named checks_* once more in a schema of their own, under their short names: `checks`, or SCHEMA_checks for a store
-- that lives in a schema other than public. What a `sql` check may read of this store is this and nothing else.
DO $$
DECLARE
    home text := current_schema();
    target text := CASE WHEN current_schema() = 'public' THEN 'checks' ELSE current_schema() || '_checks' END;
    v text;
    note text;
BEGIN
    EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', target);
    FOR v IN SELECT viewname FROM pg_views WHERE schemaname = home AND viewname LIKE 'checks\_%' ORDER BY 1 LOOP
        EXECUTE format('CREATE VIEW %I.%I AS SELECT * FROM %I.%I', target, substr(v, 8), home, v);
        note := obj_description(format('%I.%I', home, v)::regclass, 'pg_class');
        EXECUTE format('COMMENT ON VIEW %I.%I IS %L', target, substr(v, 8), note);
    END LOOP;
END
$$;
