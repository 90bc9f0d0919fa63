-- On a target whose upstream name or path differs from what the request holds when it gets there. One VM for all targets
-- (shared_vm_id); the filter context holds what is the target's own: `model` (upstream name) and `path` (upstream path).
--
-- Each attempt starts from the body as the edge filter left it, but from the headers as the attempt before left them.
-- So nothing here depends on a header: the place of the model in the body and the client's query string come from dynamic
-- metadata, and the path is set, not edited.

local byte, find, sub, match = string.byte, string.find, string.sub, string.match
local tonumber, tostring = tonumber, tostring

function envoy_on_request(h)
  local context = h:filterContext() -- used up before body(): handles do not outlive the wait for it
  local path, model = context:get("path"), context:get("model")
  local known = h:streamInfo():dynamicMetadata():get("headgate.model")
  local a, b
  if model then -- no place: the edge filter has written the name already
    a, b = match(known and known.at or "", "^(%d+),(%d+)$")
  end
  if not path and not a then return end
  local body = h:body()
  local size = body and body:length() or 0
  if a then
    a, b = tonumber(a), tonumber(b)
    local s = body:getBytes(0, size)
    if byte(s, a - 1) ~= 34 or byte(s, b + 1) ~= 34 then
      error("headgate: no model at " .. a .. "," .. b .. " of " .. size .. " bytes")
    end
    size = body:setBytes(sub(s, 1, a - 1) .. model .. sub(s, b + 1))
  end
  if path then
    -- An earlier attempt may have been translated: then the headers say where its body went and how long that was.
    local headers = h:headers()
    headers:replace(":path", path .. (known and known.query or ""))
    headers:replace("content-length", tostring(size))
  end
end
