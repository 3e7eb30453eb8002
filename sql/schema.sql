-- Written by `make schema` from the migrations; a test compares. Partitions are left out.

CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;

COMMENT ON EXTENSION btree_gist IS 'support for indexing common datatypes in GiST';

CREATE FUNCTION public.ensure_history_partitions(oldest timestamp with time zone, newest timestamp with time zone) RETURNS SETOF text
    LANGUAGE plpgsql
    SET "TimeZone" TO 'UTC'
    AS $$
DECLARE
    history text;
    part text;
    month timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.history_partitions'));
    FOREACH history IN ARRAY ARRAY['meter_telemetry_history', 'vehicle_telemetry_history'] LOOP
        FOR month IN SELECT generate_series(date_trunc('month', oldest), newest, interval '1 month') LOOP
            part := format('%s_y%sm%s', history, to_char(month, 'YYYY'), to_char(month, 'MM'));
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, history);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           history, part, month, month + interval '1 month');
            RETURN NEXT part;
        END LOOP;
    END LOOP;
END
$$;

CREATE TABLE public.dead_letters (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea,
    kafka_timestamp timestamp with time zone,
    reason text NOT NULL,
    detail text NOT NULL,
    rejected_at timestamp with time zone DEFAULT now() NOT NULL,
    resolved_at timestamp with time zone,
    resolution text,
    CONSTRAINT dead_letters_resolution_check CHECK ((resolution = ANY (ARRAY['replayed'::text, 'discarded'::text]))),
    CONSTRAINT resolved_somehow CHECK (((resolved_at IS NULL) = (resolution IS NULL)))
);

