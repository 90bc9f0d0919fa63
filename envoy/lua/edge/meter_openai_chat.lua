-- openai-chat, and all that is of its kind.

do
  local meter = {}

  function meter.usage(total, s, i, z)
    total.input = count(s, '"prompt_tokens"', i, z) or total.input
    total.output = count(s, '"completion_tokens"', i, z) or total.output
    if not total.input and not total.output then -- images and audio
      total.input, total.output = count(s, '"input_tokens"', i, z), count(s, '"output_tokens"', i, z)
    end
    total.cached = count(s, '"cached_tokens"', i, z) or count(s, '"prompt_cache_hit_tokens"', i, z) or total.cached
    total.cache_write = count(s, '"cache_write_tokens"', i, z) or total.cache_write
    total.reasoning = count(s, '"reasoning_tokens"', i, z) or total.reasoning
  end

  -- The finish reason is that of the first choice: a key of that name occurs nowhere else in an OpenAI answer.
  function meter.whole(s, known)
    local p = find(s, '"finish_reason"', 1, true)
    if not p then return end
    local i, c = solid(s, p + 15)
    if c == 58 then known.finish = string_value(s, (solid(s, i + 1))) end
  end

  local WANT_CHUNK = { usage = true, choices = true, error = true, object = true, type = true }

  -- Reads the complete lines of an OpenAI stream into `known`. Jumps to what matters: most chunks hold none of it. Returns
  -- whether there was any, and the first byte of the data of a usage-only chunk (`choices` empty).
  function meter.stream(s, known)
    local usage_only
    local news = false
    local p = find(s, 'usage"', 1, true)
    while p do
      local i, c = solid(s, p + 6)
      if c == 58 then i, c = solid(s, i + 1) end
      if c == 123 and byte(s, p - 1) == 34 then
        local a = data_line(s, p)
        local from, till = {}, {}
        if a and byte(s, a) == 123 and survey(s, a, WANT_CHUNK, from, till, false) and from.usage == i then
          news = add_usage(known, meter, s, i) or news
          if from.choices and match(s, "^%[%s*%]", from.choices) then usage_only = a end
        end
      end
      p = find(s, 'usage"', p + 6, true)
    end
    p = find(s, 'finish_reason"', 1, true)
    while p do
      local i, c = solid(s, p + 14)
      if c == 58 then i, c = solid(s, i + 1) end
      if c == 34 and byte(s, p - 1) == 34 then known.finish, news = string_value(s, i) or known.finish, true end
      p = find(s, 'finish_reason"', p + 14, true)
    end
    p = find(s, 'error"', 1, true)
    while p do
      if byte(s, p - 1) == 34 then
        local a, z = data_line(s, p)
        local from, till = {}, {}
        if a and byte(s, a) == 123 and survey(s, a, WANT_CHUNK, from, till, false) then
          if from.error and byte(s, from.error) ~= 110 then
            known.stream_error, news = error_type(s, from.error), true
          elseif string_at(s, from, till, "object") == "error" then
            known.stream_error, news = string_at(s, from, till, "type") or "error", true
          end
          p = z
        end
      end
      p = find(s, 'error"', p + 6, true)
    end
    p = find(s, "[DONE]", 1, true)
    while p do
      local a = data_line(s, p)
      if a == p then known.complete, news = true, true end
      p = find(s, "[DONE]", p + 6, true)
    end
    return news, usage_only
  end

  meter.most = CARRY_BYTES_MAX
  METERS["openai-chat"] = meter
end
