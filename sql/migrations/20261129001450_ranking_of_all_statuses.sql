-- migrate:up
-- A page reads the vehicles of the steps that it needs, whatever their status. So far it read at least one step of each status.
--
-- One page of evaluated vehicles that match, by the value of `sort` and then by id, after the given position. The rank is the value,
-- negated for descending order; vehicles without a value come last. `vehicleId` ranks by id alone, in either direction.
-- `few`: all vehicles that match are sorted. Otherwise they are read from the indexes of steps, of each status, until the page is
-- full: first those of a part, then those of the next one. Only the vehicles of the steps that were read are sorted.
CREATE OR REPLACE FUNCTION ranked_vehicles(
    sort text, descending boolean, status text, search text, few boolean, after_rank double precision, after_id text,
    row_limit integer
) RETURNS TABLE (vehicle_id text, rank double precision) LANGUAGE plpgsql STABLE ROWS 100
AS $$
DECLARE
    statuses text[] := CASE
        WHEN status IS NULL THEN '{healthy,degraded,faulty,insufficient_data,unassigned,implausible}' ELSE ARRAY[status]
    END;
    value text := CASE WHEN descending THEN '-' ELSE '' END || CASE sort
        WHEN 'efficiency' THEN 'ratio'
        WHEN 'energyAc' THEN 'CASE WHEN assigned_seconds > 0 THEN ac_kwh END'
        WHEN 'energyDc' THEN 'dc_kwh'
        WHEN 'temperature' THEN 'average_battery_temp'
        ELSE 'NULL::double precision'
    END;
    step text := CASE sort
        WHEN 'efficiency' THEN 'efficiency_step'
        WHEN 'energyAc' THEN 'energy_ac_step'
        WHEN 'energyDc' THEN 'energy_dc_step'
        WHEN 'temperature' THEN 'temperature_step'
    END;
    steps_a_unit double precision := CASE WHEN sort IN ('efficiency', 'temperature') THEN 10 ELSE 1 END;
    after_step double precision := ceil(CASE WHEN descending THEN -after_rank ELSE after_rank END * steps_a_unit);
    -- Many vehicles have no energy: their step is zero, and no other value has it.
    lowest double precision := CASE sort WHEN 'temperature' THEN double precision '-infinity' ELSE 0 END;
    falling text := CASE WHEN descending THEN ' DESC' ELSE '' END;
    beyond text := CASE WHEN descending THEN '<' ELSE '>' END;
    up_to text := CASE WHEN descending THEN '>=' ELSE '<=' END;
    by_id text := 'vehicle_id' || CASE WHEN sort = 'vehicleId' THEN falling ELSE '' END;
    after_same text := CASE WHEN sort = 'vehicleId' AND descending THEN 'vehicle_id < $4' ELSE 'vehicle_id > $4' END;
    -- `begun`: the rest of the step of the given position.
    parts text[] := CASE WHEN descending THEN '{begun,valued,lowest,none}' ELSE '{lowest,begun,valued,none}' END;
    first_part text := CASE
        WHEN after_id IS NULL THEN NULL WHEN after_rank IS NULL THEN 'none' WHEN after_rank = lowest THEN 'lowest' ELSE 'begun'
    END;
    part text;
    condition text;
    last_step double precision;
    remaining integer := row_limit;
    found integer;
