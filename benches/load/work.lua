-- What wrk asks, and what it heard, in one line that a script can read.
--
--     wrk -s work.lua URL -- plain | pipelined N | many N | counted N
--
-- The line: requests answered, bytes received, microseconds, answers with a status above 399, failed connects, reads,
-- writes, and timeouts. (`request` and `response` exist only where they are needed: each costs wrk time per request.)

local modes = {}

function modes.plain() end

-- N requests at once, again when all are answered. wrk counts each answer as a request.
function modes.pipelined(count)
    local batch = string.rep(wrk.format(), count)
    request = function() return batch end
end

-- One of the N files /many/0000.html and so on, at random, but the same ones in every run.
function modes.many(count)
    local requests = {}
    for i = 1, count do requests[i] = wrk.format(nil, string.format("/many/%04d.html", i - 1)) end
    math.randomseed(4)
    request = function() return requests[math.random(count)] end
end

-- Stops after N answers. wrk's main thread sleeps for the time it was given, whatever its others do; SIGINT wakes it.
function modes.counted(count)
    local ffi = require("ffi")
    ffi.cdef("int getpid(void); int kill(int, int);")
    local answers = 0
    response = function()
        answers = answers + 1
        if answers == count then
            wrk.thread:stop()
            ffi.C.kill(ffi.C.getpid(), 2)
        end
    end
end

function init(args)
    modes[args[1]](tonumber(args[2]))
end

function done(summary)
    local errors = summary.errors
    print("heard", summary.requests, summary.bytes, summary.duration, errors.status,
        errors.connect, errors.read, errors.write, errors.timeout)
end
