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
-- @include parts/corrections.lua

local FOR_EVER = 9e15
local max, call = math.max, redis.call

local now, wanted = tonumber(ARGV[1]), ARGV[3]
local refunds = tonumber(ARGV[6])
local raw = call("GET", KEYS[1])
local known = raw
if not known then
  raw = empty_state()
end
local state = open_state(raw)

if wanted ~= "" and struct.unpack("<d", wanted) ~= struct.unpack("<d", state.standing) + 1 then
  return {0, state.standing}
end

-- The log comes first: a caller that may not write to it changes nothing.
local reply = {1}
for i = 7 + refunds, #ARGV do
  reply[#reply + 1] = call("XADD", KEYS[8], "MAXLEN", "~", ARGV[5], "*", "e", ARGV[i])
end

-- One sighting less of the peer `id`; none left: it was never seen.
local function unsee(id)
  local peers = state.peers
  for at = 1, #peers, PEER_BYTES do
    if peers:sub(at, at + 7) == id then
      local hits = struct.unpack("<d", peers, at + 24) - 1
      local entry = ""
      if hits > 0 then
        entry = peers:sub(at, at + 23) .. struct.pack("<d", hits) .. peers:sub(at + 32, at + PEER_BYTES - 1)
      end
      state.peers = peers:sub(1, at - 1) .. entry .. peers:sub(at + PEER_BYTES)
      return
    end
  end
end

if known then
  for i = 7, 6 + refunds do
    local at, r, t, f, m = struct.unpack("<ddddd", ARGV[i])
    for w = 1, 4 do refund(KEYS[w + 1], state, w, at, {r, t, f, m}) end
    if #ARGV[i] > 40 then unsee(ARGV[i]:sub(41)) end
  end
end

if wanted ~= "" then
  local _, stands, _, ends = struct.unpack("<dddd", wanted)
  state.standing = wanted
  if stands >= 2 and ends < 0 then
    state.head[10] = FOR_EVER
    call("SET", KEYS[1], close_state(state))
    call("SET", KEYS[6], ARGV[4])
  else
    local keep = max(ends - now, 0) + THIRTY_DAYS
    state.head[10] = now + keep
    call("SET", KEYS[1], close_state(state), "PX", keep)
    -- Records lengthen the life of the state, not of the detail: it gets the double.
    call("SET", KEYS[6], ARGV[4], "PX", 2 * keep)
  end
  if stands == 0 then
    call("ZREM", KEYS[7], ARGV[2])
  elseif ends < 0 then
    call("ZADD", KEYS[7], "+inf", ARGV[2])
  else
    call("ZADD", KEYS[7], ends, ARGV[2])
  end
elseif known and refunds > 0 then
  call("SET", KEYS[1], close_state(state), "KEEPTTL")
end

return reply
