#!lua
-- Shows what usage is to count of the reservations of a partition, in its order; or notes what it has counted.
--
-- KEYS  1, 2  reservations of the partition (parts/reservations.lua): hash and sorted set
-- ARGV  1     how many are shown at most; 0: none
--       2..   what usage has counted, as it was shown: "+" or "-" and the id
--
-- Reply: of each that is to be counted: "+" or "-" and its id, its number, what the hash holds of it.
--
-- Example: a reservation that was charged and corrected before anybody looked is shown twice, first with "+". Once both
-- are noted, nothing is left of it.

if #KEYS ~= 2 or #ARGV < 1 then
  return redis.error_reply("KEYWARD reservation_usage wants 2 keys and an argument or more")
end

for i = 2, #ARGV do
  if redis.call("ZREM", KEYS[2], ARGV[i]) == 1 and ARGV[i]:sub(1, 1) == "-" then
    redis.call("HDEL", KEYS[1], ARGV[i]:sub(2))
  end
end
local found, most, last = {}, tonumber(ARGV[1]), redis.call("HGET", KEYS[1], "#")
if not last then return found end
local behind, step = 0, 500
while #found < 3 * most do
  local members = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", last, "WITHSCORES", "LIMIT", behind, step)
  for i = 1, #members, 2 do
    local held = members[i]:match("^[+-]") and redis.call("HGET", KEYS[1], members[i]:sub(2))
    if held and #found < 3 * most then
      found[#found + 1] = members[i]
      found[#found + 1] = members[i + 1]
      found[#found + 1] = held
    end
  end
  if #members < 2 * step then break end
  behind = behind + step
end
return found
