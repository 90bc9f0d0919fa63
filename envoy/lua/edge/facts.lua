-- What the chosen route says about a request, and what is noted of the request for the targets and the journal.

local FACTS_KEPT_MAX = 8192 -- texts; a gateway has a few for each route

local facts_kept, facts_count = {}, 0

-- What the route that is chosen now says about the request: the text `facts` of its metadata, "key=value" a line, read once.
-- nil when it says nothing.
local function facts_of(h)
  local text = h:metadata():get("facts")
  if not text then return nil end
  local facts = facts_kept[text]
  if facts then return facts end
  facts = {}
  for key, value in gmatch(text, "([^=\n]+)=([^\n]*)") do facts[key] = value end
  facts.max_bytes, facts.silence = tonumber(facts.max_bytes), tonumber(facts.silence)
  if facts_count == FACTS_KEPT_MAX then facts_kept, facts_count = {}, 0 end
  facts_kept[text], facts_count = facts, facts_count + 1
  return facts
end

-- Tells the access journal, and ourselves on the response, about the request. `how` is "whole", "stream", or "trim": a stream
-- whose usage chunk the client did not ask for. One text, since a table of them costs a microsecond a value.
local function announce(h, dialect, how, model)
  h:streamInfo():dynamicMetadata():set(SPACE, "asked", dialect .. " " .. how .. " " .. model)
end

-- Notes when targets are to refuse further attempts.
local function limit_tries(h, facts)
  if facts.within then h:streamInfo():dynamicMetadata():set("headgate.model", "late", format("%d", clock() + facts.within)) end
end

-- Chooses the route of the model. Returns what it says; nil where the request is answered here or by envoy_on_response.
local function choose(h, headers, dialect, model, size)
  headers:replace(MODEL_HEADER, model)
  h:clearRouteCache()
  local facts = facts_of(h)
  if not facts then -- no such model; envoy_on_response writes the answer: only there is the metadata of "*" to be had again
    headers:replace(MODEL_HEADER, "*")
    h:clearRouteCache()
    announce(h, dialect, "whole", model)
    return nil
  end
  if facts.max_bytes and size > facts.max_bytes then return h:respond({ [":status"] = "413" }, "") end -- Envoy writes the text
  limit_tries(h, facts)
  return facts
end

-- Notes for the targets where the model stands in the body, and the query. Not in headers: what one attempt removes from them is
-- gone for the next.
local function note(h, facts, headers, a, b)
  if facts.mark then h:streamInfo():dynamicMetadata():set("headgate.model", "at", format("%d,%d", a, b)) end
  if facts.restore then -- a target sets the path again after another attempt has changed it
    local path = headers:get(":path")
    local query = find(path, "?", 1, true)
    if query then h:streamInfo():dynamicMetadata():set("headgate.model", "query", sub(path, query)) end
  end
end
