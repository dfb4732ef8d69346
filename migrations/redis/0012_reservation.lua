#!lua
-- Shows the reservations of a partition whose stage has ended.
--
-- KEYS  1, 2  reservations of the partition (parts/reservations.lua): hash and sorted set
-- ARGV  1     now
--       2     how many at most
--
-- Reply: what the hash holds of each.
--
-- Example: a reservation that ends at 1700000060000 is shown from that moment on, until it is ended by its id.

if #KEYS ~= 2 or #ARGV ~= 2 then
  return redis.error_reply("KEYWARD reservation wants 2 keys and 2 arguments")
end

local found, gone, most, behind, step = {}, {}, tonumber(ARGV[2]), 0, 500
while #found < most do
  local ids = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[1], "LIMIT", behind, step)
  for _, id in ipairs(ids) do
    -- What usage is to count is no end.
    if not id:match("^[+-]") and #found < most then
      local held = redis.call("HGET", KEYS[1], id)
      if held then found[#found + 1] = held else gone[#gone + 1] = id end
    end
  end
  if #ids < step then break end
  behind = behind + step
end
for _, id in ipairs(gone) do redis.call("ZREM", KEYS[2], id) end
return found
