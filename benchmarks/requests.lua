-- wrk's requests: each to the next user, in an order that jumps about and is the same each time.
-- Arguments: how many users there are, what is asked for behind the user's name, and the first user's number.
local requests, count, current = {}, 0, 0
local stride = 7919 -- prime, and so without a common divisor with any number of users used here

function init(args)
  count = tonumber(args[1])
  for number = 0, count - 1 do
    local user = number + tonumber(args[3] or "0")
    requests[number] = wrk.format("GET", string.format("/user/student%05d/%s", user, args[2] or ""))
  end
end

function request()
  current = (current + stride) % count
  return requests[current]
end

-- Latencies are in microseconds, as wrk has them; status are answers above 399.
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "bytes": %d, "p50_us": %d, "p99_us": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
