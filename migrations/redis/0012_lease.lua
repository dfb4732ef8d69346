#!lua
-- Takes reservations of a partition: one, or those that have ended. Whoever comes second gets nothing.
--
-- KEYS  1     reservations: hash from id to the moment of the charge (a double) and their content
--       2     their ids by the moment of their end: sorted set
-- ARGV  1     id; empty: those that have ended
--       2     now, 3 how many at most, where those that have ended are asked for
--
-- Reply: what the hash held of each.
--
-- Example: a reservation that ends at 1700000060000 is taken by its id before and after that, and as one that has ended
-- from that moment on; the next to ask for it gets an empty list.

if #KEYS ~= 2 or #ARGV ~= 3 then
  return redis.error_reply("KEYWARD lease wants 2 keys and 3 arguments")
end

local ids = {ARGV[1]}
if ARGV[1] == "" then ids = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[2], "LIMIT", 0, ARGV[3]) end
local taken = {}
for _, id in ipairs(ids) do
  local held = redis.call("HGET", KEYS[1], id)
  if held then
    redis.call("HDEL", KEYS[1], id)
    taken[#taken + 1] = held
  end
  redis.call("ZREM", KEYS[2], id)
end
return taken
