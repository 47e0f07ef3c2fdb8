-- A new person each time, for wrk: IDGATE_FIRST is the number of the first.
local next = tonumber(os.getenv("IDGATE_FIRST") or "0")
local weights = { 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2 }
local checks = "10X98765432"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

function request()
  local n = next
  next = next + 1
  local year, rest = 1950 + n % 50, math.floor(n / 50)
  local month = 1 + rest % 12
  rest = math.floor(rest / 12)
  local day = 1 + rest % 28
  rest = math.floor(rest / 28)
  local digits = string.format("%06d%d%02d%02d%03d", 110101 + math.floor(rest / 1000), year, month, day, rest % 1000)
  local sum = 0
  for i = 1, 17 do
    sum = sum + tonumber(digits:sub(i, i)) * weights[i]
  end
  local at = sum % 11 + 1
  return wrk.format(nil, nil, nil, '{"name":"测试者","id_number":"' .. digits .. checks:sub(at, at) .. '"}')
end

function done(summary, latency)
  local errors = summary.errors.status + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %f %f %f %d\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, errors))
end
