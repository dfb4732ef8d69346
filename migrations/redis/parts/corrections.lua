-- Windows of a subject that are changed afterwards: what was charged is taken back, and what is told late is counted at
-- its own time. Whoever includes this includes parts/windows.lua before.

-- The state in parts: the standing, the head, the four windows (shortest first), the peers.
local function open_state(raw)
  local state = {standing = raw:sub(1, 96), peers = raw:sub(PEERS_AT), windows = {}}
  state.head = {struct.unpack(HEAD, raw, HEAD_AT)}
  for w = 1, 4 do state.windows[w] = {struct.unpack(WINDOW, raw, HEAD_AT - w * WINDOW_BYTES)} end
  return state
end

local function close_state(state)
  local parts = {state.standing}
  for w = 4, 1, -1 do parts[#parts + 1] = struct.pack(WINDOW, unpack(state.windows[w], 1, 11)) end
  parts[#parts + 1] = struct.pack(HEAD, unpack(state.head, 1, 10))
  parts[#parts + 1] = state.peers
  return table.concat(parts)
end

local function bucket(index, counts)
  return string.format("%.0f:%.0f:%.0f:%.0f:%.0f", index, counts[1], counts[2], counts[3], counts[4])
end

-- Puts another member in the place of one. Added before the other is removed, so that the set keeps its time to live.
local function replace(key, index, member, with)
  if with ~= member then
    redis.call("ZADD", key, index, with)
    redis.call("ZREM", key, member)
  end
end

-- Takes `counts` out of the bucket of window `w` that `at` fell into, if that is still counted.
local function refund(key, state, w, at, counts)
  local x, head = state.windows[w], state.head
  local index = bucket_of(w, at)
  if index >= x[1] then
    for k = 1, 4 do x[1 + k] = math.min(x[1 + k] + counts[k], head[1 + k]) end
  else
    local member = redis.call("ZRANGEBYSCORE", key, index, index)[1]
    if not member then return end
    local left = {counts_of(member)}
    for k = 1, 4 do left[k] = math.max(left[k] - counts[k], 0) end
    replace(key, index, member, bucket(index, left))
  end
  for k = 1, 4 do x[5 + k] = math.min(x[5 + k] + counts[k], head[1 + k]) end
end

-- Counts `counts`, told at the subject's time, in the bucket of each window that `at` fell into, if that still counts.
local function charge_late(keys, state, at, counts)
  local head = state.head
  local now = head[1]
  for k = 1, 4 do head[1 + k] = head[1 + k] + counts[k] end
  for w = 1, 4 do
    local x, index = state.windows[w], bucket_of(w, at)
    if index < x[1] then
      -- It is in no open bucket.
      for k = 1, 4 do x[1 + k] = x[1 + k] + counts[k] end
      if expires_at(w, index) <= now then
        for k = 1, 4 do x[5 + k] = x[5 + k] + counts[k] end
      else
        local member = redis.call("ZRANGEBYSCORE", keys[w], index, index)[1]
        local all = member and {counts_of(member)} or {0, 0, 0, 0}
        for k = 1, 4 do all[k] = all[k] + counts[k] end
        if member then
          replace(keys[w], index, member, bucket(index, all))
        else
          redis.call("ZADD", keys[w], index, bucket(index, all))
          if x[11] < now + 90000000 then
            x[11] = now + 97200000
            redis.call("PEXPIRE", keys[w], 97200000)
          end
        end
        if x[10] < 0 or index < x[10] then x[10] = index end
        head[5 + w] = math.min(head[5 + w], expires_at(w, x[10]))
      end
    end
  end
end
