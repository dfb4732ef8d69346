#!lua
-- Charges one request to one subject, if every window admits it, and tells all there is to know of the subject.
-- It counts and compares; what follows from the numbers is decided elsewhere.
--
-- KEYS  1     state: one packed string (layout below)
--       2..5  closed buckets of the 1min, 5min, 1hour, 24hour window: sorted sets,
--             score = bucket index, member = "index:requests:tokens:auth_failures:not_found"
-- ARGV  1     16 little-endian doubles: now, requests, tokens, auth_failures, not_found,
--             4 token limits, 4 request limits (shortest window first, -1: none),
--             mode (0 admit, 1 peek, 2 force), peer capacity, may create (0/1)
--       2     the peer: 8 bytes id and 24 bytes data; empty: none
--
-- State: 12 doubles of standing (version, state, since, until, share, ...), the subject's time, then for each
-- window 11 doubles (open index, 4 open counts, 4 sums, oldest closed index or -1, until when the sorted set is
-- kept), then up to 64 peers of 56 bytes (id, first seen, last seen, hits, data), most recent first.
--
-- Reply: 3 bytes (flags: 1 admitted, 2 created, 4 tracked; which limit refused, 1..8 in the order of ARGV 1;
-- zero), the subject's time and the moment of retry (-1: never) as doubles, then the state as above as of now,
-- but with the peers as they were before.
--
-- Example: a new subject at 1700000000000 with 1 request of 500 tokens under 1000 tokens a minute gets flags 7
-- and a 1min sum of {1, 500, 0, 0}; the same again gets flags 7 and {2, 1000, 0, 0}; a third time gets
-- flags 4, limit 1, and the moment when the first bucket leaves.

if #KEYS ~= 5 or #ARGV ~= 2 then
  return redis.error_reply("KEYWARD observe wants 5 keys and 2 arguments")
end

-- src/domain/window.rs: a bucket is W/64; bucket i counts until i * bucket + span, span = bucket + W/960 + W.
local BUCKET = {937, 4687, 56250, 1350000}
local SPAN = {60999, 304999, 3660000, 87840000}
local WINDOWS = "<ddddddddddddddddddddddddddddddddddddddddddddd"
local PEER = 56
local DAY_AND_HOUR = 90000000
local THIRTY_DAYS = 2592000000
local PEEK, FORCE = 1, 2
local floor, max = math.floor, math.max
local call = redis.call

local a = {struct.unpack("<dddddddddddddddd", ARGV[1])}
local mode = a[14]
local raw = call("GET", KEYS[1])
local s, standing, peers
if raw then
  standing, peers = raw:sub(1, 96), raw:sub(457)
  s = {struct.unpack(WINDOWS, raw, 97)}
else
  standing, peers = struct.pack("<dddddddddddd", 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0), ""
  s = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0,
       0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0}
  if a[16] == 0 then mode = PEEK end
end
local now = max(a[1], s[1])

local function numbers_of(member)
  local index, requests, tokens, auth, missing = member:match("^(%d+):(%d+):(%d+):(%d+):(%d+)$")
  return tonumber(index), {tonumber(requests), tonumber(tokens), tonumber(auth), tonumber(missing)}
end

-- Moves every window to now, in memory only. `closing[w]`: the bucket that becomes a closed one;
-- `leaving[w]`: how many closed ones have left (-1: all).
local closing, leaving = {}, {}
for w = 1, 4 do
  local o = w * 11 - 10
  local bucket, span = BUCKET[w], SPAN[w]
  local index, open = floor(now / bucket), s[o + 1]
  if index > open then
    local r, t, f, m = s[o + 2], s[o + 3], s[o + 4], s[o + 5]
    if open * bucket + span <= now then
      if s[o + 10] >= 0 then leaving[w] = -1 end
      s[o + 6], s[o + 7], s[o + 8], s[o + 9], s[o + 10] = 0, 0, 0, 0, -1
    elseif r ~= 0 or t ~= 0 or f ~= 0 or m ~= 0 then
      closing[w] = {open, r, t, f, m}
      if s[o + 10] < 0 then s[o + 10] = open end
    end
    s[o + 1], s[o + 2], s[o + 3], s[o + 4], s[o + 5] = index, 0, 0, 0, 0
  end
  if s[o + 10] >= 0 and s[o + 10] * bucket + span <= now then
    local gone, chunk, found = 0, 1, false
    repeat
      local members = call("ZRANGE", KEYS[w + 1], gone, gone + chunk)
      for i = 1, #members do
        local at, counts = numbers_of(members[i])
        if at * bucket + span > now then
          s[o + 10], found = at, true
          break
        end
        gone = gone + 1
        for k = 1, 4 do s[o + 5 + k] = max(s[o + 5 + k] - counts[k], 0) end
      end
      if not found and #members <= chunk then
        -- None is left: what remains is what is open or closing, also if the set was lost.
        local last = closing[w]
        for k = 1, 4 do s[o + 5 + k] = s[o + 1 + k] + (last and last[k + 1] or 0) end
        s[o + 10], found = last and last[1] or -1, true
        if not last then gone = -1 end
      end
      chunk = 15
    until found
    leaving[w] = gone
  end
