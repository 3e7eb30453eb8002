-- migrate:up
-- Months that retention has dropped: number of readings, and the archive. The ledger counts them as stored.
CREATE TABLE retired_months (
    history text NOT NULL CHECK (history IN ('meter_telemetry_history', 'vehicle_telemetry_history', 'meter_register_history')),
    month date NOT NULL,
    retired_at timestamptz NOT NULL DEFAULT now(),
    readings bigint NOT NULL CHECK (readings > 0),
    derived bigint NOT NULL DEFAULT 0 CHECK (derived BETWEEN 0 AND readings),
    archived_in text,
    PRIMARY KEY (history, month, retired_at)
);
COMMENT ON COLUMN retired_months.derived IS 'of the readings: intervals that follow from registers, which no record carried';
COMMENT ON COLUMN retired_months.archived_in IS 'directory below ARCHIVE_DIRECTORY; NULL: dropped without an archive';

-- The last success and failure of each maintenance task. One row per task.
CREATE TABLE maintenance_runs (
    task text PRIMARY KEY,
    succeeded_at timestamptz,
    failed_at timestamptz,
    error text
);

-- The contents of a table of readings as exact figures: energy in whole mWh, and the sum of the hashes of all rows, which does not
-- depend on their order and changes when any value changes.
CREATE FUNCTION contents_of(part regclass, energy name, columns text[])
RETURNS TABLE (readings bigint, derived bigint, energy_mwh numeric, first timestamptz, last timestamptz, fingerprint numeric)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT count(*), %s, coalesce(sum(round(%I * 1e6)::bigint), 0), min(recorded_at), max(recorded_at),
            coalesce(sum(hash_record_extended(ROW(%s), 0)), 0)
        FROM %s',
        CASE WHEN 'derived' = ANY(columns) THEN 'count(*) FILTER (WHERE derived)' ELSE '0::bigint' END,
        energy, (SELECT string_agg(quote_ident(name), ', ' ORDER BY position) FROM unnest(columns) WITH ORDINALITY AS c (name, position)),
        part
    );
END
$$;
REVOKE EXECUTE ON FUNCTION contents_of FROM PUBLIC;

-- migrate:down
DROP FUNCTION contents_of;
DROP TABLE maintenance_runs, retired_months;
