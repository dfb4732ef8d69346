#!lua
-- Shows the reservations of a partition: those whose stage has ended, or all of them. Of those that have ended, the
-- requests that were counted when they were seen are forgotten here, since nothing is to be done about them.
--
-- KEYS  1, 2  reservations of the partition (parts/reservations.lua): hash and sorted set
-- ARGV  1     now; "+inf" for all of them, of which none is forgotten
--       2     how many at most; ten times as many are forgotten at most
--
-- Reply: what the hash holds of each.
--
-- Example: a reservation that ends at 1700000060000 is shown from that moment on, until it is ended by its id.

if #KEYS ~= 2 or #ARGV ~= 2 then
  return redis.error_reply("KEYWARD reservation wants 2 keys and 2 arguments")
end

local pack, unpacked, call = struct.pack, struct.unpack, redis.call
local now = tonumber(ARGV[1])
-- @include parts/reservations.lua

local forgets = ARGV[1] ~= "+inf"
local found, gone, most, behind, step = {}, {}, tonumber(ARGV[2]), 0, 500
while #found < most and #gone < 10 * most do
  local ids = call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[1], "LIMIT", behind, step)
  for _, id in ipairs(ids) do
    -- What usage is to count is no end.
    if not id:match("^[+-]") and #found < most then
      local held = call("HGET", KEYS[1], id)
      if not held or forgets and stage_of(held) == OBSERVED then
        gone[#gone + 1] = id
      else
        found[#found + 1] = held
      end
    end
  end
  if #ids < step then break end
  behind = behind + step
end
for first = 1, #gone, step do
  local some = {unpack(gone, first, math.min(first + step - 1, #gone))}
  call("HDEL", KEYS[1], unpack(some))
  call("ZREM", KEYS[2], unpack(some))
end
return found
