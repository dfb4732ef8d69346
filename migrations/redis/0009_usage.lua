#!lua
-- Adds what an instance counted to one roll-up of usage, once, however often it is sent.
--
-- KEYS  1    roll-up: hash, field series = 9 unsigned 64-bit numbers (little-endian), field "#instance" = number
--            of the last batch that it holds of that instance
--       2    how long its requests took: hash, field series = for each bucket of latency its number (2 bytes) and its
--            count (4 bytes, little-endian), by ascending number
-- ARGV  1    "#instance"
--       2    number of the batch, below 2^53
--       3    how long the roll-up is still kept, ms
--       4..  series, 9 numbers, latencies (empty where none was reported), ... (each series once, at most 1000)
--
-- A number is added in two halves of 32 bits, as Lua's own numbers are exact only up to 2^53; a sum that does not
-- fit stays at the largest number.
--
-- Reply: 1 if it was added, 0 if the roll-up has it already.
--
-- Example: {"#i", "1", "60000", "[null,null,\"k\"]", <9 numbers>, ""} on no roll-up: 1, and the series has these
-- numbers; the same again: 0, and it has them still.

if #KEYS ~= 2 or #ARGV < 6 or #ARGV % 3 ~= 0 then
  return redis.error_reply("KEYWARD usage wants 2 keys, 3 arguments and triples of them")
end
local HALVES = "<" .. string.rep("I4", 18)
local FULL = 4294967296
local LATENCY = "<I2I4"
local LATENCY_BYTES = 6

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

-- The place (0 is the first) of the first bucket at or after `place` whose number is at least `number`.
local function find(bytes, place, number)
  local last = #bytes / LATENCY_BYTES
  while place < last do
    local middle = math.floor((place + last) / 2)
    if struct.unpack("<I2", bytes, middle * LATENCY_BYTES + 1) < number then
      place = middle + 1
    else
      last = middle
    end
  end
  return place
end

-- What is added has few buckets, and what is held may have many: they are looked up and not all read.
local function add_latencies(bytes, more)
  if not bytes then return more end
  local parts, place = {}, 0
  for i = 1, #more, LATENCY_BYTES do
    local number, count = struct.unpack(LATENCY, more, i)
    local found = find(bytes, place, number)
    parts[#parts + 1] = string.sub(bytes, place * LATENCY_BYTES + 1, found * LATENCY_BYTES)
    place = found
    if place * LATENCY_BYTES < #bytes then
      local held_number, held = struct.unpack(LATENCY, bytes, place * LATENCY_BYTES + 1)
      if held_number == number then
        count, place = math.min(count + held, FULL - 1), place + 1
      end
    end
    parts[#parts + 1] = struct.pack(LATENCY, number, count)
  end
  parts[#parts + 1] = string.sub(bytes, place * LATENCY_BYTES + 1)
  return table.concat(parts)
end

-- Adds to fields of a hash, of which each has what is to be added at the same place of another list.
local function add_all(key, fields, more, sum, sums)
  if #fields == 0 then return end
  local held = redis.call("HMGET", key, unpack(fields))
  for i = 1, #fields do
    sums[#sums + 1] = fields[i]
    sums[#sums + 1] = sum(held[i], more[i])
  end
  redis.call("HSET", key, unpack(sums))
  redis.call("PEXPIRE", key, ARGV[3])
end

local held = redis.call("HGET", KEYS[1], ARGV[1])
if held and tonumber(held) >= tonumber(ARGV[2]) then return 0 end
local series, numbers, timed, latencies = {}, {}, {}, {}
for i = 4, #ARGV, 3 do
  series[#series + 1], numbers[#numbers + 1] = ARGV[i], ARGV[i + 1]
  if ARGV[i + 2] ~= "" then
    timed[#timed + 1], latencies[#latencies + 1] = ARGV[i], ARGV[i + 2]
  end
end
add_all(KEYS[1], series, numbers, add, {ARGV[1], ARGV[2]})
add_all(KEYS[2], timed, latencies, add_latencies, {})
return 1
