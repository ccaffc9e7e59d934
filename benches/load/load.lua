-- What wrk asks, and what it tells at the end. Arguments: the method, and for POST the file
-- of the body. Without a function `request`, wrk sends the same octets each time.

function init(arguments)
   wrk.method = arguments[1]
   if arguments[2] then
      local input = assert(io.open(arguments[2], "rb"))
      wrk.body = input:read("*a")
      input:close()
   end
end

function done(summary, latency, _)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   io.write(string.format("figures %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
      summary.bytes, failed, latency:percentile(50), latency:percentile(99), latency.max))
end
