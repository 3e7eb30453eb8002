-- name: ensure_partitions(oldest, newest)
-- Makes the monthly partitions that are missing between two instants and names the new ones.
SELECT ensure_history_partitions(:oldest::timestamptz, :newest::timestamptz) AS partition;