CREATE TABLE public.kafka_offsets (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    start_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    records_consumed bigint DEFAULT 0 NOT NULL,
    records_written bigint DEFAULT 0 NOT NULL,
    records_duplicate bigint DEFAULT 0 NOT NULL,
    records_dead_lettered bigint DEFAULT 0 NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT kafka_offsets_add_up CHECK ((records_consumed = ((records_written + records_duplicate) + records_dead_lettered))),
    CONSTRAINT kafka_offsets_check CHECK ((next_offset >= start_offset)),
    CONSTRAINT kafka_offsets_partition_check CHECK ((partition >= 0)),
    CONSTRAINT kafka_offsets_records_dead_lettered_check CHECK ((records_dead_lettered >= 0)),
    CONSTRAINT kafka_offsets_records_duplicate_check CHECK ((records_duplicate >= 0)),
    CONSTRAINT kafka_offsets_records_written_check CHECK ((records_written >= 0))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');

COMMENT ON COLUMN public.kafka_offsets.start_offset IS 'the first offset this group ever read of the partition';

COMMENT ON COLUMN public.kafka_offsets.next_offset IS 'the first offset not yet written; consumers resume here, whatever Kafka has stored';

CREATE TABLE public.meter_live_status (
    meter_id text NOT NULL COLLATE pg_catalog."C",
    last_kwh_consumed_ac double precision NOT NULL,
    last_voltage double precision NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.meter_telemetry_history (
    recorded_at timestamp with time zone NOT NULL,
    ingested_at timestamp with time zone DEFAULT now() NOT NULL,
    kwh_consumed_ac double precision NOT NULL,
    voltage double precision NOT NULL,
    meter_id text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT meter_telemetry_history_kwh_consumed_ac_check CHECK (((kwh_consumed_ac >= (0)::double precision) AND (kwh_consumed_ac <= (1000)::double precision))),
    CONSTRAINT meter_telemetry_history_meter_id_check CHECK (((octet_length(meter_id) >= 1) AND (octet_length(meter_id) <= 64))),
    CONSTRAINT meter_telemetry_history_voltage_check CHECK (((voltage >= (0)::double precision) AND (voltage <= (1000)::double precision)))
)
PARTITION BY RANGE (recorded_at);

COMMENT ON COLUMN public.meter_telemetry_history.recorded_at IS 'the device''s clock; ingested_at is the server''s';

CREATE TABLE public.offset_decisions (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    decided_at timestamp with time zone DEFAULT now() NOT NULL,
    decided_by text DEFAULT SESSION_USER NOT NULL,
    from_offset bigint NOT NULL,
    to_offset bigint NOT NULL,
    reason text NOT NULL
);

CREATE TABLE public.retired_records (
    topic text NOT NULL,
    dead_letters bigint DEFAULT 0 NOT NULL
);

CREATE TABLE public.schema_migrations (
    version character varying NOT NULL
);

CREATE TABLE public.topic_breakers (
    consumer_group text NOT NULL,
    topic text NOT NULL,
    state text NOT NULL,
    detail text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT topic_breakers_state_check CHECK ((state = ANY (ARRAY['open'::text, 'letting_through'::text])))
);

CREATE TABLE public.vehicle_live_status (
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    soc double precision NOT NULL,
    last_kwh_delivered_dc double precision NOT NULL,
    last_battery_temp double precision NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');

CREATE TABLE public.vehicle_meter_assignments (
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    meter_id text NOT NULL COLLATE pg_catalog."C",
    valid_during tstzrange NOT NULL,
    source text NOT NULL,
    CONSTRAINT vehicle_meter_assignments_meter_id_check CHECK (((octet_length(meter_id) >= 1) AND (octet_length(meter_id) <= 64))),
    CONSTRAINT vehicle_meter_assignments_valid_during_check CHECK (((NOT isempty(valid_during)) AND lower_inc(valid_during) AND (NOT lower_inf(valid_during)) AND (NOT upper_inc(valid_during)))),
    CONSTRAINT vehicle_meter_assignments_vehicle_id_check CHECK (((octet_length(vehicle_id) >= 1) AND (octet_length(vehicle_id) <= 64)))
);

CREATE TABLE public.vehicle_telemetry_history (
    recorded_at timestamp with time zone NOT NULL,
    ingested_at timestamp with time zone DEFAULT now() NOT NULL,
    kwh_delivered_dc double precision NOT NULL,
    soc double precision NOT NULL,
    battery_temp double precision NOT NULL,
    vehicle_id text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT vehicle_telemetry_history_battery_temp_check CHECK (((battery_temp >= ('-60'::integer)::double precision) AND (battery_temp <= (150)::double precision))),
    CONSTRAINT vehicle_telemetry_history_kwh_delivered_dc_check CHECK (((kwh_delivered_dc >= (0)::double precision) AND (kwh_delivered_dc <= (1000)::double precision))),
    CONSTRAINT vehicle_telemetry_history_soc_check CHECK (((soc >= (0)::double precision) AND (soc <= (100)::double precision))),
    CONSTRAINT vehicle_telemetry_history_vehicle_id_check CHECK (((octet_length(vehicle_id) >= 1) AND (octet_length(vehicle_id) <= 64)))
)
PARTITION BY RANGE (recorded_at);

COMMENT ON COLUMN public.vehicle_telemetry_history.recorded_at IS 'the device''s clock; ingested_at is the server''s';

ALTER TABLE ONLY public.dead_letters
    ADD CONSTRAINT dead_letters_pkey PRIMARY KEY (consumer_group, topic, partition, "offset");

ALTER TABLE ONLY public.kafka_offsets
    ADD CONSTRAINT kafka_offsets_pkey PRIMARY KEY (consumer_group, topic, partition);

ALTER TABLE ONLY public.meter_live_status
    ADD CONSTRAINT meter_live_status_pkey PRIMARY KEY (meter_id);

ALTER TABLE ONLY public.meter_telemetry_history
    ADD CONSTRAINT meter_telemetry_history_pkey PRIMARY KEY (meter_id, recorded_at);

ALTER TABLE ONLY public.vehicle_meter_assignments
    ADD CONSTRAINT one_meter_at_a_time EXCLUDE USING gist (vehicle_id WITH =, valid_during WITH &&);

ALTER TABLE ONLY public.vehicle_meter_assignments
    ADD CONSTRAINT one_vehicle_at_a_time EXCLUDE USING gist (meter_id WITH =, valid_during WITH &&);

ALTER TABLE ONLY public.retired_records
    ADD CONSTRAINT retired_records_pkey PRIMARY KEY (topic);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.topic_breakers
    ADD CONSTRAINT topic_breakers_pkey PRIMARY KEY (consumer_group, topic);

ALTER TABLE ONLY public.vehicle_live_status
    ADD CONSTRAINT vehicle_live_status_pkey PRIMARY KEY (vehicle_id);

ALTER TABLE ONLY public.vehicle_telemetry_history
    ADD CONSTRAINT vehicle_telemetry_history_pkey PRIMARY KEY (vehicle_id, recorded_at);

CREATE INDEX dead_letters_unresolved ON public.dead_letters USING btree (topic, reason) WHERE (resolved_at IS NULL);

REVOKE ALL ON FUNCTION public.ensure_history_partitions(oldest timestamp with time zone, newest timestamp with time zone) FROM PUBLIC;

GRANT INSERT ON TABLE public.dead_letters TO energy_writer;

GRANT SELECT(consumer_group) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(topic) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(partition) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT("offset") ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(reason) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(rejected_at) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(resolved_at) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT(resolution) ON TABLE public.dead_letters TO energy_reader;

GRANT SELECT,INSERT,UPDATE ON TABLE public.kafka_offsets TO energy_writer;
GRANT SELECT ON TABLE public.kafka_offsets TO energy_reader;

GRANT SELECT,INSERT,UPDATE ON TABLE public.meter_live_status TO energy_writer;
GRANT SELECT ON TABLE public.meter_live_status TO energy_reader;

GRANT SELECT,INSERT ON TABLE public.meter_telemetry_history TO energy_writer;
GRANT SELECT ON TABLE public.meter_telemetry_history TO energy_reader;

GRANT SELECT ON TABLE public.offset_decisions TO energy_reader;

GRANT SELECT ON TABLE public.retired_records TO energy_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.topic_breakers TO energy_writer;
GRANT SELECT ON TABLE public.topic_breakers TO energy_reader;

GRANT SELECT,INSERT,UPDATE ON TABLE public.vehicle_live_status TO energy_writer;
GRANT SELECT ON TABLE public.vehicle_live_status TO energy_reader;

GRANT SELECT ON TABLE public.vehicle_meter_assignments TO energy_reader;

GRANT SELECT,INSERT ON TABLE public.vehicle_telemetry_history TO energy_writer;
GRANT SELECT ON TABLE public.vehicle_telemetry_history TO energy_reader;
