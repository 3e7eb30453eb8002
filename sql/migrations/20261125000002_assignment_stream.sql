-- migrate:up
-- What was declared over the assignment topic, record by record, as it was said; vehicle_meter_assignments holds what follows.
CREATE TABLE assignment_declarations (
    declaration_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz CHECK (valid_to > valid_from),
    declared_at timestamptz NOT NULL DEFAULT now(),
    vehicle_id text COLLATE "C" NOT NULL,
    meter_id text COLLATE "C" NOT NULL,
    source text NOT NULL
);
CREATE INDEX assignment_declarations_of_vehicle ON assignment_declarations (vehicle_id, valid_from, declaration_id);

-- Applies declarations in the order given, and says of each whether it was written, is a duplicate, or overlaps.
--   1. (vehicle, valid_from) is the identity: a later declaration with another meter or end corrects the one before, one that says
--      the same is a duplicate.
--   2. An open assignment ends where a newer one of the same vehicle or meter begins, whichever of the two was declared first.
--   3. What overlaps all the same cannot be right: nothing of it is applied.
CREATE FUNCTION declare_assignments(
    vehicles text[], meters text[], starts timestamptz[], ends timestamptz[], origin text
) RETURNS TABLE ("position" bigint, outcome text, detail text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    said record;
    before assignment_declarations;
    closes timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('energy.assignments'));
    FOR said IN
        SELECT * FROM unnest(vehicles, meters, starts, ends)
            WITH ORDINALITY AS declared (vehicle, meter, valid_from, valid_to, item) ORDER BY item
    LOOP
        position := said.item;
        detail := '';
        SELECT * INTO before FROM assignment_declarations
            WHERE vehicle_id = said.vehicle AND valid_from = said.valid_from
            ORDER BY declaration_id DESC LIMIT 1;
        IF FOUND AND before.meter_id = said.meter AND before.valid_to IS NOT DISTINCT FROM said.valid_to THEN
            outcome := 'duplicate';
            RETURN NEXT;
            CONTINUE;
        END IF;
        BEGIN
            DELETE FROM vehicle_meter_assignments
                WHERE vehicle_id = said.vehicle AND lower(valid_during) = said.valid_from;
            closes := coalesce(said.valid_to, (
                SELECT min(lower(valid_during)) FROM vehicle_meter_assignments
                WHERE (vehicle_id = said.vehicle OR meter_id = said.meter) AND lower(valid_during) > said.valid_from
            ));
            UPDATE vehicle_meter_assignments
                SET valid_during = tstzrange(lower(valid_during), said.valid_from, '[)')
                WHERE (vehicle_id = said.vehicle OR meter_id = said.meter)
                    AND upper_inf(valid_during) AND lower(valid_during) < said.valid_from;
            INSERT INTO vehicle_meter_assignments (vehicle_id, meter_id, valid_during, source)
                VALUES (said.vehicle, said.meter, tstzrange(said.valid_from, closes, '[)'), origin);
            INSERT INTO assignment_declarations (vehicle_id, meter_id, valid_from, valid_to, source)
                VALUES (said.vehicle, said.meter, said.valid_from, said.valid_to, origin);
            outcome := 'written';
        EXCEPTION WHEN exclusion_violation THEN
            outcome := 'overlap';
            GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION declare_assignments FROM PUBLIC;

GRANT EXECUTE ON FUNCTION declare_assignments TO energy_writer;
GRANT SELECT, INSERT ON assignment_declarations TO energy_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON vehicle_meter_assignments TO energy_writer;
GRANT SELECT ON assignment_declarations TO energy_reader;

-- migrate:down
DROP FUNCTION declare_assignments;
DROP TABLE assignment_declarations;
REVOKE ALL ON vehicle_meter_assignments FROM energy_writer;
