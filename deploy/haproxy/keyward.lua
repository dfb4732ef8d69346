-- Asks Keyward about each request: `http-request lua.keyward`. Sets txn.keyward_status (200: it may pass),
-- txn.keyward_body and txn.keyward_retry of a refusal, and passes on what Keyward says of the request.
-- KEYWARD is the address of /v1/authorize; with KEYWARD_OPEN requests pass while Keyward does not answer. Its answers
-- have X-Keyward-Decision: a 503 with it is a refusal, and one without it says that nobody has answered.
local address, open = os.getenv("KEYWARD"), os.getenv("KEYWARD_OPEN")
local TIMEOUT = 250                                        -- ms
local MOST = 80                                            -- headers; about a hundred would end HAProxy 2.6
-- Headers of a connection are not passed on; those that name the request and its client are ours.
local OWN = { connection = true, host = true, ["content-length"] = true, ["transfer-encoding"] = true, expect = true,
              upgrade = true, te = true, trailer = true, ["x-forwarded-for"] = true, forwarded = true,
              ["x-real-ip"] = true, ["x-forwarded-uri"] = true, ["x-original-uri"] = true }
local TOLD = { "x-keyward-key-id", "x-keyward-request-id", "x-keyward-reservation" }

local function ask(txn)
  local headers, count = {}, 0
  for name, values in pairs(txn.http:req_get_headers()) do
    if not OWN[name] then
      headers[name] = {}
      for _, value in pairs(values) do
        table.insert(headers[name], value)
        count = count + 1
      end
    end
  end
  if count > MOST then error("too many headers") end
  headers["x-forwarded-for"] = { txn.f:src() }
  headers["x-forwarded-uri"] = { txn.sf:url() }
  headers["x-forwarded-method"] = { txn.sf:method() }
  return core.httpclient():get({ url = address, headers = headers, timeout = TIMEOUT })
end

core.register_action("keyward", { "http-req" }, function(txn)
  local asked, answer = pcall(ask, txn)
  local status = asked and answer and answer.status or 0
  local said = asked and answer and answer.headers or {}
  if not said["x-keyward-decision"] then
    -- A request that cannot be asked about is refused: its client has made it so.
    local away = asked and (status == 0 or status >= 500)
    if away and open then status = 200 elseif status == 200 then status = 503 end
  end
  txn:set_var("txn.keyward_status", status)
  txn:set_var("txn.keyward_body", asked and answer and answer.body or "")
  txn:set_var("txn.keyward_retry", said["retry-after"] and said["retry-after"][0] or "")
  for _, name in ipairs(TOLD) do
    txn.http:req_set_header(name, said[name] and said[name][0] or "")
  end
end)
