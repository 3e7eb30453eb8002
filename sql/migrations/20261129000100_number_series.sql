-- migrate:up
-- The numbers of one column of a device's day, small enough to be kept for years, and equal bit for bit when they are decoded.
-- Numbers with few decimals are stored as integers of the smallest width that holds all of them, others as they are. Integers that
-- change little from one to the next (a battery's charge, a register) are stored as differences, which compress better.
CREATE TYPE number_series AS (
    decimals smallint,
    differences boolean,
    small smallint[],
    medium integer[],
    large bigint[],
    exact double precision[]
);
COMMENT ON COLUMN number_series.decimals IS 'an integer is the number times ten to this power';
COMMENT ON COLUMN number_series.differences IS 'true: each integer but the first is the difference from the one before';

-- Whether each number is an integer divided by the factor, so that a double gives it back bit for bit. A zero with a sign is not.
CREATE FUNCTION are_integers_over(numbers double precision[], factor double precision) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(
        bool_and(
            CASE
                WHEN number = 0 THEN float8send(number) = '\x0000000000000000'
                WHEN abs(number) < 9e15 / factor THEN round(number * factor) / factor = number
                ELSE number IS NULL
            END
        ),
        true
    ) FROM unnest(numbers) AS number
$$;

-- Numbers may be NULL. NULL where all of them are.
CREATE FUNCTION encode_series(numbers double precision[]) RETURNS number_series LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    factor double precision := 1;
    sample double precision[] := ARRAY( -- decides quickly in most cases
        SELECT numbers[position] FROM generate_series(1, cardinality(numbers), cardinality(numbers) / 32 + 1) AS position
    );
    integers bigint[];
    low bigint;
    high bigint;
    spread double precision;
    spread_of_differences double precision;
    differences boolean := false;
BEGIN
    IF numbers IS NULL OR NOT EXISTS (SELECT FROM unnest(numbers) AS number WHERE number IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    FOR decimals IN 0..9 LOOP
        IF are_integers_over(sample, factor) AND are_integers_over(numbers, factor) THEN
            integers := ARRAY(SELECT round(number * factor)::bigint FROM unnest(numbers) AS number);
            IF array_position(integers, NULL) IS NULL THEN
                SELECT stddev_pop(integer::double precision), stddev_pop((integer - before)::double precision)
                    INTO spread, spread_of_differences
                    FROM unnest(integers, array_prepend(NULL, integers)) AS pair (integer, before);
                differences := coalesce(spread_of_differences * 4 < spread, false);
            END IF;
            IF differences THEN
                integers := ARRAY(
                    SELECT integer - before FROM unnest(integers, array_prepend(0::bigint, integers)) AS pair (integer, before)
                    WHERE integer IS NOT NULL -- the second array is longer by one
                );
            END IF;
            SELECT min(integer), max(integer) INTO low, high FROM unnest(integers) AS integer;
            RETURN CASE
                WHEN low >= -32768 AND high <= 32767
                    THEN ROW(decimals, differences, integers::smallint[], NULL, NULL, NULL)::number_series
                WHEN low >= -2147483648 AND high <= 2147483647
                    THEN ROW(decimals, differences, NULL, integers::integer[], NULL, NULL)::number_series
                ELSE ROW(decimals, differences, NULL, NULL, integers, NULL)::number_series
            END;
        END IF;
        factor := factor * 10;
    END LOOP;
    RETURN ROW(NULL, NULL, NULL, NULL, NULL, numbers)::number_series;
END
$$;

CREATE FUNCTION decode_series(series number_series) RETURNS double precision[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    factor double precision := power(10::double precision, series.decimals);
BEGIN
    IF series.exact IS NOT NULL THEN
        RETURN series.exact;
    ELSIF series.differences THEN -- sums of integers below 2^53 are exact as doubles, and much faster than as numeric
        RETURN ARRAY(
            SELECT sum(difference) OVER (ROWS UNBOUNDED PRECEDING) / factor
            FROM unnest(
                coalesce(series.small::double precision[], series.medium::double precision[], series.large::double precision[])
            ) AS difference
        );
    ELSIF series.small IS NOT NULL THEN -- without a cast of the array, because this is what is decoded most often
        RETURN ARRAY(SELECT integer / factor FROM unnest(series.small) AS integer);
    ELSIF series.medium IS NOT NULL THEN
        RETURN ARRAY(SELECT integer / factor FROM unnest(series.medium) AS integer);
    END IF;
    RETURN ARRAY(SELECT integer / factor FROM unnest(series.large) AS integer);
END
$$;

-- Instants in ascending order. `minutes` holds the number of minutes between each and the one before, to the nearest minute of the
-- first one's grid; NULL: always one. `deviations` holds the milliseconds by which each differs from that grid.
CREATE TYPE instant_series AS (
    first_at timestamptz,
    minutes number_series,
    deviations number_series
);

CREATE FUNCTION encode_instants(instants timestamptz[]) RETURNS instant_series LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    grid double precision[];
    deviations double precision[];
    is_steady boolean;
BEGIN
    SELECT array_agg(minute), array_agg((microsecond - minute * 60000000) / 1000), bool_and(minute = number - 1)
    INTO grid, deviations, is_steady
    FROM (
        SELECT microsecond, round(microsecond / 60000000) AS minute, number FROM (
            SELECT round(date_part('epoch', instant - instants[1]) * 1000000) AS microsecond, number
            FROM unnest(instants) WITH ORDINALITY AS reading (instant, number)
            OFFSET 0 -- computes it once
        ) AS since_first
    ) AS reading;
    RETURN ROW(
        instants[1],
        CASE WHEN NOT is_steady THEN encode_series(ARRAY(
            SELECT minute - before FROM unnest(grid[2:], grid) AS pair (minute, before) WHERE minute IS NOT NULL
        )) END,
        encode_series(deviations)
    )::instant_series;
END
$$;

CREATE FUNCTION decode_instants(series instant_series) RETURNS timestamptz[] LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    IF series.minutes IS NULL THEN
        RETURN ARRAY(
            SELECT series.first_at + ((position - 1) * 60000 + deviation) * interval '1 millisecond'
            FROM unnest(decode_series(series.deviations)) WITH ORDINALITY AS reading (deviation, position)
        );
    END IF;
    RETURN ARRAY(
        SELECT series.first_at
            + (sum(minute) OVER (ROWS UNBOUNDED PRECEDING) * 60000 + deviation) * interval '1 millisecond'
        FROM unnest(array_prepend(0::double precision, decode_series(series.minutes)), decode_series(series.deviations))
            AS reading (minute, deviation)
    );
END
$$;

REVOKE EXECUTE ON FUNCTION are_integers_over, encode_series, decode_series, encode_instants, decode_instants FROM PUBLIC;
GRANT EXECUTE ON FUNCTION decode_series, decode_instants TO energy_reader, energy_writer;

-- migrate:down
DROP FUNCTION decode_instants, encode_instants, decode_series, encode_series, are_integers_over;
DROP TYPE instant_series, number_series;
