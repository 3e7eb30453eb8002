-- Stores simulated_days as folding would have stored them. Equal days are encoded once, by the schema's own functions; from day to day
-- only the first instant differs.
CREATE TEMPORARY TABLE encoded_days ON COMMIT DROP AS
WITH cadence AS MATERIALIZED (
    SELECT encode_instants(array_agg('epoch'::timestamptz + minute * interval '1 minute' ORDER BY minute)) AS recorded,
        encode_series(array_agg(0::double precision)) AS ingested -- at once
    FROM generate_series(0, 1439) AS minute
)
SELECT meter_id, vehicle_id, first_at, cardinality(ac_kwh) AS readings, cadence.recorded, cadence.ingested,
    encode_series(ac_kwh) AS kwh_consumed_ac, encode_series(voltage) AS voltage, encode_series(dc_kwh) AS kwh_delivered_dc,
    encode_series(soc) AS soc, encode_series(battery_temp) AS battery_temp, hourly.*
FROM simulated_days
CROSS JOIN cadence
CROSS JOIN LATERAL (
    SELECT array_agg(hour.readings ORDER BY hour) AS hourly_readings,
        array_agg(hour.ac_kwh ORDER BY hour) AS hourly_kwh_consumed_ac,
        array_agg(hour.dc_kwh ORDER BY hour) AS hourly_kwh_delivered_dc,
        array_agg(hour.battery_temp_sum ORDER BY hour) AS hourly_battery_temp_sum,
        array_agg(hour.battery_temp_max ORDER BY hour) AS hourly_battery_temp_max,
        array_agg(hour.soc_min ORDER BY hour) AS hourly_soc_min,
        array_agg(hour.soc_max ORDER BY hour) AS hourly_soc_max
    FROM (
        SELECT (number - 1) / 60 AS hour, count(*)::integer AS readings,
            sum(reading.ac_kwh::numeric)::double precision AS ac_kwh, sum(reading.dc_kwh::numeric)::double precision AS dc_kwh,
            sum(reading.battery_temp::numeric)::double precision AS battery_temp_sum, max(reading.battery_temp) AS battery_temp_max,
            min(reading.soc) AS soc_min, max(reading.soc) AS soc_max
        FROM unnest(ac_kwh, dc_kwh, battery_temp, soc) WITH ORDINALITY AS reading (ac_kwh, dc_kwh, battery_temp, soc, number)
        GROUP BY 1
    ) AS hour
) AS hourly;

INSERT INTO meter_days
    (meter_id, day, readings, recorded, ingested, kwh_consumed_ac, voltage, hourly_readings, hourly_kwh_consumed_ac)
SELECT meter_id, utc_day(first), readings, ROW(first, (recorded).minutes, (recorded).deviations)::instant_series, ingested,
    kwh_consumed_ac, voltage, hourly_readings, hourly_kwh_consumed_ac
FROM encoded_days CROSS JOIN unnest(first_at) AS first;

INSERT INTO vehicle_days (
    vehicle_id, day, readings, recorded, ingested, kwh_delivered_dc, soc, battery_temp, hourly_readings, hourly_kwh_delivered_dc,
    hourly_battery_temp_sum, hourly_battery_temp_max, hourly_soc_min, hourly_soc_max
)
SELECT vehicle_id, utc_day(first), readings, ROW(first, (recorded).minutes, (recorded).deviations)::instant_series, ingested,
    kwh_delivered_dc, soc, battery_temp, hourly_readings, hourly_kwh_delivered_dc, hourly_battery_temp_sum, hourly_battery_temp_max,
    hourly_soc_min, hourly_soc_max
FROM encoded_days CROSS JOIN unnest(first_at) AS first;