end

local version, state, _, ends, share = struct.unpack("<ddddd", standing)
local in_force = ends < 0 or ends > now
local banned = state >= 2 and in_force
if state ~= 1 or not in_force then share = 1000 end

-- When `excess` of field `k` has left window `w`; -1: never. Walks from the oldest bucket to the open one.
local function clears_at(w, k, excess)
  local o = w * 11 - 10
  local from = leaving[w] or 0
  if from >= 0 and s[o + 10] >= 0 then
    repeat
      local members = call("ZRANGE", KEYS[w + 1], from, from + 15)
      for i = 1, #members do
        local at, counts = numbers_of(members[i])
        excess = excess - counts[k]
        if excess <= 0 then return at * BUCKET[w] + SPAN[w] end
      end
      from = from + 16
    until #members < 16
  end
  local last = closing[w]
  if last then
    excess = excess - last[k + 1]
    if excess <= 0 then return last[1] * BUCKET[w] + SPAN[w] end
  end
  if excess - s[o + 1 + k] <= 0 then return s[o + 1] * BUCKET[w] + SPAN[w] end
  return -1
end

local refused, retry = 0, 0
if not banned and mode ~= FORCE then
  for i = 1, 8 do
    local limit = a[5 + i]
    if limit >= 0 then
      local w, k = i, 2
      if i > 4 then w, k = i - 4, 1 end
      if share ~= 1000 then
        limit = floor(limit / 1000) * share + floor(limit % 1000 * share / 1000)
      end
      local amount = a[1 + k]
      local wanted = s[w * 11 - 5 + k] + amount
      if wanted > limit then
        local at = -1
        if amount <= limit then at = clears_at(w, k, wanted - limit) end
        if at < 0 then
          refused, retry = i, -1
          break
        end
        if refused == 0 or at > retry then refused, retry = i, at end
      end
    end
  end
end

local admitted = not banned and refused == 0
local charged = admitted and mode ~= PEEK
local flags = 0
if admitted then flags = 1 end
if charged and not raw then flags = flags + 2 end
if raw or (mode ~= PEEK) then flags = flags + 4 end

if not charged then
  return struct.pack("<BBBdd", flags, refused, 0, now, retry) .. standing .. struct.pack(WINDOWS, unpack(s, 1, 45)) .. peers
end

s[1] = now
local r, t, f, m = a[2], a[3], a[4], a[5]
for w = 1, 4 do
  local o = w * 11 - 10
  s[o + 2], s[o + 3], s[o + 4], s[o + 5] = s[o + 2] + r, s[o + 3] + t, s[o + 4] + f, s[o + 5] + m
  s[o + 6], s[o + 7], s[o + 8], s[o + 9] = s[o + 6] + r, s[o + 7] + t, s[o + 8] + f, s[o + 9] + m
  -- All gone: the set and its time to live go too. Else add before removing, so that the set, and with it
  -- its time to live, is never gone in between.
  local last, gone = closing[w], leaving[w]
  if gone == -1 then
    call("DEL", KEYS[w + 1])
    s[o + 11] = 0
  end
  if last then
    call("ZADD", KEYS[w + 1], last[1],
      string.format("%.0f:%.0f:%.0f:%.0f:%.0f", last[1], last[2], last[3], last[4], last[5]))
    if s[o + 11] < now + DAY_AND_HOUR then
      s[o + 11] = now + DAY_AND_HOUR + 7200000
      call("PEXPIRE", KEYS[w + 1], DAY_AND_HOUR + 7200000)
    end
  end
  if gone and gone > 0 then call("ZREMRANGEBYRANK", KEYS[w + 1], 0, gone - 1) end
end

local touched = peers
local peer = ARGV[2]
if peer ~= "" then
  local id, first, hits = peer:sub(1, 8), now, 0
  for at = 1, #peers, PEER do
    if peers:sub(at, at + 7) == id then
      local _
      first, _, hits = struct.unpack("<ddd", peers, at + 8)
      touched = peers:sub(1, at - 1) .. peers:sub(at + PEER)
      break
    end
  end
  touched = (id .. struct.pack("<ddd", first, now, hits + 1) .. peer:sub(9) .. touched):sub(1, a[15] * PEER)
end

local head = standing .. struct.pack(WINDOWS, unpack(s, 1, 45))
if version > 0 and state >= 2 and ends < 0 then
  call("SET", KEYS[1], head .. touched)
else
  local keep = DAY_AND_HOUR
  if version > 0 then keep = max(ends - now, 0) + THIRTY_DAYS end
  call("SET", KEYS[1], head .. touched, "PX", keep)
end
return struct.pack("<BBBdd", flags, refused, 0, now, retry) .. head .. peers
