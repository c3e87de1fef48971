-- With an argument, every connection pauses before each request: for so many milliseconds on average, of which it takes
-- half to one and a half times as many, so that the connections do not move in step.
function init(args)
    local pause = tonumber(args[1])
    if pause then
        function delay()
            return math.random(math.floor(pause / 2), math.floor(pause * 3 / 2))
        end
    end
end

-- Ends a run of wrk with one line of numbers instead of its rounded table: requests, microseconds, p50 and
-- p99 in microseconds, and the errors.
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("BENCH %d %d %d %d %d\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
