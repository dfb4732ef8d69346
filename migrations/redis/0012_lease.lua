#!lua
-- Takes a reservation of a partition (whoever comes second gets nothing), or shows those that have ended.
--
-- KEYS  1     reservations: hash from id to the moment of the charge (a double) and their content
--       2     their ids by the moment of their end: sorted set
-- ARGV  1     id; empty: those that have ended
--       2     now, 3 how many at most, where those that have ended are asked for
--
-- Reply: what the hash held of each.
--
-- Example: a reservation that ends at 1700000060000 is shown from that moment on, until it is taken by its id; the next
-- to take it gets an empty list.

if #KEYS ~= 2 or #ARGV ~= 3 then
  return redis.error_reply("KEYWARD lease wants 2 keys and 3 arguments")
end

local found = {}
if ARGV[1] ~= "" then
  found[1] = redis.call("HGET", KEYS[1], ARGV[1]) or nil
  redis.call("HDEL", KEYS[1], ARGV[1])
  redis.call("ZREM", KEYS[2], ARGV[1])
  return found
end
for _, id in ipairs(redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[2], "LIMIT", 0, ARGV[3])) do
  local held = redis.call("HGET", KEYS[1], id)
  if held then
    found[#found + 1] = held
  else
    redis.call("ZREM", KEYS[2], id)
  end
end
return found
