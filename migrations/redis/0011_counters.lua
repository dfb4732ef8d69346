#!lua
-- Changes counters, and asks their limits first where that is wanted: then all are changed, or none.
--
-- KEYS  counters (parts/counters.lua)
-- ARGV  1     little-endian doubles: now, whether limits are asked (0/1), whether anything is changed (0/1)
--       2     5 doubles per counter: amount, most, until, amount to give back, until when that counted
--
-- Reply: doubles as the second of 0010_quota.lua.
--
-- Example: with limits asked, two counters of which one is full are both left as they are, and the reply names the full
-- one; without, both are changed.

if #KEYS < 1 or #ARGV ~= 2 then
  return redis.error_reply("KEYWARD counters wants keys and 2 arguments")
end

local pack, unpacked, call = struct.pack, struct.unpack, redis.call
local now, asked, changes = unpacked("<ddd", ARGV[1])
-- @include parts/counters.lua

local n, raws = #KEYS, call("MGET", unpack(KEYS))
local refused, retry = 0, 0
if asked == 1 then
  for i = 1, n do
    local amount, most = unpacked("<dd", ARGV[2], i * 40 - 39)
    local used, from = live(raws[i])
    if used + amount > most then
      local at = fits_at(raws[i], used, from, amount, most)
      if at < 0 then
        refused, retry = i, -1
        break
      end
      if refused == 0 or at > retry then refused, retry = i, at end
    end
  end
end
local counts = pack("<dd", refused, retry)
for i = 1, n do
  local used, first
  if changes == 1 and refused == 0 then
    local amount, _, ends, back, back_ends = unpacked("<ddddd", ARGV[2], i * 40 - 39)
    used, first = change(KEYS[i], raws[i], back, back_ends, amount, ends)
  else
    local from
    used, from = live(raws[i])
    first = raws[i] and from < #raws[i] and unpacked("<d", raws[i], from) or -1
  end
  counts = counts .. pack("<dd", used, first)
end
return counts
