-- name: database_clock()$
SELECT clock_timestamp();

-- name: newest_reading()^
-- The clock of the database, and the newest reading of any device by its own clock; NULL without readings.
SELECT clock_timestamp() AS database_clock,
    greatest(
        (SELECT max(recorded_at) FROM meter_live_status WHERE isfinite(recorded_at)),
        (SELECT max(recorded_at) FROM vehicle_live_status)
    ) AS newest_reading;
