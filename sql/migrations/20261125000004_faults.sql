-- migrate:up
-- The last evaluation of each vehicle, over the 24 hours up to window_end. One row per vehicle, updated every minute.
CREATE TABLE vehicle_efficiency (
    vehicle_id text COLLATE "C" PRIMARY KEY,
    window_end timestamptz NOT NULL,
    assigned_seconds double precision,
    ac_kwh double precision NOT NULL,
    dc_kwh double precision NOT NULL,
    dc_kwh_assigned double precision NOT NULL,
    ac_points bigint NOT NULL,
    dc_points bigint NOT NULL,
    dc_points_assigned bigint NOT NULL,
    average_battery_temp double precision,
    ratio double precision,
    ac_coverage double precision,
    dc_coverage double precision NOT NULL,
    status text NOT NULL
        CHECK (status IN ('healthy', 'degraded', 'faulty', 'insufficient_data', 'unassigned', 'implausible')),
    reason text NOT NULL,
    faulty_in_a_row integer NOT NULL DEFAULT 0,
    sound_in_a_row integer NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
COMMENT ON COLUMN vehicle_efficiency.ratio IS 'DC/AC of the assigned time, per cent';

-- Efficiency faults of chargers, from detection to recovery, with the figures at both times.
CREATE TABLE efficiency_faults (
    fault_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vehicle_id text COLLATE "C" NOT NULL,
    meter_ids text[] NOT NULL,
    opened_at timestamptz NOT NULL,
    opened_ratio double precision NOT NULL,
    opened_ac_kwh double precision NOT NULL,
    opened_dc_kwh double precision NOT NULL,
    lowest_ratio double precision NOT NULL,
    closed_at timestamptz CHECK (closed_at >= opened_at),
    closed_ratio double precision,
    closed_ac_kwh double precision,
    closed_dc_kwh double precision,
    CHECK ((closed_at IS NULL) = (closed_ratio IS NULL))
);
CREATE UNIQUE INDEX efficiency_faults_one_open ON efficiency_faults (vehicle_id) WHERE closed_at IS NULL;
CREATE INDEX efficiency_faults_of_vehicle ON efficiency_faults (vehicle_id, fault_id);

-- Transactional outbox: alerts are written in the transaction of the fault they describe, and published to Kafka by a consumer.
CREATE TABLE alert_outbox (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    key text NOT NULL,
    value text NOT NULL
);
CREATE INDEX alert_outbox_unpublished ON alert_outbox (event_id) WHERE published_at IS NULL;

-- Efficiency trend of each vehicle: slope in percentage points per day, with the 95 % interval.
CREATE TABLE vehicle_trends (
    vehicle_id text COLLATE "C" PRIMARY KEY,
    computed_at timestamptz NOT NULL,
    last_day date NOT NULL,
    days integer NOT NULL,
    slope double precision,
    slope_low double precision,
    slope_high double precision,
    level double precision,
    status text NOT NULL CHECK (status IN ('steady', 'aging', 'improving', 'insufficient_data')),
    days_until_fault double precision,
    CHECK (status = 'insufficient_data' OR slope IS NOT NULL)
);
COMMENT ON COLUMN vehicle_trends.level IS 'the fitted efficiency of the last day, per cent';

GRANT SELECT, UPDATE (published_at) ON alert_outbox TO energy_writer;
GRANT SELECT ON vehicle_efficiency, efficiency_faults, vehicle_trends TO energy_reader;

-- migrate:down
DROP TABLE vehicle_trends, alert_outbox, efficiency_faults, vehicle_efficiency;
