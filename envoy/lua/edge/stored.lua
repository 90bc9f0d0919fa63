-- Calls about what a provider keeps: stored responses, files, batches.

-- The model that the query names, and the rest of the query; nil when it names none, or two.
local function model_in_query(query)
  if #query > QUERY_BYTES_MAX or find(query, "[^!-~]") then return nil end
  local model, kept = nil, {}
  for pair in gmatch(query, "[^&]+") do
    local name = decoded(match(pair, "^[^=]*"))
    if not name then return nil end
    if name == "model" then
      if model then return nil end
      model = decoded(gsub(match(pair, "=(.*)$") or "", "%+", " "))
      if not is_model(model) then return nil end
    elseif not NOT_IN_QUERY[lower(name)] then
      kept[#kept + 1] = pair
    end
  end
  return model, concat(kept, "&")
end

-- A call about what a provider of the model keeps. What follows facts.stored in the path is the same there, and nobody reads the body.
local function on_stored(h, facts)
  local dialect = facts.dialect
  local body = h:body() -- also before a refusal
  local size = body and body:length() or 0
  local headers = h:headers()
  local path = headers:get(":path")
  local mark = find(path, "?", 1, true) or #path + 1
  local model, query = model_in_query(sub(path, mark + 1))
  if not model then return refuse_body(h, dialect, "unnamed") end
  local rest = sub(path, #facts.stored + 1, mark - 1)
  if facts.operation == "batches" and dialect == "anthropic-messages" then headers:remove("accept-encoding") end -- see relink
  if size > 0 then
    if not choose(h, headers, dialect, model, size) then return end
  else -- without a body there is no wait, so what the new route says cannot be read; if there is none, Envoy answers 404
    headers:replace(MODEL_HEADER, model)
    h:clearRouteCache()
  end
  announce(h, dialect, "whole", model)
  h:streamInfo():dynamicMetadata():set("headgate.model", "query", query == "" and rest or rest .. "?" .. query)
end

-- The address of a batch's results is the vendor's own, and Anthropic's SDKs send the key of their client wherever it leads. A path
-- leads them back here.
local function relink(h, headers)
  local length = tonumber(headers:get("content-length") or "")
  if length and length > RELINKED_BYTES_MAX then return end
  if not find(headers:get("content-type") or "", "application/json", 1, true) then return end
  local body = h:body()
  local text = body and body:getBytes(0, body:length())
  if not text or not find(text, '"results_url"', 1, true) then return end
  body:setBytes((gsub(text, '("results_url"%s*:%s*")https?://[^/"]+[^"]-(/v1/messages/batches/[%w_-]+/results")', "%1%2")))
end
