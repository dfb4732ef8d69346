#!lua
-- Shows which documents changed after a revision, and what they are now.
--
-- KEYS  1  documents, 2 changes: as in 0005_document
-- ARGV  1  revision
--       2  its mark; empty: that is not known
--
-- Reply: nil if that cannot be told: the revision is too long ago, or has another mark, or not every change since was
-- noted (by an older version of 0005_document). Else the revision now, "#mark", and field and JSON of each document
-- that changed, with nil for those that are gone.
--
-- Example: after "plan/a" was written (1, mark "x") and deleted (2, mark "y"), {"1", "x"} replies
-- {"2", "2 y", "plan/a", nil}; so does {"0", ""}; {"1", "z"} replies nil.

if #KEYS ~= 2 or #ARGV ~= 2 then
  return redis.error_reply("KEYWARD changes wants 2 keys and 2 arguments")
end
local AT_ONCE = 1000

local head = redis.call("HMGET", KEYS[1], "#", "#mark")
local revision = head[1] or "0"
local changes = redis.call("XRANGE", KEYS[2], ARGV[1] .. "-0", "+")
local first, known = 1, ""
if changes[1] and changes[1][1] == ARGV[1] .. "-0" then
  first, known = 2, changes[1][2][4]
end
if known ~= ARGV[2] or #changes - first + 1 ~= tonumber(revision) - tonumber(ARGV[1]) then return false end

local seen, fields = {}, {}
for i = first, #changes do
  local field = changes[i][2][2]
  if not seen[field] then
    seen[field] = true
    fields[#fields + 1] = field
  end
end
local reply = {revision, head[2] or ""}
for from = 1, #fields, AT_ONCE do
  local to = math.min(from + AT_ONCE - 1, #fields)
  local bodies = redis.call("HMGET", KEYS[1], unpack(fields, from, to))
  for i = from, to do
    reply[#reply + 1] = fields[i]
    reply[#reply + 1] = bodies[i - from + 1]
  end
end
return reply
