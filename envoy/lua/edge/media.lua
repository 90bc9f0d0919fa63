-- Streams of pictures and sound.

local MEDIA = { image_generation = true, image_edits = true, speech = true, transcriptions = true, translations = true }
local TAIL_BYTES = 4096

-- Watches a stream of pictures or sound. Its last event has the usage, behind what may be megabytes in one line, so only the end is
-- kept. Such streams end with the body, in most vendors' without another mark.
local function meter_media(h)
  local known, tail = { complete = false }, ""
  publish(h, known)
  for chunk in h:bodyChunks() do
    local n = chunk:length()
    if n >= TAIL_BYTES then
      tail = chunk:getBytes(n - TAIL_BYTES, TAIL_BYTES)
    elseif n > 0 then
      tail = sub(tail .. chunk:getBytes(0, n), -TAIL_BYTES)
    end
  end
  local failed, at = match(tail, '"type"%s*:%s*"error".*'), nil
  if failed then
    local _, i = find(failed, '"error"%s*:%s*')
    known.stream_error = i and error_type(failed, i + 1) or "error"
  else
    known.complete = true
    local p = find(tail, '"usage"', 1, true)
    while p do
      local i, c = solid(tail, p + 7)
      if c == 58 then at = solid(tail, i + 1) end
      p = find(tail, '"usage"', p + 7, true)
    end
    if at and byte(tail, at) == 123 then add_usage(known, METERS["openai-chat"], tail, at) end
  end
  publish(h, known)
end
