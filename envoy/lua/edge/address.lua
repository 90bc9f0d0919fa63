-- Requests whose path names the model.

local QUERY_BYTES_MAX = 2048

-- What a query may not hold behind this filter: keys, and Google's ways to say another method or header than the request does.
local NOT_IN_QUERY = { key = true, access_token = true, oauth_token = true, ["$httpmethod"] = true, ["$httpheaders"] = true }

-- Percent-encoded text decoded; nil when it is badly encoded.
local function decoded(text)
  if not find(text, "%", 1, true) then return text end
  if find(text, "%%%X") or find(text, "%%.%X") or find(text, "%%.?$") then return nil end
  return (gsub(text, "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

local UTF8 = {
  "[\194-\223][\128-\191]", "\224[\160-\191][\128-\191]", "\237[\128-\159][\128-\191]",
  "[\225-\236\238\239][\128-\191][\128-\191]", "\240[\144-\191][\128-\191][\128-\191]",
  "[\241-\243][\128-\191][\128-\191][\128-\191]", "\244[\128-\143][\128-\191][\128-\191]",
}

local function is_utf8(text)
  for _, sequence in ipairs(UTF8) do text = gsub(text, sequence, ".") end
  return not find(text, "[\128-\255]")
end

-- The query that goes on, without what must not; nil when it can be read in two ways.
local function clean_query(query)
  if not query then return "" end
  if #query > QUERY_BYTES_MAX or find(query, "[^!-~]") then return nil end
  local kept, seen = {}, {}
  for pair in gmatch(query, "[^&;]+") do
    local name = decoded(match(pair, "^[^=]*"))
    if not name or seen[name] then return nil end
    seen[name] = true
    if not NOT_IN_QUERY[lower(name)] then kept[#kept + 1] = pair end
  end
  return concat(kept, "&")
end

local function is_model(name)
  return name and name ~= "" and #name <= MODEL_BYTES_MAX and not find(name, '[%c"\\\127]') and not find(name, "^ ")
    and not find(name, " $") and is_utf8(name)
end

-- The model that the path names, and the query; nil and what is wrong.
local function read_address(path, pattern)
  local mark = find(path, "?", 1, true)
  local query = clean_query(mark and sub(path, mark + 1))
  if not query then return nil, "query" end
  local model = match(mark and sub(path, 1, mark - 1) or path, pattern)
  model = model and decoded(model)
  if not is_model(model) then return nil, "address" end
  return model, query
end

-- Writes the model of the path into a body that should have it there, in place of what the body says itself: there it is a name
-- that servers of such paths ignore. From then on the request is one to facts.to.
local function move_into_body(h, facts, headers, body, model)
  local size = body:length()
  local p, a, b, from = read_model(body, size, WANT_MODEL, true)
  if not p then return refuse_body(h, facts.dialect, a, b) end
  if a then
    splice(body, p, size, a, b, model)
  else
    local text = body:getBytes(0, size)
    local open = find(text, "{", 1, true)
    local _, c = solid(text, open + 1)
    body:setBytes(sub(text, 1, open) .. '"model":"' .. model .. (c == 125 and '"' or '",') .. sub(text, open + 1))
  end
  headers:replace(":path", facts.to)
end

-- A request whose path names the model, and goes on to paths that do. The body stays as it is.
local function on_addressed_request(h, facts, headers, body, model, query)
  local dialect, size = facts.dialect, body:length()
  local p, a, b, from, till = read_model(body, size, WANT_MODEL, true)
  if not p then return refuse_body(h, dialect, a, b) end
  if a then
    local said = part(p, a, b)
    if said ~= model and said ~= "models/" .. model then return refuse_body(h, dialect, "named_twice") end
    splice(body, p, size, from.model, till.model, "null") -- a target may call the model otherwise
  end
  local path = headers:get(":path")
  headers:replace(MODEL_HEADER, model)
  headers:replace(":path", facts.to)
  h:clearRouteCache()
  local found = facts_of(h)
  if not found then -- as in envoy_on_request
    headers:replace(MODEL_HEADER, "*")
    headers:replace(":path", match(path, "^[^?]*"))
    h:clearRouteCache()
    return announce(h, dialect, "whole", model)
  end
  limit_tries(h, found)
  if found.max_bytes and size > found.max_bytes then return h:respond({ [":status"] = "413" }, "") end
  if found.weigh then
    found = choose_measured(h, headers, found, p, size)
    if not found then return end
  end
  if found.session then keep_session(h, found, headers, p, size) end
  local how = facts.stream and "stream" or "whole"
  announce(h, dialect, how, model)
  local noted = h:streamInfo():dynamicMetadata()
  noted:set("headgate.model", "call", how .. " " .. query .. " " .. model)
  if query ~= "" then noted:set("headgate.model", "query", "?" .. query) end
end

-- Returns whether the request goes on as one whose body names the model.
local function on_address(h, facts)
  local body = h:body()
  local headers = h:headers()
  local delimiter
  if facts.form then delimiter = form.delimiter(headers:get("content-type")) end
  if delimiter == nil then
    local code, why = unfit_headers(headers)
    if code then return refuse(h, facts.dialect, "415", code, why) end
    if not body or body:length() == 0 then return refuse_body(h, facts.dialect, "empty") end
  end
  local model, query = read_address(headers:get(":path"), facts.address)
  if not model then return refuse_body(h, facts.dialect, query) end
  if not facts.into then return on_addressed_request(h, facts, headers, body, model, query) end
  if delimiter ~= nil then return move_into_form(h, facts, headers, body, model, delimiter) end
  move_into_body(h, facts, headers, body, model)
  return true
end
