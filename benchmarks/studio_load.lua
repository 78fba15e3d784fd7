-- A load on the studio's status and job routes by wrk (https://github.com/wg/wrk; Debian: apt-get install wrk).
--
--   impasto studio --no-browser &          and a painting under way: its job is j_...
--   wrk -t2 -c100 -d10s --timeout 10s -s benchmarks/studio_load.lua http://127.0.0.1:7860 -- j_0123456789abcdef
--
-- python benchmarks/studio.py --only wrk does all of it. A studio with a token: set IMPASTO_STUDIO_TOKEN.

local paths = {"/api/v1/status"}
local turn = 0
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(words)
  if words[1] then table.insert(paths, "/api/v1/jobs/" .. words[1]) end
  local token = os.getenv("IMPASTO_STUDIO_TOKEN")
  if token then wrk.headers["Authorization"] = "Bearer " .. token end
  refused, broken = 0, 0
end

function request()
  turn = turn + 1
  return wrk.format("GET", paths[turn % #paths + 1])
end

function response(status)
  if status >= 500 then
    broken = broken + 1
  elseif status >= 400 then
    refused = refused + 1
  end
end

function done(summary, latency)
  local refused, broken = 0, 0
  for _, thread in ipairs(threads) do
    refused = refused + thread:get("refused")
    broken = broken + thread:get("broken")
  end
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  local ms = function(share) return latency:percentile(share) / 1000 end
  io.write(string.format(
    "%d answers in %.1f s, %d of 5xx, %d of 4xx, %d lost; median %.0f ms, p95 %.0f ms, p99 %.0f ms\n",
    summary.requests, summary.duration / 1e6, broken, refused, lost, ms(50), ms(95), ms(99)))
end
