-- migrate:up
-- Declarations of the assignment topic, record by record; vehicle_meter_assignments holds the resulting assignments.
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

-- true: declared without an end, and ended for now where a newer assignment begins. The end moves when the newer one is
-- corrected, or when one in between arrives.
ALTER TABLE vehicle_meter_assignments ADD COLUMN superseded boolean NOT NULL DEFAULT false;

-- Beginning of the next assignment of a vehicle or of a meter; NULL when there is none.
CREATE FUNCTION next_assignment(vehicle text, meter text, begun timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT min(lower(valid_during)) FROM vehicle_meter_assignments
    WHERE (vehicle_id = vehicle OR meter_id = meter) AND lower(valid_during) > begun
$$;

-- Applies declarations in the order given, and returns the outcome of each: written, duplicate or overlap.
--   1. (vehicle, valid_from) is the identity: a later declaration with another meter or end corrects the earlier one, an equal one
--      is a duplicate.
--   2. An open assignment ends where a newer one of the same vehicle or meter begins, whichever of the two was declared first.
--   3. A declaration that still overlaps is not applied.
-- The result of open declarations that do not contradict each other does not depend on the order of their arrival.
CREATE FUNCTION declare_assignments(
    vehicles text[], meters text[], starts timestamptz[], ends timestamptz[], origin text
) RETURNS TABLE ("position" bigint, outcome text, detail text) LANGUAGE plpgsql SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
    said record;
    before assignment_declarations;
    taken tstzrange;
    closes timestamptz;
    corrected text;
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

        -- Older open ones give way, newer ones end an open one: for that only its first instant must be free.
        taken := CASE WHEN said.valid_to IS NULL THEN tstzrange(said.valid_from, said.valid_from, '[]')
            ELSE tstzrange(said.valid_from, said.valid_to, '[)') END;
        SELECT format('%s is at %s during %s', vehicle_id, meter_id, valid_during) INTO detail
            FROM vehicle_meter_assignments
            WHERE (vehicle_id = said.vehicle OR meter_id = said.meter) AND valid_during && taken
                AND NOT (vehicle_id = said.vehicle AND lower(valid_during) = said.valid_from)
                AND NOT (lower(valid_during) < said.valid_from AND (superseded OR upper_inf(valid_during)))
            ORDER BY valid_during LIMIT 1;
        IF FOUND THEN
            outcome := 'overlap';
            RETURN NEXT;
            CONTINUE;
        END IF;

        DELETE FROM vehicle_meter_assignments
            WHERE vehicle_id = said.vehicle AND lower(valid_during) = said.valid_from
            RETURNING meter_id INTO corrected;
        UPDATE vehicle_meter_assignments
            SET valid_during = tstzrange(lower(valid_during), said.valid_from, '[)'), superseded = true
            WHERE (vehicle_id = said.vehicle OR meter_id = said.meter) AND valid_during @> said.valid_from;
        closes := coalesce(said.valid_to, next_assignment(said.vehicle, said.meter, said.valid_from));
        INSERT INTO vehicle_meter_assignments (vehicle_id, meter_id, valid_during, source, superseded)
            VALUES (said.vehicle, said.meter, tstzrange(said.valid_from, closes, '[)'), origin,
                    said.valid_to IS NULL AND closes IS NOT NULL);
        -- What had given way to the meter that was wrong goes on.
        UPDATE vehicle_meter_assignments AS earlier
            SET valid_during = tstzrange(lower(earlier.valid_during), following.begins, '[)'),
                superseded = following.begins IS NOT NULL
            FROM (
                SELECT vehicle_id, meter_id, valid_during,
                    next_assignment(vehicle_id, meter_id, lower(valid_during)) AS begins
                FROM vehicle_meter_assignments
                WHERE meter_id = corrected AND superseded AND upper(valid_during) = said.valid_from
            ) AS following
            WHERE earlier.vehicle_id = following.vehicle_id AND earlier.valid_during = following.valid_during
                AND following.begins IS DISTINCT FROM said.valid_from;
        INSERT INTO assignment_declarations (vehicle_id, meter_id, valid_from, valid_to, source)
            VALUES (said.vehicle, said.meter, said.valid_from, said.valid_to, origin);
        detail := '';
        outcome := 'written';
        RETURN NEXT;
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION declare_assignments, next_assignment FROM PUBLIC;

GRANT EXECUTE ON FUNCTION declare_assignments, next_assignment TO energy_writer;
GRANT SELECT, INSERT ON assignment_declarations TO energy_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON vehicle_meter_assignments TO energy_writer;
GRANT SELECT ON assignment_declarations TO energy_reader;

-- migrate:down
DROP FUNCTION declare_assignments, next_assignment;
ALTER TABLE vehicle_meter_assignments DROP COLUMN superseded;
DROP TABLE assignment_declarations;
REVOKE ALL ON vehicle_meter_assignments FROM energy_writer;
