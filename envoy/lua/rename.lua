-- On a target whose upstream name or path differs from what the request holds when it gets there. One VM for all targets
-- (shared_vm_id); the filter context holds what is the target's own: `model` (upstream name) and `paths`, a line "<call>=<path>" for
-- each operation, and `within`: a request that is too old gets no further attempt. Which call it is, the metadata of the route says (`call`).
--
-- Each attempt starts from the body as the edge filter left it, but from the headers as the attempt before left them.
-- So nothing here depends on a header: the place of the model in the body and the client's query string come from dynamic
-- metadata, and the path is set, not edited.

local find, gmatch, match, sub, tonumber, tostring = string.find, string.gmatch, string.match, string.sub, tonumber, tostring
local buffer = require("string.buffer")
local whole, spliced = buffer.new(), buffer.new()

-- In pieces, and put together in buffers that are used again: long strings cost fresh memory from the system (README.md).
local PIECE_BYTES = 32768
local FREE_BYTES = 1048576 -- memory of the buffers that is given back at once

-- The body with its bytes a..b replaced by `text`; returns its new size.
local function splice(body, size, a, b, text)
  whole:reset()
  for at = 0, size - 1, PIECE_BYTES do
    local left = size - at
    whole:put(body:getBytes(at, left < PIECE_BYTES and left or PIECE_BYTES))
  end
  local p = whole:ref()
  local before, behind = 34, 34 -- quotes; a field of a form stands between line ends
  if a > 1 and p[a - 2] == 10 then before, behind = 10, 13 end
  if a < 2 or b < a or b >= size or p[a - 2] ~= before or p[b] ~= behind then
    error("headgate: no model at " .. a .. "," .. b .. " of " .. size .. " bytes")
  end
  local made = spliced:reset():putcdata(p, a - 1):put(text):putcdata(p + b, size - b):tostring()
  if size > FREE_BYTES then
    whole:free()
    spliced:free()
  end
  return body:setBytes(made)
end

-- The upstream path with the client's query, of which the parameters go that the path's own query sets (Azure's api-version). What
-- stands before the mark of the query is the rest of the client's path.
local function with_query(path, query)
  local base, own = match(path, "^(.-)%?(.*)$")
  if not own then return path .. query end
  local rest = match(query, "^[^?]*")
  path, own, query = base .. rest .. "?" .. own, "&" .. own, sub(query, #rest + 1)
  for parameter in gmatch(query, "[^?&]+") do
    local name = match(parameter, "^[^=]*")
    if not find(own, "&" .. name .. "=", 1, true) then path = path .. "&" .. parameter end
  end
  return path
end

-- The path of this target for the call that the route says it is; "<call>/stream" where the client's path asks for a stream.
local function path_of(paths, call, known)
  if not call then return nil end
  if known and sub(known.call or "", 1, 7) == "stream " then call = call .. "/stream" end
  local key = "\n" .. call .. "="
  local at = find(paths, key, 1, true)
  return at and sub(paths, at + #key, find(paths, "\n", at + #key, true) - 1)
end

function envoy_on_request(h)
  local context = h:filterContext() -- used up before body(): handles do not outlive the wait for it
  local paths, model = context:get("paths"), context:get("model")
  local known = h:streamInfo():dynamicMetadata():get("headgate.model")
  if context:get("within") and known and known.late and clock() > tonumber(known.late) then
    -- Envoy retries nothing that a filter answers; its local replies have the text.
    if (tonumber(h:headers():get("x-envoy-attempt-count")) or 1) > 1 then return h:respond({ [":status"] = "504" }, "") end
  end
  local path = paths and path_of(paths, h:metadata():get("call"), known)
  local a, b
  if model then -- no place: the edge filter has written the name already
    a, b = match(known and known.at or "", "^(%d+),(%d+)$")
  end
  if not path and not a then return end
  local body = h:body()
  local size = body and body:length() or 0
  if a then
    size = splice(body, size, tonumber(a), tonumber(b), model)
  end
  if path then
    -- An earlier attempt may have been translated: then the headers say where its body went and how long that was.
    local headers = h:headers()
    headers:replace(":path", with_query(path, known and known.query or ""))
    headers:replace("content-length", tostring(size))
    if known and known.call then headers:remove("x-headgate-call") end -- for a translator that never answered
  end
end
