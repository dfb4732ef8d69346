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

-- @include parts/windows.lua

local FOR_EVER = 9e15
local max, min, call = math.max, math.min, redis.call

local now, wanted = tonumber(ARGV[1]), ARGV[3]
local refunds = tonumber(ARGV[6])
local raw = call("GET", KEYS[1])
local known = raw
if not known then
  raw = empty_state()
end
local standing, peers = raw:sub(1, 96), raw:sub(PEERS_AT)
local head = {struct.unpack(HEAD, raw, HEAD_AT)}
local total = {head[2], head[3], head[4], head[5]}
local windows = {}
for w = 1, 4 do windows[w] = {struct.unpack(WINDOW, raw, HEAD_AT - w * WINDOW_BYTES)} end

if wanted ~= "" and struct.unpack("<d", wanted) ~= struct.unpack("<d", standing) + 1 then
  return {0, standing}
end

-- Takes `counts` out of the bucket of window `w` that `at` fell into, if that is still counted.
local function refund(w, at, counts)
  local x = windows[w]
  local index = bucket_of(w, at)
  if index >= x[1] then
    for k = 1, 4 do x[1 + k] = min(x[1 + k] + counts[k], total[k]) end
  else
    local member = call("ZRANGEBYSCORE", KEYS[w + 1], index, index)[1]
    if not member then return end
    local r, t, f, m = counts_of(member)
    local left = string.format("%.0f:%.0f:%.0f:%.0f:%.0f", index, max(r - counts[1], 0), max(t - counts[2], 0),
      max(f - counts[3], 0), max(m - counts[4], 0))
    if left ~= member then
      -- Added before the other is removed, so that the set keeps its time to live.
      call("ZADD", KEYS[w + 1], index, left)
      call("ZREM", KEYS[w + 1], member)
    end
  end
  for k = 1, 4 do x[5 + k] = min(x[5 + k] + counts[k], total[k]) end
end

-- One sighting less of the peer `id`; none left: it was never seen.
local function unsee(id)
  for at = 1, #peers, PEER_BYTES do
    if peers:sub(at, at + 7) == id then
      local hits = struct.unpack("<d", peers, at + 24) - 1
      local entry = ""
      if hits > 0 then
        entry = peers:sub(at, at + 23) .. struct.pack("<d", hits) .. peers:sub(at + 32, at + PEER_BYTES - 1)
      end
      peers = peers:sub(1, at - 1) .. entry .. peers:sub(at + PEER_BYTES)
      return
    end
  end
end

if known then
  for i = 7, 6 + refunds do
    local at, r, t, f, m = struct.unpack("<ddddd", ARGV[i])
    for w = 1, 4 do refund(w, at, {r, t, f, m}) end
    if #ARGV[i] > 40 then unsee(ARGV[i]:sub(41)) end
  end
end

local function packed(with)
  local parts = {with}
  for w = 4, 1, -1 do parts[#parts + 1] = struct.pack(WINDOW, unpack(windows[w], 1, 11)) end
  parts[#parts + 1] = struct.pack(HEAD, unpack(head, 1, 10))
  parts[#parts + 1] = peers
  return table.concat(parts)
end

if wanted ~= "" then
  local _, state, _, ends = struct.unpack("<dddd", wanted)
  if state >= 2 and ends < 0 then
    head[10] = FOR_EVER
    call("SET", KEYS[1], packed(wanted))
    call("SET", KEYS[6], ARGV[4])
  else
    local keep = max(ends - now, 0) + THIRTY_DAYS
    head[10] = now + keep
    call("SET", KEYS[1], packed(wanted), "PX", keep)
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
elseif known and refunds > 0 then
  call("SET", KEYS[1], packed(standing), "KEEPTTL")
end

local reply = {1}
for i = 7 + refunds, #ARGV do
  reply[#reply + 1] = call("XADD", KEYS[8], "MAXLEN", "~", ARGV[5], "*", "e", ARGV[i])
end
return reply
