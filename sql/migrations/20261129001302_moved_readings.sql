-- migrate:up
-- What the ledger of this cell must know of devices that were moved: their readings were written to another cell than the one that
-- stores them now.
CREATE TABLE moved_readings (
    moved_at timestamptz NOT NULL DEFAULT now(),
    history text NOT NULL CHECK (history IN ('meter_telemetry_history', 'vehicle_telemetry_history', 'meter_register_history')),
    readings bigint NOT NULL
);
COMMENT ON COLUMN moved_readings.readings IS 'from another cell; negative: to another cell. Without intervals that follow from registers';
GRANT SELECT ON moved_readings TO energy_reader;

-- migrate:down
DROP TABLE moved_readings;
