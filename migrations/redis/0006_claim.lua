#!lua
-- Claims a piece of work for two minutes, looks at a claim, or keeps the answer to a claimed request.
--
-- KEYS  1  claim: 8 bytes end of the claim (a double, ms), then "?" and who made it (0010_charge.lua), or "=" and the answer
-- ARGV  1  now, 8 bytes (a double, ms)
--       2  "claim", "look" or "answer"; 3 the answer
--
-- The end is kept in the value too, because now is the caller's time, which replay and tests choose.
-- Reply to a claim: "" if it is the caller's, "?" and what follows it if another one works on it, "=" and the answer if it is
-- answered. Reply to a look: the same, and "" if nobody has it. Reply to an answer: "".
--
-- Example: look "" | claim "" | claim "?" | answer "ok" "" | claim "=ok".

if #KEYS ~= 1 or #ARGV < 2 or #ARGV > 3 then
  return redis.error_reply("KEYWARD claim wants 1 key and 2 or 3 arguments")
end
local TWO_MINUTES = 120000
local now = struct.unpack("<d", ARGV[1])
local held = redis.call("GET", KEYS[1])
if held and struct.unpack("<d", held) <= now then held = false end
if ARGV[2] == "answer" then
  if held then redis.call("SET", KEYS[1], held:sub(1, 8) .. "=" .. ARGV[3], "KEEPTTL") end
  return ""
end
if held then return held:sub(9) end
if ARGV[2] == "look" then return "" end
redis.call("SET", KEYS[1], struct.pack("<d", now + TWO_MINUTES) .. "?", "PX", TWO_MINUTES)
return ""
