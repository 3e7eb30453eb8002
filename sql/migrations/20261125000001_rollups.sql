-- migrate:up
-- Hours of each device, complete up to a watermark. Above it, and for hours changed by late readings, queries read history, so
-- every reading counts once and immediately, whenever the last refresh was.
CREATE TABLE meter_energy_hourly (
    hour timestamptz NOT NULL,
    kwh_consumed_ac double precision NOT NULL,
    readings integer NOT NULL CHECK (readings > 0),
    meter_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (meter_id, hour)
) PARTITION BY RANGE (hour);

CREATE TABLE vehicle_energy_hourly (
    hour timestamptz NOT NULL,
    kwh_delivered_dc double precision NOT NULL,
    battery_temp_sum double precision NOT NULL,
    battery_temp_max double precision NOT NULL,
    soc_min double precision NOT NULL,
    soc_max double precision NOT NULL,
    readings integer NOT NULL CHECK (readings > 0),
    vehicle_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (vehicle_id, hour)
) PARTITION BY RANGE (hour);

-- One row. `late_before` advances first: writers mark the hours of older readings in late_hours. `complete_before` (the watermark)
-- follows when the hours up to it are rolled up.
CREATE TABLE rollup_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    late_before timestamptz NOT NULL DEFAULT '-infinity',
    complete_before timestamptz NOT NULL DEFAULT '-infinity',
    refreshed_at timestamptz NOT NULL DEFAULT now(),
    CHECK (complete_before <= late_before)
);
INSERT INTO rollup_state DEFAULT VALUES;

-- Hours whose rollup differs from history. Writers only insert and the refresh only deletes, so neither blocks the other.
-- device_id '' stands for all devices of that side.
CREATE TABLE late_hours (
    marked_at timestamptz NOT NULL DEFAULT now(),
    hour timestamptz NOT NULL,
    side text NOT NULL CHECK (side IN ('meter', 'vehicle')),
    device_id text COLLATE "C" NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 500
);
CREATE INDEX late_hours_by_hour ON late_hours (side, hour, device_id);

-- Reads late_before and locks it for the rest of the transaction: the refresh advances it only when no writer relies on it. Each
-- statement of a volatile function has a snapshot of its own, so the value is read after the lock was acquired.
CREATE FUNCTION hold_late_before() RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('energy.late_before'));
    RETURN (SELECT greatest(late_before, 'epoch') FROM rollup_state); -- drivers have no number for -infinity
END
$$;

