"""A month of the fleet's history, folded as it is made: there within seconds, because no reading passes Kafka or is ever a row.

deploy.simulator.days -> COPY into a table -> the schema's encoding functions -> meter_days, vehicle_days -> ledger, watermarks

In: the simulated fleet and a database without readings. Out: what folding would have written.
"""
