-- name: hold_late_before()^
-- The instant before which readings are late; it stays where it is until this transaction ends.
SELECT hold_late_before() AS late_before;

-- name: mark_late(side, devices, hours)!
-- Hours that readings of this transaction have changed though they were rolled up.
INSERT INTO late_hours (side, device_id, hour)
SELECT :side, marked.* FROM unnest(:devices::text[], :hours::timestamptz[]) AS marked;
