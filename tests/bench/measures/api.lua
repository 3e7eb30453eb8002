-- Requests for vehicles drawn at random; the last line printed is a JSON object. Arguments: vehicles a request, vehicles there are.
function init(arguments)
  wanted, known = tonumber(arguments[1]), tonumber(arguments[2])
end

function request()
  if wanted == 1 then
    return wrk.format("GET", "/v1/analytics/performance/VEH-" .. math.random(known))
  end
  local first, step = math.random(known), math.random(math.floor(known / wanted))
  local ids = {}
  for number = 1, wanted do
    ids[number] = "vehicleId=VEH-" .. ((first + number * step) % known + 1)
  end
  return wrk.format("GET", "/v1/analytics/performance?" .. table.concat(ids, "&"))
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format('{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
