#!lua
-- Counts what an instance owes to one partition, once, however often it is sent.
--
-- KEYS  1     number of the last batch of this instance that the partition has
--       2..   n counters (parts/counters.lua), then 5 keys per subject, as in 0001_observe.lua
-- ARGV  1     4 little-endian doubles: now, number of the batch, n, how long the number is kept, ms
--       2     5 doubles per counter, as in 0011_counters.lua
--       3..   the first argument of 0001_observe.lua, for each subject
--
-- Reply: 1 if it was counted, 0 if the partition has it already.
--
-- Example: batch 7 with 300 tokens of a key: 1, and its windows hold 300 more; the same again: 0, and they hold what
-- they held.

if #KEYS < 2 or #ARGV < 2 then
  return redis.error_reply("KEYWARD debts wants 2 keys and 2 arguments or more")
end

local function observe(KEYS, ARGV)
-- @include 0001_observe.lua
end

local pack, unpacked, call = struct.pack, struct.unpack, redis.call
local now, number, n, keep = unpacked("<dddd", ARGV[1])
-- @include parts/counters.lua

local held = call("GET", KEYS[1])
if held and tonumber(held) >= number then return 0 end
if n > 0 then
  local keys = {unpack(KEYS, 2, n + 1)}
  counts(n, keys, call("MGET", unpack(keys)), ARGV[2], true)
end
for i = 3, #ARGV do
  local first = n + 2 + (i - 3) * 5
  local reply = observe({unpack(KEYS, first, first + 4)}, {ARGV[i], ""})
  if type(reply) == "table" then return reply end
end
call("SET", KEYS[1], string.format("%d", number), "PX", string.format("%d", keep))
return 1
