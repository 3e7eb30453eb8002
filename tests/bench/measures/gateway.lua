-- Posts meter readings with new timestamps, one a request or in batches that are prepared at the start; the last line of output is a
-- JSON object. Arguments: readings a request, devices in the fleet.
local METER = '{"meterId":"METER-%d","kwhConsumedAc":%.3f,"voltage":240.5,"timestamp":"%s.%06dZ"}'
local batches, number = {}, 0

local function reading(device, second, micro)
  return string.format(METER, device, device % 1000 / 1000, second, micro)
end

function init(arguments)
  per_request, fleet = tonumber(arguments[1]), tonumber(arguments[2])
  second = os.date("!%Y-%m-%dT%H:%M:%S", os.time() - 60)
  for batch = 1, per_request > 1 and 64 or 0 do
    local lines = {}
    for line = 1, per_request do
      lines[line] = reading((batch * per_request + line) % fleet, second, batch * 1000 + line % 1000)
    end
    batches[batch] = table.concat(lines, "\n") .. "\n"
  end
end

function request()
  number = number + 1
  if per_request > 1 then
    return wrk.format("POST", "/v1/ingestion/meter/batch", {["Content-Type"] = "application/x-ndjson"}, batches[number % 64 + 1])
  end
  local body = reading(math.random(fleet), second, number % 1000000)
  return wrk.format("POST", "/v1/ingestion/meter", {["Content-Type"] = "application/json"}, body)
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format('{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "failed": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
