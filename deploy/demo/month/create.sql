-- Days of the simulated fleet, as deploy.simulator.days computes them: a row for the days of a vehicle and its meter that have the same
-- values, one a minute. `first_at` is when each of these days has its first reading.
CREATE TEMPORARY TABLE simulated_days (
    meter_id text NOT NULL,
    vehicle_id text NOT NULL,
    first_at timestamptz[] NOT NULL,
    ac_kwh double precision[] NOT NULL,
    voltage double precision[] NOT NULL,
    dc_kwh double precision[] NOT NULL,
    soc double precision[] NOT NULL,
    battery_temp double precision[] NOT NULL
) ON COMMIT DROP;