-- Bounds of the part of a period that rollups can answer: its whole hours below the watermark. History answers the rest.
CREATE FUNCTION first_whole_hour(opens timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN date_trunc('hour', opens + interval '1 hour' - interval '1 microsecond', 'UTC');

CREATE FUNCTION last_whole_hour(closes timestamptz, complete_before timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN date_trunc('hour', least(closes, complete_before), 'UTC');

-- Energy of one meter during [opens, closes) in kWh, and the number of readings.
CREATE FUNCTION meter_energy(meter text, opens timestamptz, closes timestamptz, complete_before timestamptz)
RETURNS TABLE (kwh double precision, readings bigint) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sum(part.kwh), coalesce(sum(part.readings), 0)::bigint FROM (
        SELECT hourly.kwh_consumed_ac AS kwh, hourly.readings
        FROM meter_energy_hourly AS hourly
        WHERE hourly.meter_id = meter
            AND hourly.hour >= first_whole_hour(opens) AND hourly.hour < last_whole_hour(closes, complete_before)
            AND NOT EXISTS (
                SELECT FROM late_hours AS late
                WHERE late.side = 'meter' AND late.device_id IN (meter, '') AND late.hour = hourly.hour
            )
        UNION ALL
        SELECT history.kwh_consumed_ac, 1
        FROM (
            SELECT opens, least(closes, first_whole_hour(opens)) AS closes
            UNION ALL
            SELECT greatest(first_whole_hour(opens), last_whole_hour(closes, complete_before)), closes
            UNION ALL
            SELECT DISTINCT late.hour, late.hour + interval '1 hour'
            FROM late_hours AS late
            WHERE late.side = 'meter' AND late.device_id IN (meter, '')
                AND late.hour >= first_whole_hour(opens) AND late.hour < last_whole_hour(closes, complete_before)
        ) AS unrolled
        JOIN meter_telemetry_history AS history
            ON history.meter_id = meter AND history.recorded_at >= unrolled.opens AND history.recorded_at < unrolled.closes
    ) AS part
$$;

-- Energy and battery of one vehicle during [opens, closes).
CREATE FUNCTION vehicle_energy(vehicle text, opens timestamptz, closes timestamptz, complete_before timestamptz)
RETURNS TABLE (kwh double precision, readings bigint, battery_temp_sum double precision, battery_temp_max double precision,
               soc_min double precision, soc_max double precision)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sum(part.kwh), coalesce(sum(part.readings), 0)::bigint, sum(part.temp_sum), max(part.temp_max),
        min(part.soc_min), max(part.soc_max)
    FROM (
        SELECT hourly.kwh_delivered_dc AS kwh, hourly.readings, hourly.battery_temp_sum AS temp_sum,
            hourly.battery_temp_max AS temp_max, hourly.soc_min, hourly.soc_max
        FROM vehicle_energy_hourly AS hourly
        WHERE hourly.vehicle_id = vehicle
            AND hourly.hour >= first_whole_hour(opens) AND hourly.hour < last_whole_hour(closes, complete_before)
            AND NOT EXISTS (
                SELECT FROM late_hours AS late
                WHERE late.side = 'vehicle' AND late.device_id IN (vehicle, '') AND late.hour = hourly.hour
            )
        UNION ALL
        SELECT history.kwh_delivered_dc, 1, history.battery_temp, history.battery_temp, history.soc, history.soc
        FROM (
            SELECT opens, least(closes, first_whole_hour(opens)) AS closes
            UNION ALL
            SELECT greatest(first_whole_hour(opens), last_whole_hour(closes, complete_before)), closes
            UNION ALL
            SELECT DISTINCT late.hour, late.hour + interval '1 hour'
            FROM late_hours AS late
            WHERE late.side = 'vehicle' AND late.device_id IN (vehicle, '')
                AND late.hour >= first_whole_hour(opens) AND late.hour < last_whole_hour(closes, complete_before)
        ) AS unrolled
        JOIN vehicle_telemetry_history AS history
            ON history.vehicle_id = vehicle AND history.recorded_at >= unrolled.opens AND history.recorded_at < unrolled.closes
    ) AS part
$$;

-- Rollups are partitioned by month like history.
CREATE OR REPLACE FUNCTION ensure_history_partitions(oldest timestamptz, newest timestamptz) RETURNS SETOF text
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    parent text;
    part text;
    month timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.history_partitions'));
    FOREACH parent IN ARRAY ARRAY[
        'meter_telemetry_history', 'vehicle_telemetry_history', 'meter_energy_hourly', 'vehicle_energy_hourly'
    ] LOOP
        FOR month IN SELECT generate_series(date_trunc('month', oldest), newest, interval '1 month') LOOP
            part := format('%s_y%sm%s', parent, to_char(month, 'YYYY'), to_char(month, 'MM'));
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, parent);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           parent, part, month, month + interval '1 month');
            RETURN NEXT part;
        END LOOP;
    END LOOP;
END
$$;

GRANT SELECT ON rollup_state TO energy_writer;
GRANT INSERT ON late_hours TO energy_writer;
GRANT SELECT ON meter_energy_hourly, vehicle_energy_hourly, rollup_state, late_hours TO energy_reader;

-- migrate:down
CREATE OR REPLACE FUNCTION ensure_history_partitions(oldest timestamptz, newest timestamptz) RETURNS SETOF text
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
DROP FUNCTION vehicle_energy, meter_energy, last_whole_hour, first_whole_hour, hold_late_before;
DROP TABLE late_hours, rollup_state, vehicle_energy_hourly, meter_energy_hourly;
