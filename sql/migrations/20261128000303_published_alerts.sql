-- migrate:up
CREATE INDEX alert_outbox_published ON alert_outbox (published_at) WHERE published_at IS NOT NULL;

-- migrate:down
DROP INDEX alert_outbox_published;
