-- Optional, for a fleet that is too large for one server: distributes history and live status over the workers of a Citus cluster.
-- NOT TRIED: written from the documentation of Citus (docs.citusdata.com, "Creating and Modifying Distributed Tables", "Ingesting,
-- Modifying Data", "SQL Support and Workarounds"), because no cluster was available. This is not a migration: run it once by hand, as
-- the owner of the schema on the coordinator, with all consumers stopped, on a migrated schema without readings. docs/scaling.md
-- describes what changes in the guarantees.
--     psql "$DATABASE_URL" --set ON_ERROR_STOP=1 --single-transaction --file deploy/citus/distribute.sql
\set shards 128

SET citus.multi_shard_modify_mode = 'sequential'; -- one connection per worker: this transaction creates tables and fills them

-- Distributed by device. The primary keys begin with the device, so each shard still rejects a second copy of a reading. All rows of a
-- device are on one worker, and a query about the device runs only there.
SELECT create_distributed_table('meter_telemetry_history', 'meter_id', colocate_with => 'none', shard_count => :shards);
SELECT create_distributed_table('meter_live_status', 'meter_id', colocate_with => 'meter_telemetry_history');
SELECT create_distributed_table('meter_energy_hourly', 'meter_id', colocate_with => 'meter_telemetry_history');
SELECT create_distributed_table('meter_register_history', 'meter_id', colocate_with => 'meter_telemetry_history');
SELECT create_distributed_table('meter_days', 'meter_id', colocate_with => 'meter_telemetry_history');
SELECT create_distributed_table('meter_late_readings', 'meter_id', colocate_with => 'meter_telemetry_history');
SELECT create_distributed_table('register_days', 'meter_id', colocate_with => 'meter_telemetry_history');
SELECT create_distributed_table('register_late_readings', 'meter_id', colocate_with => 'meter_telemetry_history');
-- Vehicle and meter ids have different hashes, so VEH-1 and its meter are on different shards; colocating the tables would not help.
SELECT create_distributed_table('vehicle_telemetry_history', 'vehicle_id', colocate_with => 'none', shard_count => :shards);
SELECT create_distributed_table('vehicle_live_status', 'vehicle_id', colocate_with => 'vehicle_telemetry_history');
SELECT create_distributed_table('vehicle_energy_hourly', 'vehicle_id', colocate_with => 'vehicle_telemetry_history');
SELECT create_distributed_table('vehicle_days', 'vehicle_id', colocate_with => 'vehicle_telemetry_history');
SELECT create_distributed_table('vehicle_late_readings', 'vehicle_id', colocate_with => 'vehicle_telemetry_history');

-- Joined with both sides, small and rarely changed: a copy on every node. Its exclusion constraints refer to two different devices,
-- which a distributed table does not allow.
SELECT create_reference_table('vehicle_meter_assignments');

-- The offset claims, the ledger and the single-row tables stay on the coordinator, and are added to the metadata so that transactions
-- can span both. The fence is one UPDATE there, as before. These tables cannot be distributed by device, because a Kafka partition
-- contains many devices.
SELECT citus_add_local_table_to_metadata('kafka_offsets');
SELECT citus_add_local_table_to_metadata('dead_letters');
SELECT citus_add_local_table_to_metadata('rollup_state');
SELECT citus_add_local_table_to_metadata('late_hours');
