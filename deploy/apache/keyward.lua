-- Asks Keyward about each request: `LuaHookAccessChecker /etc/apache2/keyward.lua keyward`, and passes on what Keyward
-- says of it. KEYWARD is the address of /v1/authorize; with KEYWARD_OPEN requests pass while Keyward does not answer. Its
-- answers have X-Keyward-Decision: a 503 with it is a refusal, and one without it says that nobody has answered.
require "apache2"
local http, ltn12 = require "socket.http", require "ltn12"
local TIMEOUT = 0.25                                       -- seconds
-- Headers of a connection are not passed on; those that name the request and its client are ours.
local OWN = { connection = true, host = true, ["content-length"] = true, ["transfer-encoding"] = true, expect = true,
              upgrade = true, te = true, trailer = true, ["x-forwarded-for"] = true, forwarded = true,
              ["x-real-ip"] = true, ["x-forwarded-uri"] = true, ["x-original-uri"] = true }
local TOLD = { "X-Keyward-Key-Id", "X-Keyward-Request-Id", "X-Keyward-Reservation" }

function keyward(r)
  if not r.is_initial_req then return apache2.DECLINED end
  local headers = {}
  for name, value in pairs(r:headers_in_table()) do
    if not OWN[name:lower()] then headers[name] = value end
  end
  headers["X-Forwarded-For"] = r.useragent_ip
  headers["X-Forwarded-Uri"] = r.unparsed_uri
  headers["X-Forwarded-Method"] = r.method
  http.TIMEOUT = TIMEOUT
  local body = {}
  local ok, status, said = http.request {
    url = r.subprocess_env["KEYWARD"], headers = headers, sink = ltn12.sink.table(body), redirect = false }
  if not ok or not said["x-keyward-decision"] and (status >= 500 or status == 200) then
    r:err("keyward: " .. tostring(status))
    if not r.subprocess_env["KEYWARD_OPEN"] or status == 200 then return 503 end
    status, said = 200, {}
  end
  for _, name in ipairs(TOLD) do r.headers_in[name] = said[name:lower()] or "" end
  if status == 200 then return apache2.DECLINED end
  if said["retry-after"] then r.err_headers_out["Retry-After"] = said["retry-after"] end
  return status
end
