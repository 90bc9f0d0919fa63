-- The answer about a model that does not exist.

local second, spent = 0, 0

-- Up to three names that share most of their beginning and end with the one asked for. Linear in the number of names.
local function nearest(names, asked)
  local now = os.time()
  if now ~= second then second, spent = now, 0 end
  spent = spent + 1
  if spent > SUGGESTIONS_PER_SECOND then return {} end
  local best, score = {}, {}
  asked = lower(asked)
  for _, name in ipairs(names) do
    local other = lower(name)
    local short, long = #asked, #other
    if short > long then short, long = long, short end
    local head, tail = 0, 0
    while head < short and byte(asked, head + 1) == byte(other, head + 1) do head = head + 1 end
    while tail < short - head and byte(asked, -tail - 1) == byte(other, -tail - 1) do tail = tail + 1 end
    local near = (head + tail) / long
    if near >= 0.4 then
      local k = #best + 1
      while k > 1 and score[k - 1] < near do k = k - 1 end
      if k <= 3 then
        table.insert(best, k, name)
        table.insert(score, k, near)
        best[4], score[4] = nil, nil
      end
    end
  end
  return best
end

-- How the request was asked ("whole", "stream" or "trim") and for which model, nil when its body was not understood.
local function asked(h)
  local known = h:streamInfo():dynamicMetadata():get(SPACE)
  return match(known and known.asked or "", "^%S+ (%S+) (.*)$")
end

-- Turns the answer of the default route into one that names the nearest models.
local function answer_unknown(h, headers, dialect)
  local _, model = asked(h)
  if not model then return end
  local names = h:metadata():get("models")
  names = type(names) == "table" and names or {}
  local text, offers = nil, {}
  for _, name in ipairs(names) do
    if name == model then text = "The model '" .. quoted(model) .. "' does not serve this operation" end
  end
  if not text then
    text = "The model '" .. quoted(model) .. "' does not exist"
    for k, name in ipairs(nearest(names, model)) do offers[k] = "'" .. quoted(name) .. "'" end
  end
  if #offers > 0 then
    text = text .. "; did you mean " .. concat(offers, " or ") .. "?"
  else
    text = text .. "; GET /v1/models lists what there is."
  end
  headers:replace("content-type", "application/json")
  h:body(true):setBytes(error_body(dialect, "404", text, "model_not_found", "model"))
end
