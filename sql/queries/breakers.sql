-- name: breakers(consumer_group)
-- Topics whose circuit breaker is open, or whose rejected records are let through to the dead letters.
SELECT topic, state, detail, changed_at FROM topic_breakers WHERE consumer_group = :consumer_group ORDER BY topic;

-- name: open_breaker(consumer_group, topic, detail)!
-- One consumer opens the breaker for the whole group. An operator's decision made meanwhile is kept.
INSERT INTO topic_breakers (consumer_group, topic, state, detail)
VALUES (:consumer_group, :topic, 'open', :detail)
ON CONFLICT DO NOTHING;

-- name: stop_topic(consumer_group, topic, detail)!
-- The same because of an error of our own code, which also stops a topic whose rejected records are let through.
INSERT INTO topic_breakers AS breaker (consumer_group, topic, state, detail)
VALUES (:consumer_group, :topic, 'open', :detail)
ON CONFLICT (consumer_group, topic) DO UPDATE SET state = 'open', detail = excluded.detail, changed_at = now()
WHERE breaker.state <> 'open';

-- name: let_through(consumer_group, topic)^
UPDATE topic_breakers SET state = 'letting_through', changed_at = now()
WHERE consumer_group = :consumer_group AND topic = :topic
RETURNING topic;

-- name: close_breaker(consumer_group, topic)^
DELETE FROM topic_breakers WHERE consumer_group = :consumer_group AND topic = :topic RETURNING topic;

-- name: end_let_through(consumer_group, topic, since)^
-- Only the state that the consumer has seen: the breaker may have been opened or let through again meanwhile.
DELETE FROM topic_breakers
WHERE consumer_group = :consumer_group AND topic = :topic AND state = 'letting_through' AND changed_at = :since
RETURNING topic;
