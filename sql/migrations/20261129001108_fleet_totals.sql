-- migrate:up
-- Devices, counted once a minute by maintenance: counting a large fleet takes too long for a request. One row.
CREATE TABLE device_totals (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    counted_at timestamptz,
    vehicles bigint NOT NULL DEFAULT 0,
    vehicles_reporting bigint NOT NULL DEFAULT 0,
    meters bigint NOT NULL DEFAULT 0,
    meters_reporting bigint NOT NULL DEFAULT 0,
    newest_reading timestamptz
);
INSERT INTO device_totals DEFAULT VALUES;

-- The last evaluation of the fleet, counted and summed by status and by the bucket of the histogram that contains the ratio.
CREATE TABLE evaluation_totals (
    status text NOT NULL,
    bucket integer NOT NULL,
    vehicles bigint NOT NULL,
    window_end timestamptz NOT NULL,
    ac_kwh double precision NOT NULL,
    dc_kwh double precision NOT NULL,
    ac_kwh_compared double precision,
    dc_kwh_compared double precision,
    PRIMARY KEY (status, bucket)
);
COMMENT ON COLUMN evaluation_totals.bucket IS '1 is the lowest; 0: the vehicles have no ratio';
COMMENT ON COLUMN evaluation_totals.window_end IS 'of the vehicle that was evaluated first';

-- The rows of evaluation_totals, from all evaluated vehicles. `bounds`: of the buckets, the lowest first.
CREATE FUNCTION sum_evaluations(bounds double precision[]) RETURNS SETOF evaluation_totals LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT status, coalesce(width_bucket(ratio, bounds), 0) AS bucket, count(*), min(window_end), sum(ac_kwh), sum(dc_kwh),
        -- NULL: only ever evaluated by a version that leaves these columns as they are (docs/operations.md)
        sum(coalesce(ac_kwh_compared, ac_kwh)), sum(coalesce(dc_kwh_compared, dc_kwh_assigned))
    FROM vehicle_efficiency
    GROUP BY 1, 2;
END;

GRANT SELECT ON device_totals, evaluation_totals TO energy_reader;
GRANT EXECUTE ON FUNCTION sum_evaluations TO energy_reader;

-- migrate:down
DROP FUNCTION sum_evaluations;
DROP TABLE evaluation_totals, device_totals;
