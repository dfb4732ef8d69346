#!lua
-- Charges one request to a subject's windows and to counters beyond them: all, or none. Keeps it as a reservation where
-- that is asked.
--
-- KEYS  1..5  as in 0001_observe.lua
--       6     reservations of the partition: hash from id to the moment of the charge (a double) and their content
--       7     their ids by the moment of their end: sorted set
--       8..   counters (parts/counters.lua)
-- ARGV  1, 2  as in 0001_observe.lua
--       3     5 little-endian doubles per counter: amount, most, until, amount held by the reservation that this settles,
--             until when that is held
--       4     id of the reservation to keep, empty: none; 5 its content; 6 when it ends
--
-- Reply: the reply of 0001_observe.lua, and doubles: which counter refused (0: none), when it would admit (-1: never),
-- then per counter what counts and when the first of it ends (-1: nothing counts).
--
-- Example: a counter that holds 90 of 100 refuses an amount of 20 and admits one of 10; a window that refuses keeps
-- either from being charged.

if #KEYS < 7 or #ARGV ~= 6 then
  return redis.error_reply("KEYWARD quota wants 7 keys or more and 6 arguments")
end

local function observe(KEYS, ARGV)
-- @include 0001_observe.lua
end

local pack, unpacked, call = struct.pack, struct.unpack, redis.call
local now, mode = unpacked("<d", ARGV[1]), unpacked("<d", ARGV[1], 105)
local PEEK, FORCE = 1, 2
-- @include parts/counters.lua

local counters, raws = {unpack(KEYS, 8)}, {}
if #counters > 0 then raws = call("MGET", unpack(counters)) end

local refused, retry = 0, 0
if mode ~= FORCE then refused, retry = refusal(#counters, raws, ARGV[3]) end

local charge = ARGV[1]
if refused > 0 then charge = charge:sub(1, 104) .. pack("<d", PEEK) .. charge:sub(113) end
local reply = observe({KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]}, {charge, ARGV[2]})
if type(reply) == "table" then return reply end

-- Flags of the reply: 1 admitted, 4 tracked. What is not tracked has no windows to hold anything in.
local flags = reply:byte(1)
local charged = flags % 2 == 1 and refused == 0 and mode ~= PEEK
if charged and flags >= 4 and ARGV[4] ~= "" then
  call("HSET", KEYS[6], ARGV[4], reply:sub(4, 11) .. ARGV[5])
  call("ZADD", KEYS[7], ARGV[6], ARGV[4])
end
return {reply, pack("<dd", refused, retry) .. counts(#counters, counters, raws, ARGV[3], charged)}
