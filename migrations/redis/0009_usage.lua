#!lua
-- Adds what an instance counted to one roll-up of usage, once, however often it is sent.
--
-- KEYS  1    roll-up: hash, field series = 9 unsigned 64-bit numbers (little-endian), field "#instance" = number
--            of the last batch that it holds of that instance
-- ARGV  1    "#instance"
--       2    number of the batch, below 2^53
--       3    how long the roll-up is still kept, ms
--       4..  series, 9 numbers, series, 9 numbers, ... (each series once, at most 1000)
--
-- A number is added in two halves of 32 bits, as Lua's own numbers are exact only up to 2^53; a sum that does not
-- fit stays at the largest number.
--
-- Reply: 1 if it was added, 0 if the roll-up has it already.
--
-- Example: {"#i", "1", "60000", "[null,null,\"k\"]", <9 numbers>} on no roll-up: 1, and the series has these
-- numbers; the same again: 0, and it has them still.

if #KEYS ~= 1 or #ARGV < 5 or #ARGV % 2 ~= 1 then
  return redis.error_reply("KEYWARD usage wants 1 key, 3 arguments and pairs of them")
end
local HALVES = "<" .. string.rep("I4", 18)
local FULL = 4294967296

local function add(bytes, more)
  if not bytes then return more end
  local sum, other = {struct.unpack(HALVES, bytes)}, {struct.unpack(HALVES, more)}
  for i = 1, 17, 2 do
    local low, high = sum[i] + other[i], sum[i + 1] + other[i + 1]
    if low >= FULL then
      low, high = low - FULL, high + 1
    end
    if high >= FULL then
      low, high = FULL - 1, FULL - 1
    end
    sum[i], sum[i + 1] = low, high
  end
  return struct.pack(HALVES, unpack(sum, 1, 18))
end

local held = redis.call("HGET", KEYS[1], ARGV[1])
if held and tonumber(held) >= tonumber(ARGV[2]) then return 0 end
local series = {}
for i = 4, #ARGV, 2 do series[#series + 1] = ARGV[i] end
local sums = redis.call("HMGET", KEYS[1], unpack(series))
local fields = {ARGV[1], ARGV[2]}
for i = 1, #series do
  fields[#fields + 1] = series[i]
  fields[#fields + 1] = add(sums[i], ARGV[3 + 2 * i])
end
redis.call("HSET", KEYS[1], unpack(fields))
redis.call("PEXPIRE", KEYS[1], ARGV[3])
return 1