BEGIN
    IF few OR sort = 'vehicleId' THEN
        RETURN QUERY EXECUTE format(
            'SELECT * FROM (SELECT vehicle_id, %1$s AS rank FROM vehicle_efficiency WHERE %2$s) AS matching
            WHERE $4 IS NULL OR rank > $3 OR (rank IS NULL AND $3 IS NOT NULL) OR (rank IS NOT DISTINCT FROM $3 AND %3$s)
            ORDER BY %4$s %5$s LIMIT $5',
            value, vehicles_matching(status, search), after_same,
            CASE WHEN sort <> 'vehicleId' THEN 'rank NULLS LAST,' ELSE '' END, by_id
        ) USING status, search_pattern(search), after_rank, after_id, row_limit;
        RETURN;
    END IF;
    FOREACH part IN ARRAY parts LOOP
        CONTINUE WHEN array_position(parts, part) < array_position(parts, first_part)
            OR (part = 'begun' AND first_part IS DISTINCT FROM part);
        condition := CASE part
            WHEN 'begun' THEN format('%s = %L AND (%s, vehicle_id) > ($3, $4)', step, after_step, value)
            WHEN 'valued' THEN format('%s > %L', step, lowest)
            WHEN 'lowest' THEN format('%s = %L', step, lowest)
            ELSE format('%s IS NULL', step)
        END || CASE
            WHEN part = 'valued' AND first_part = 'begun' THEN format(' AND %s %s %L', step, beyond, after_step)
            WHEN part IN ('lowest', 'none') AND part = first_part THEN ' AND ' || after_same
            ELSE ''
        END || CASE WHEN search = '' THEN '' ELSE ' AND lower(vehicle_id) LIKE $2' END;
        IF part = 'valued' THEN
            -- Up to this step, the index has as many vehicles as remain: none of the page is beyond it.
            EXECUTE format(
                'SELECT step FROM unnest($6) AS wanted (status) CROSS JOIN LATERAL (
                    SELECT %1$s AS step FROM vehicle_efficiency AS one
                    WHERE one.status = wanted.status AND %2$s
                    ORDER BY %1$s%3$s LIMIT $5
                ) AS nearest
                ORDER BY step%3$s OFFSET $5 - 1 LIMIT 1',
                step, condition, falling
            ) INTO last_step USING status, search_pattern(search), after_rank, after_id, remaining, statuses;
            condition := condition
                || CASE WHEN last_step IS NULL THEN '' ELSE format(' AND %s %s %L', step, up_to, last_step) END;
        END IF;
        RETURN QUERY EXECUTE format(
            'SELECT page.* FROM unnest($6) AS wanted (status) CROSS JOIN LATERAL (
                SELECT vehicle_id, %s AS rank FROM vehicle_efficiency AS one
                WHERE one.status = wanted.status AND %s ORDER BY %s, vehicle_id LIMIT $5
            ) AS page
            ORDER BY page.rank, page.vehicle_id LIMIT $5',
            value, condition, step || CASE WHEN part IN ('begun', 'valued') THEN falling || ', rank' ELSE '' END
        ) USING status, search_pattern(search), after_rank, after_id, remaining, statuses;
        GET DIAGNOSTICS found = ROW_COUNT;
        remaining := remaining - found;
        EXIT WHEN remaining <= 0;
    END LOOP;
END
$$;

