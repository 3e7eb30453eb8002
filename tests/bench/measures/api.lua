-- Requests the 24-hour performance of vehicles drawn at random; the last line of output is a JSON object.
-- Arguments: vehicles a request, vehicles in the fleet.
function init(arguments)
  per_request, fleet = tonumber(arguments[1]), tonumber(arguments[2])
end

function request()
  if per_request == 1 then
    return wrk.format("GET", "/v1/analytics/performance/VEH-" .. math.random(fleet))
  end
  local first, step = math.random(fleet), math.random(math.floor(fleet / per_request))
  local ids = {}
  for number = 1, per_request do
    ids[number] = "vehicleId=VEH-" .. ((first + number * step) % fleet + 1)
  end
  return wrk.format("GET", "/v1/analytics/performance?" .. table.concat(ids, "&"))
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format('{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
