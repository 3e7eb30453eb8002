-- name: primary_position()^
-- The position up to which the WAL is flushed. Fails on a standby.
SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS position;

-- name: replica_position()^
-- The replay position of this server, and the age in seconds of the last replayed commit (by the clocks of both servers; NULL when
-- nothing was replayed since the server started). On a server that is not a standby, they have no meaning.
SELECT
    pg_is_in_recovery() AS standby,
    pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint AS replayed,
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::double precision AS committed_ago;