-- migrate:down
-- One page of evaluated vehicles that match, by the value of `sort` and then by id, after the given position. The rank is the value,
-- negated for descending order; vehicles without a value come last. `vehicleId` ranks by id alone, in either direction.
-- `few`: all vehicles that match are sorted. Otherwise they are read from the indexes of steps, of each status, until the page is
-- full: first those of a part, then those of the next one. Only the vehicles of the steps that were read are sorted.
CREATE OR REPLACE FUNCTION ranked_vehicles(
    sort text, descending boolean, status text, search text, few boolean, after_rank double precision, after_id text,
    row_limit integer
) RETURNS TABLE (vehicle_id text, rank double precision) LANGUAGE plpgsql STABLE ROWS 100
AS $$
DECLARE
    statuses text[] := CASE
        WHEN status IS NULL THEN '{healthy,degraded,faulty,insufficient_data,unassigned,implausible}' ELSE ARRAY[status]
    END;
    value text := CASE WHEN descending THEN '-' ELSE '' END || CASE sort
        WHEN 'efficiency' THEN 'ratio'
        WHEN 'energyAc' THEN 'CASE WHEN assigned_seconds > 0 THEN ac_kwh END'
        WHEN 'energyDc' THEN 'dc_kwh'
        WHEN 'temperature' THEN 'average_battery_temp'
        ELSE 'NULL::double precision'
    END;
    step text := CASE sort
        WHEN 'efficiency' THEN 'efficiency_step'
        WHEN 'energyAc' THEN 'energy_ac_step'
        WHEN 'energyDc' THEN 'energy_dc_step'
        WHEN 'temperature' THEN 'temperature_step'
    END;
    steps_a_unit double precision := CASE WHEN sort IN ('efficiency', 'temperature') THEN 10 ELSE 1 END;
    -- Many vehicles have no energy: their step is zero, and no other value has it.
    lowest double precision := CASE sort WHEN 'temperature' THEN double precision '-infinity' ELSE 0 END;
    falling text := CASE WHEN descending THEN ' DESC' ELSE '' END;
    by_id text := 'vehicle_id' || CASE WHEN sort = 'vehicleId' THEN falling ELSE '' END;
    after_same text := CASE WHEN sort = 'vehicleId' AND descending THEN 'vehicle_id < $4' ELSE 'vehicle_id > $4' END;
    parts text[] := CASE WHEN descending THEN '{valued,lowest,none}' ELSE '{lowest,valued,none}' END;
    begun text := CASE WHEN after_rank IS NULL THEN 'none' WHEN after_rank = lowest THEN 'lowest' ELSE 'valued' END;
    part text;
    condition text;
    remaining integer := row_limit;
    found integer;
BEGIN
    IF few OR sort = 'vehicleId' THEN
        RETURN QUERY EXECUTE format(
            'SELECT * FROM (SELECT vehicle_id, %1$s AS rank FROM vehicle_efficiency WHERE %2$s) AS matching
            WHERE $4 IS NULL OR rank > $3 OR (rank IS NULL AND $3 IS NOT NULL) OR (rank IS NOT DISTINCT FROM $3 AND %3$s)
            ORDER BY %4$s %5$s LIMIT $5',
            value, vehicles_matching(status, search), after_same,
            CASE WHEN sort <> 'vehicleId' THEN 'rank NULLS LAST,' ELSE '' END, by_id
        ) USING status, search_pattern(search), after_rank, after_id, row_limit;
        RETURN;
    END IF;
    FOREACH part IN ARRAY parts LOOP
        CONTINUE WHEN after_id IS NOT NULL AND array_position(parts, part) < array_position(parts, begun);
        condition := CASE part
            WHEN 'valued' THEN format('%s > %L', step, lowest)
            WHEN 'lowest' THEN format('%s = %L', step, lowest)
            ELSE format('%s IS NULL', step)
        END;
        IF after_id IS NOT NULL AND part = begun THEN
            condition := condition || CASE WHEN part = 'valued' THEN format(
                ' AND %s %s %L AND (%s, vehicle_id) > ($3, $4)', step, CASE WHEN descending THEN '<=' ELSE '>=' END,
                ceil(CASE WHEN descending THEN -after_rank ELSE after_rank END * steps_a_unit), value
            ) ELSE ' AND ' || after_same END;
        END IF;
        RETURN QUERY EXECUTE format(
            'SELECT page.* FROM unnest($6) AS wanted (status) CROSS JOIN LATERAL (
                SELECT vehicle_id, %s AS rank FROM vehicle_efficiency AS one
                WHERE one.status = wanted.status AND %s AND %s ORDER BY %s, vehicle_id LIMIT $5
            ) AS page
            ORDER BY page.rank, page.vehicle_id LIMIT $5',
            value, condition, CASE WHEN search = '' THEN 'true' ELSE 'lower(vehicle_id) LIKE $2' END,
            step || CASE WHEN part = 'valued' THEN falling || ', rank' ELSE '' END
        ) USING status, search_pattern(search), after_rank, after_id, remaining, statuses;
        GET DIAGNOSTICS found = ROW_COUNT;
        remaining := remaining - found;
        EXIT WHEN remaining <= 0;
    END LOOP;
END
$$;
