-- A page of the ranking by efficiency over the tables of three cells, after a position, as `ranked_vehicles` returns it of one.
SELECT page.*, live.soc, live.recorded_at
FROM (
    SELECT * FROM (
        SELECT * FROM cell0.vehicle_efficiency UNION ALL SELECT * FROM cell1.vehicle_efficiency UNION ALL SELECT * FROM cell2.vehicle_efficiency
    ) AS evaluated
    WHERE (ratio, vehicle_id) > ($1::double precision, '') ORDER BY ratio, vehicle_id LIMIT 51
) AS page
LEFT JOIN (
    SELECT * FROM cell0.vehicle_live_status UNION ALL SELECT * FROM cell1.vehicle_live_status UNION ALL SELECT * FROM cell2.vehicle_live_status
) AS live USING (vehicle_id)
ORDER BY page.ratio, page.vehicle_id
