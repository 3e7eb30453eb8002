-- name: breakers(consumer_group)
-- The topics that are not read, or whose refused records are let through.
SELECT topic, state, detail, changed_at FROM topic_breakers WHERE consumer_group = :consumer_group ORDER BY topic;

-- name: open_breaker(consumer_group, topic, detail)!
-- One replica speaks for all; what an operator has decided meanwhile stays.
INSERT INTO topic_breakers (consumer_group, topic, state, detail)
VALUES (:consumer_group, :topic, 'open', :detail)
ON CONFLICT DO NOTHING;

-- name: let_through(consumer_group, topic)^
UPDATE topic_breakers SET state = 'letting_through', changed_at = now()
WHERE consumer_group = :consumer_group AND topic = :topic
RETURNING topic;

-- name: close_breaker(consumer_group, topic)^
DELETE FROM topic_breakers WHERE consumer_group = :consumer_group AND topic = :topic RETURNING topic;

-- name: end_let_through(consumer_group, topic, since)^
-- Only what the replica has seen: somebody may have opened or let through anew meanwhile.
DELETE FROM topic_breakers
WHERE consumer_group = :consumer_group AND topic = :topic AND state = 'letting_through' AND changed_at = :since
RETURNING topic;
