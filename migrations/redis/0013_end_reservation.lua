#!lua
-- Ends what is due of a reservation that was not settled, unless somebody was quicker; or gives one back that has not
-- ended.
--
-- KEYS  1..8  as in 0002_respond.lua
--       9, 10 reservations of the partition (parts/reservations.lua): hash and sorted set
-- ARGV  1     id of the reservation
--       2     "end" what is due, or "give back"
--       3..   as 1.. in 0002_respond.lua: no standing, one refund, no events
--
-- Reply: 0 nothing was to be ended; 1 it was given back: its windows hold it no longer, nor do counters in this slot; 2
-- its estimate is charged, and usage is to count it; 3 it had ended before, and is forgotten.
--
-- Example: a reservation of 300 tokens that ended is ended by two instances at once: one gets 1 and the windows hold 300
-- tokens less, the other gets 0.

if #KEYS ~= 10 or #ARGV < 8 then
  return redis.error_reply("KEYWARD end_reservation wants 10 keys and at least 8 arguments")
end

local function respond(KEYS, ARGV)
-- @include 0002_respond.lua
end

local pack, unpacked, call = struct.pack, struct.unpack, redis.call
local now, id, reservations, list = tonumber(ARGV[3]), ARGV[1], KEYS[9], KEYS[10]
-- @include parts/counters.lua
-- @include parts/reservations.lua

local content = call("HGET", reservations, id)
if not content then
  call("ZREM", list, id)
  return 0
end
local stage, ends, held = opened(content)
if ARGV[2] == "give back" then
  if stage > DISPATCHED or ends <= now then return 0 end
  call("HDEL", reservations, id)
  call("ZREM", list, id)
  unname(reservations, id, held)
  for i, one in ipairs(held.counters) do
    local key = counter_at(held, i)
    if key then change(key, call("GET", key), one.amount, holds_until(stage, ends, one), 0, 0) end
  end
else
  if stage == CORRECTED or due(stage, ends) > now then return 0 end
  if stage == CHARGED and call("ZSCORE", list, "+" .. id) then return 0 end
  if stage == CHARGED or stage == LAPSED or stage == OBSERVED then
    call("HDEL", reservations, id)
    call("ZREM", list, id)
    unname(reservations, id, held)
    return 3
  end
  if stage == DISPATCHED then
    call("HSET", reservations, id, moved(content, CHARGED, ends))
    call("ZADD", list, due(CHARGED, ends), id)
    have_counted(reservations, list, "+", id)
    return 2
  end
  unname(reservations, id, held)
  -- Its counters have ended by themselves. What is left tells its record.
  local rest = '{"id":' .. cjson.encode(id) .. ',"key":' .. cjson.encode(held.key) .. ',"until":0,"counters":[],"keys":[]'
    .. ',"counts":{"requests":0,"tokens":0,"auth_failures":0,"not_found":0}}'
  call("HSET", reservations, id, content:sub(1, 8) .. pack("<dd", LAPSED, ends) .. rest)
  call("ZADD", list, due(LAPSED, ends), id)
end
local reply = respond({unpack(KEYS, 1, 8)}, {unpack(ARGV, 3)})
return reply.err and reply or 1
