#!lua
-- Changes a subject's standing if nobody else did meanwhile, takes back charges, and appends events:
-- all of it or nothing.
--
-- KEYS  1     state (layout: 0001_observe.lua)
--       2..5  closed buckets of the four windows
--       6     detail of the standing, JSON
--       7     standings in force: sorted set, score = until when (+inf: for good), member = subject
--       8     event stream of the partition
-- ARGV  1     now, ms
--       2     subject
--       3     the new standing, 12 doubles; empty: it stays
--       4     its detail, JSON
--       5     about how many events are kept
--       6     number of refunds, n
--       7..   n refunds: 5 doubles (charged at, 4 counts) and, if a peer is to be taken back, its 8 bytes id
--       then  the events, JSON, oldest first
--
-- The first double of a standing is its version; the one stored must be one less (0: none stored).
-- Reply: {1, ids of the events...}, or {0, the standing in force} with nothing written.
--
-- Example: ban of key:a (version 1) with one refund and one event on a fresh subject: {1, "1700000000000-0"};
-- the same call again: {0, <12 doubles with version 1>}.

if #KEYS ~= 8 or #ARGV < 6 then
  return redis.error_reply("KEYWARD respond wants 8 keys and at least 6 arguments")
end

local BUCKET = {937, 4687, 56250, 1350000}
local WINDOWS = "<ddddddddddddddddddddddddddddddddddddddddddddd"
local PEER = 56
local DAY_AND_HOUR = 90000000
local THIRTY_DAYS = 2592000000
local max, call = math.max, redis.call

local now, wanted = tonumber(ARGV[1]), ARGV[3]
local refunds = tonumber(ARGV[6])
local raw = call("GET", KEYS[1])
local standing, peers, s
if raw then
  standing, peers = raw:sub(1, 96), raw:sub(457)
  s = {struct.unpack(WINDOWS, raw, 97)}
else
  standing, peers = struct.pack("<dddddddddddd", 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0), ""
  s = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0,
       0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 0}
end

if wanted ~= "" and struct.unpack("<d", wanted) ~= struct.unpack("<d", standing) + 1 then
  return {0, standing}
end

-- Takes `counts` out of the bucket of window `w` that `at` fell into, if that is still counted.
local function refund(w, at, counts)
  local o = w * 11 - 10
  local index = math.floor(at / BUCKET[w])
  if index >= s[o + 1] then
    for k = 1, 4 do s[o + 1 + k] = max(s[o + 1 + k] - counts[k], 0) end
  else
    local member = call("ZRANGEBYSCORE", KEYS[w + 1], index, index)[1]
    if not member then return end
    local _, r, t, f, m = member:match("^(%d+):(%d+):(%d+):(%d+):(%d+)$")
    local left = string.format("%.0f:%.0f:%.0f:%.0f:%.0f", index, max(r - counts[1], 0), max(t - counts[2], 0),
      max(f - counts[3], 0), max(m - counts[4], 0))
    if left ~= member then
      -- Added before the other is removed, so that the set keeps its time to live.
      call("ZADD", KEYS[w + 1], index, left)
      call("ZREM", KEYS[w + 1], member)
    end
  end
  for k = 1, 4 do s[o + 5 + k] = max(s[o + 5 + k] - counts[k], 0) end
end

-- One sighting less of the peer `id`; none left: it was never seen.
local function unsee(id)
  for at = 1, #peers, PEER do
    if peers:sub(at, at + 7) == id then
      local hits = struct.unpack("<d", peers, at + 24) - 1
      local entry = ""
      if hits > 0 then entry = peers:sub(at, at + 23) .. struct.pack("<d", hits) .. peers:sub(at + 32, at + PEER - 1) end
      peers = peers:sub(1, at - 1) .. entry .. peers:sub(at + PEER)
      return
    end
  end
end

if raw then
  for i = 7, 6 + refunds do
    local at, r, t, f, m = struct.unpack("<ddddd", ARGV[i])
    for w = 1, 4 do refund(w, at, {r, t, f, m}) end
    if #ARGV[i] > 40 then unsee(ARGV[i]:sub(41)) end
  end
end

if wanted ~= "" then
  local _, state, _, ends = struct.unpack("<dddd", wanted)
  local packed = wanted .. struct.pack(WINDOWS, unpack(s, 1, 45)) .. peers
  if state >= 2 and ends < 0 then
    call("SET", KEYS[1], packed)
    call("SET", KEYS[6], ARGV[4])
  else
    local keep = max(ends - now, 0) + THIRTY_DAYS
    call("SET", KEYS[1], packed, "PX", keep)
    -- Records lengthen the life of the state, not of the detail: it gets the double.
    call("SET", KEYS[6], ARGV[4], "PX", 2 * keep)
  end
  if state == 0 then
    call("ZREM", KEYS[7], ARGV[2])
  elseif ends < 0 then
    call("ZADD", KEYS[7], "+inf", ARGV[2])
  else
    call("ZADD", KEYS[7], ends, ARGV[2])
  end
elseif raw and refunds > 0 then
  call("SET", KEYS[1], standing .. struct.pack(WINDOWS, unpack(s, 1, 45)) .. peers, "KEEPTTL")
end

local reply = {1}
for i = 7 + refunds, #ARGV do
  reply[#reply + 1] = call("XADD", KEYS[8], "MAXLEN", "~", ARGV[5], "*", "e", ARGV[i])
end
return reply
