-- migrate:up
-- What the evaluation of the fleet carries from minute to minute, for each hour in which a window begins. All of it follows from
-- readings and rollups, so these tables are not in the write-ahead log: after a crash, and on a promoted standby, they are empty.

-- Sums of all readings from the end of `hour` up to `closes`; of these, what rollups had summed, up to `rolled_up_to`.
CREATE UNLOGGED TABLE meter_carried_sums (
    hour timestamptz NOT NULL,
    closes timestamptz NOT NULL,
    kwh_consumed_ac double precision NOT NULL,
    readings bigint NOT NULL,
    rolled_up_to timestamptz NOT NULL,
    rolled_up_kwh double precision NOT NULL,
    rolled_up_readings bigint NOT NULL,
    meter_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (meter_id, hour)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE UNLOGGED TABLE vehicle_carried_sums (
    hour timestamptz NOT NULL,
    closes timestamptz NOT NULL,
    kwh_delivered_dc double precision NOT NULL,
    battery_temp_sum double precision NOT NULL,
    readings bigint NOT NULL,
    rolled_up_to timestamptz NOT NULL,
    rolled_up_kwh double precision NOT NULL,
    rolled_up_battery_temp_sum double precision NOT NULL,
    rolled_up_readings bigint NOT NULL,
    vehicle_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (vehicle_id, hour)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- Sums of the last 1, 2, 3 ... readings of `hour`, and the minutes between the minute of the oldest of them and minute 59. NULL: there
-- is no reading in this hour.
CREATE UNLOGGED TABLE meter_leaving_hours (
    hour timestamptz NOT NULL,
    meter_id text COLLATE "C" NOT NULL,
    minutes_left smallint[],
    kwh_consumed_ac double precision[],
    PRIMARY KEY (meter_id, hour)
);

CREATE UNLOGGED TABLE vehicle_leaving_hours (
    hour timestamptz NOT NULL,
    vehicle_id text COLLATE "C" NOT NULL,
    minutes_left smallint[],
    kwh_delivered_dc double precision[],
    battery_temp_sum double precision[],
    PRIMARY KEY (vehicle_id, hour)
);

-- Many times as fast as the index of the constraint one_meter_at_a_time, which is a GiST index.
CREATE INDEX vehicle_meter_assignments_by_vehicle ON vehicle_meter_assignments (vehicle_id);

-- migrate:down
DROP INDEX vehicle_meter_assignments_by_vehicle;
DROP TABLE vehicle_leaving_hours, meter_leaving_hours, vehicle_carried_sums, meter_carried_sums;
