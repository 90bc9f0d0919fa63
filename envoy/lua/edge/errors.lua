-- Error bodies, one for each client dialect.

-- Text as the inside of a JSON string: ASCII, bounded, nothing that a log or terminal could act on.
local function quoted(text)
  if #text > MODEL_BYTES_MAX then text = sub(text, 1, MODEL_BYTES_MAX) .. "..." end
  text = gsub(text, "[\194-\244]?[\128-\191]+", "?") -- beyond ASCII, one for a character
  return (gsub(gsub(text, '["\\]', "\\%0"), "[%c\127-\255]", "?"))
end

local GOOGLE_STATUS = { ["404"] = "NOT_FOUND" } -- others here: INVALID_ARGUMENT

-- The error body of a client dialect. message is already JSON-escaped.
local function error_body(dialect, status, message, code, param)
  if dialect == "gemini-generate-content" then
    return '{"error":{"code":' .. status .. ',"message":"' .. message .. '","status":"' .. (GOOGLE_STATUS[status] or "INVALID_ARGUMENT") .. '"}}'
  end
  if dialect == "bedrock-converse" then
    local kind = status == "404" and "ResourceNotFoundException" or "ValidationException"
    return '{"__type":"' .. kind .. '","message":"' .. message .. '"}'
  end
  if dialect == "anthropic-messages" then
    local kind = code == "model_not_found" and "not_found_error" or "invalid_request_error"
    return '{"type":"error","error":{"type":"' .. kind .. '","message":"' .. message .. '"}}'
  end
  if dialect == "cohere-chat" then return '{"message":"' .. message .. '"}' end
  return '{"error":{"message":"' .. message .. '","type":"invalid_request_error","param":'
    .. (param and '"' .. param .. '"' or "null") .. ',"code":"' .. code .. '"}}'
end

-- Instead of a vendor's words about the gateway's credentials: they quote parts of the key, and a client would think that its own is dead.
local EXHAUSTED = "upstream_credentials_exhausted: the provider refused the gateway's own credentials; those of the caller are not at fault"
local CREDENTIALS_REFUSED = {
  openai = '{"error":{"message":"' .. EXHAUSTED .. '","type":"server_error","param":null,"code":"upstream_credentials_exhausted"}}',
  anthropic = '{"type":"error","error":{"type":"api_error","message":"' .. EXHAUSTED .. '"}}',
  google = '{"error":{"code":502,"message":"' .. EXHAUSTED .. '","status":"UNAVAILABLE"}}',
  bedrock = '{"__type":"ServiceUnavailableException","message":"' .. EXHAUSTED .. '"}',
  cohere = '{"message":"' .. EXHAUSTED .. '"}',
}

local REFUSED_IN = { ["anthropic-messages"] = "anthropic", ["bedrock-converse"] = "bedrock", ["gemini-generate-content"] = "google", ["cohere-chat"] = "cohere" }

-- An error for which others than the client are to blame says when to come again: while all targets of the route are out, that is when the
-- first of them is expected back, or earlier where the vendor asked last says so itself.
local function tell_recovery(h, headers)
  local back_at = tonumber(h:metadata():get("back_at") or "")
  if not back_at then return end
  local wait = back_at - os.time()
  if wait < 1 then wait = 1 end
  local told = tonumber(headers:get("retry-after") or "")
  if headers:get("x-headgate-target") and told and told < wait then return end
  headers:replace("retry-after", format("%d", wait))
  headers:remove("retry-after-ms")
end
