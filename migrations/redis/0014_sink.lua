#!lua
-- Who sends for a sink, how far it has come, and what it would not take: one act on it.
--
-- KEYS  1  the sink: hash of owner, until (ms), epoch, position, state, health (JSON)
--       2  its dead letters: hash of event id -> JSON
--       3  ids of dead letters that are to be sent again: set
-- ARGV  1  "lead"   2 owner  3 now, ms  4 until, ms
--          "renew"  2 epoch  3 until, ms  4 health
--          "leave"  2 owner
--          "step"   2 epoch  3 position  4 state  5 most dead letters  6 number of ids done with, n
--                   then n ids, then pairs of id and JSON to park
--          "again"  then ids; none: all
--          "discard" then ids; none: all
--
-- Times are the caller's; an instance's clock follows the server's.
-- Reply to lead: {epoch, position or "", state, 1 if letters are to be sent again} or {0} if somebody else leads;
-- to renew: 0 if somebody else leads, else 1, or 2 if letters are to be sent again; to step: 1 done, 0 not leading, 2 no room; to leave: 1; to again and discard: how many.
--
-- Example: lead a 0 5000 -> {1, "", "", 0}; lead b 1000 6000 -> {0}; step 1 "0-7" "" 100 0 -> 1;
-- lead b 5000 9000 -> {2, "0-7", "", 0}; step 1 ... -> 0.

if #KEYS ~= 3 or #ARGV < 1 then
  return redis.error_reply("KEYWARD sink wants 3 keys and at least 1 argument")
end
local call, act = redis.call, ARGV[1]

if act == "lead" then
  local held = call("HMGET", KEYS[1], "owner", "until", "epoch", "position", "state")
  local now, epoch = tonumber(ARGV[3]), tonumber(held[3] or "0")
  if held[1] ~= ARGV[2] or epoch == 0 then
    if held[1] and held[1] ~= "" and tonumber(held[2]) > now then return {0} end
    epoch = epoch + 1
    call("HSET", KEYS[1], "owner", ARGV[2], "epoch", epoch)
  end
  call("HSET", KEYS[1], "until", ARGV[4])
  return {epoch, held[4] or "", held[5] or "", call("EXISTS", KEYS[3])}
end

if act == "renew" then
  if call("HGET", KEYS[1], "epoch") ~= ARGV[2] then return 0 end
  call("HSET", KEYS[1], "until", ARGV[3], "health", ARGV[4])
  return 1 + call("EXISTS", KEYS[3])
end

if act == "leave" then
  if call("HGET", KEYS[1], "owner") == ARGV[2] then call("HSET", KEYS[1], "owner", "", "until", 0) end
  return 1
end

if act == "step" then
  if call("HGET", KEYS[1], "epoch") ~= ARGV[2] then return 0 end
  local done = tonumber(ARGV[6])
  local parked = (#ARGV - 6 - done) / 2
  if parked > 0 and call("HLEN", KEYS[2]) - done + parked > tonumber(ARGV[5]) then return 2 end
  call("HSET", KEYS[1], "position", ARGV[3], "state", ARGV[4])
  for i = 7, 6 + done do
    call("HDEL", KEYS[2], ARGV[i])
    call("SREM", KEYS[3], ARGV[i])
  end
  for i = 7 + done, #ARGV, 2 do
    call("HSET", KEYS[2], ARGV[i], ARGV[i + 1])
    call("SREM", KEYS[3], ARGV[i])
  end
  return 1
end

local ids = {unpack(ARGV, 2)}
if #ids == 0 then ids = call("HKEYS", KEYS[2]) end
local count = 0
for _, id in ipairs(ids) do
  if act == "again" then
    if call("HEXISTS", KEYS[2], id) == 1 then
      call("SADD", KEYS[3], id)
      count = count + 1
    end
  else
    count = count + call("HDEL", KEYS[2], id)
    call("SREM", KEYS[3], id)
  end
end
return count
