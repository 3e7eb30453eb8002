-- name: primary_position()^
-- Up to where the log holds what is committed. Fails on a server that is a standby itself.
SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS position;

-- name: replica_position()^
-- How much of the primary's log this server has replayed, and how long ago the last transaction in it was committed (by the
-- clocks of both servers; null when none was replayed since the server started). A server that is no standby has all there is.
SELECT
    pg_is_in_recovery() AS standby,
    pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint AS replayed,
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::double precision AS committed_ago;
