-- name: count_waiting_alerts()^
SELECT count(*) AS alerts FROM alert_outbox WHERE published_at IS NULL;

-- name: try_lock_alerts()^
-- Whether this transaction may publish alerts. Until it ends, no other may.
SELECT pg_try_advisory_xact_lock(hashtext('energy.alerts')) AS ours;

-- name: oldest_alert()^
-- The next alert to publish.
SELECT event_id, key, value FROM alert_outbox WHERE published_at IS NULL ORDER BY event_id LIMIT 1;

-- name: mark_published(event_id)!
UPDATE alert_outbox SET published_at = now() WHERE event_id = :event_id;
