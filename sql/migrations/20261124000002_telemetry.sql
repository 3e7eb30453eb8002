-- migrate:up
-- History: the natural key is the identity of a reading, so the database itself rejects duplicates. Ids are compared by bytes
-- (COLLATE "C"), which is the order in which the consumer sorts and does not depend on the locale. Fixed-width columns come
-- first to avoid alignment padding.
CREATE TABLE meter_telemetry_history (
    recorded_at timestamptz NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    kwh_consumed_ac double precision NOT NULL CHECK (kwh_consumed_ac BETWEEN 0 AND 1000),
    voltage double precision NOT NULL CHECK (voltage BETWEEN 0 AND 1000),
    meter_id text COLLATE "C" NOT NULL CHECK (octet_length(meter_id) BETWEEN 1 AND 64),
    PRIMARY KEY (meter_id, recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE TABLE vehicle_telemetry_history (
    recorded_at timestamptz NOT NULL,
    ingested_at timestamptz NOT NULL DEFAULT now(),
    kwh_delivered_dc double precision NOT NULL CHECK (kwh_delivered_dc BETWEEN 0 AND 1000),
    soc double precision NOT NULL CHECK (soc BETWEEN 0 AND 100),
    battery_temp double precision NOT NULL CHECK (battery_temp BETWEEN -60 AND 150),
    vehicle_id text COLLATE "C" NOT NULL CHECK (octet_length(vehicle_id) BETWEEN 1 AND 64),
    PRIMARY KEY (vehicle_id, recorded_at)
) PARTITION BY RANGE (recorded_at);

COMMENT ON COLUMN meter_telemetry_history.recorded_at IS 'the device''s clock; ingested_at is the server''s';
COMMENT ON COLUMN vehicle_telemetry_history.recorded_at IS 'the device''s clock; ingested_at is the server''s';

-- Live status: one row per device, updated in place (the fillfactor leaves room in each page for heap-only updates).
CREATE TABLE meter_live_status (
    meter_id text COLLATE "C" PRIMARY KEY,
    last_kwh_consumed_ac double precision NOT NULL,
    last_voltage double precision NOT NULL,
    recorded_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE vehicle_live_status (
    vehicle_id text COLLATE "C" PRIMARY KEY,
    soc double precision NOT NULL,
    last_kwh_delivered_dc double precision NOT NULL,
    last_battery_temp double precision NOT NULL,
    recorded_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- One partition per month of recorded_at. The new table is created separately and then attached, so that readings can be written
-- meanwhile: CREATE TABLE ... PARTITION OF would lock the whole history.
CREATE FUNCTION ensure_history_partitions(oldest timestamptz, newest timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    history text;
    part text;
    month timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.history_partitions'));
    FOREACH history IN ARRAY ARRAY['meter_telemetry_history', 'vehicle_telemetry_history'] LOOP
        FOR month IN SELECT generate_series(date_trunc('month', oldest), newest, interval '1 month') LOOP
            part := format('%s_y%sm%s', history, to_char(month, 'YYYY'), to_char(month, 'MM'));
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, history);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           history, part, month, month + interval '1 month');
            RETURN NEXT part;
        END LOOP;
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION ensure_history_partitions FROM PUBLIC;

GRANT SELECT, INSERT ON meter_telemetry_history, vehicle_telemetry_history TO energy_writer;
GRANT SELECT, INSERT, UPDATE ON meter_live_status, vehicle_live_status TO energy_writer;
GRANT SELECT ON meter_telemetry_history, vehicle_telemetry_history, meter_live_status, vehicle_live_status TO energy_reader;

-- migrate:down
DROP FUNCTION ensure_history_partitions;
DROP TABLE vehicle_live_status, meter_live_status, vehicle_telemetry_history, meter_telemetry_history;
