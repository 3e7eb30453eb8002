-- name: ensure_partitions(oldest, newest)
-- Creates the monthly partitions that are missing between two instants, and returns their names.
SELECT ensure_history_partitions(:oldest::timestamptz, :newest::timestamptz) AS partition;
