-- Optional, for a fleet that no single server holds: history and live status spread over the workers of a Citus cluster.
-- NOT TRIED: written from the documentation of Citus (docs.citusdata.com, "Creating and Modifying Distributed Tables", "Ingesting,
-- Modifying Data", "SQL Support and Workarounds"), no cluster was there. Not a migration: run it once, by hand, as the owner of the
-- schema on the coordinator, with all consumers stopped, on a schema that is migrated and still without readings. docs/scaling.md says
-- what it changes in the promise.
--     psql "$DATABASE_URL" --set ON_ERROR_STOP=1 --single-transaction --file deploy/citus/distribute.sql
\set shards 128

SET citus.multi_shard_modify_mode = 'sequential'; -- one connection to each worker: this transaction makes tables and fills them

-- By device: the primary keys begin with the device, so the database still refuses a second copy of a reading, each shard for its own.
-- What belongs to one device lies on one worker, and a question about it is asked there alone.
SELECT create_distributed_table('meter_telemetry_history', 'meter_id', colocate_with => 'none', shard_count => :shards);
SELECT create_distributed_table('meter_live_status', 'meter_id', colocate_with => 'meter_telemetry_history');
SELECT create_distributed_table('meter_energy_hourly', 'meter_id', colocate_with => 'meter_telemetry_history');
SELECT create_distributed_table('meter_register_history', 'meter_id', colocate_with => 'meter_telemetry_history');
-- Ids of vehicles hash as those of meters do, so VEH-1 and its meter lie apart; colocating the two sides would not change that.
SELECT create_distributed_table('vehicle_telemetry_history', 'vehicle_id', colocate_with => 'none', shard_count => :shards);
SELECT create_distributed_table('vehicle_live_status', 'vehicle_id', colocate_with => 'vehicle_telemetry_history');
SELECT create_distributed_table('vehicle_energy_hourly', 'vehicle_id', colocate_with => 'vehicle_telemetry_history');

-- Joined with both sides, small, changed seldom: a copy on every node. (Its exclusion constraints name two different devices, which a
-- distributed table would refuse.)
SELECT create_reference_table('vehicle_meter_assignments');

-- The claim, the ledger and what must be one row stay on the coordinator, in metadata so that transactions may span both: the fence
-- is one UPDATE there, as before. Distributed by device they could not be: a Kafka partition holds many devices.
SELECT citus_add_local_table_to_metadata('kafka_offsets');
SELECT citus_add_local_table_to_metadata('dead_letters');
SELECT citus_add_local_table_to_metadata('rollup_state');
SELECT citus_add_local_table_to_metadata('late_hours');
