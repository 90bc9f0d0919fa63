-- What to tell the client of a stream that breaks or goes silent on the passthrough lane, and when a stream is silent.
--
-- A vendor that ends the body of a stream without its last event looks like a clean end to every SDK, and heartbeats keep all of Envoy's
-- timers from firing. The meters know the last event; here stand what a stream's client is told instead of it, and what is content. Nothing here is in a hot path: a chunk costs a look at the clock.

local guard = {}

do
  local byte, char, find, format, gmatch, gsub, match, sub = string.byte, string.char, string.find, string.format, string.gmatch, string.gsub, string.match, string.sub
  local bit = require("bit")

  -- ---------------------------------------------------------------------------------------------- what clients are told

  guard.CUT = "provider_answer_cut"
  guard.STALLED = "provider_answer_stalled"
  local TEXT = { [guard.CUT] = "the provider ended its answer early", [guard.STALLED] = "the provider stopped in the middle of its answer" }
  local STATUS = { [guard.CUT] = 503, [guard.STALLED] = 504 }

  local function u32(n)
    return char(bit.band(bit.rshift(n, 24), 255), bit.band(bit.rshift(n, 16), 255), bit.band(bit.rshift(n, 8), 255), bit.band(n, 255))
  end

  local function crc32(s)
    local crc = -1
    for i = 1, #s do
      crc = bit.bxor(crc, byte(s, i))
      for _ = 1, 8 do crc = bit.bxor(bit.rshift(crc, 1), bit.band(0xedb88320, -bit.band(crc, 1))) end
    end
    return bit.bnot(crc)
  end

  local function header(name, value) return char(#name) .. name .. "\7" .. char(0, #value) .. value end

  -- An exception of AWS's event streams, as a frame.
  local function exception(kind, payload)
    local headers = header(":exception-type", kind) .. header(":content-type", "application/json") .. header(":message-type", "exception")
    local head = u32(16 + #headers + #payload) .. u32(#headers)
    local frame = head .. u32(crc32(head)) .. headers .. payload
    return frame .. u32(crc32(frame))
  end

  local MADE = {
    ["anthropic-messages"] = function(code)
      local kind = code == guard.STALLED and "timeout_error" or "api_error"
      return 'event: error\ndata: {"type":"error","error":{"type":"' .. kind .. '","message":"' .. TEXT[code] .. '"}}\n\n'
    end,
    ["openai-responses"] = function(code) -- at the top as in the reference, and under `error`, for which the SDKs raise
      local inner = '"code":"' .. code .. '","message":"' .. TEXT[code] .. '","param":null'
      return 'event: error\ndata: {"type":"error",' .. inner .. ',"error":{"type":"server_error",' .. inner .. "}}\n\n"
    end,
    ["gemini-generate-content"] = function(code)
      local word = code == guard.STALLED and "DEADLINE_EXCEEDED" or "UNAVAILABLE"
      return 'data: {"error":{"code":' .. STATUS[code] .. ',"message":"' .. TEXT[code] .. '","status":"' .. word .. '"}}\r\n\r\n'
    end,
    ["bedrock-converse"] = function(code)
      local kind = code == guard.STALLED and "modelStreamErrorException" or "internalServerException"
      return exception(kind, '{"message":"' .. TEXT[code] .. '"}')
    end,
    ["cohere-chat"] = function(code) -- the dialect has no other error in a stream, and its SDKs read on until the last line
      return 'event: message-end\ndata: {"type":"message-end","delta":{"finish_reason":"ERROR","error":"' .. TEXT[code] .. '"}}\n\ndata: [DONE]\n\n'
    end,
  }
  local function openai(code)
    return 'data: {"error":{"message":"' .. TEXT[code] .. '","type":"server_error","param":null,"code":"' .. code .. '"}}\n\n'
  end

  -- The error event with which a stream in that dialect ends.
  function guard.event(dialect, code) return (MADE[dialect] or openai)(code) end

  -- The same as the document of an answer that is not a stream.
  function guard.document(dialect, code)
    if dialect == "bedrock-converse" then return '{"__type":"InternalServerException","message":"' .. TEXT[code] .. '"}' end
    if dialect == "cohere-chat" then return '{"message":"' .. TEXT[code] .. '"}' end
    if dialect == "openai-responses" then dialect = "openai-chat" end
    return match(guard.event(dialect, code), "data: ([^\r\n]*)")
  end

  -- What goes behind the bytes s of a stream's last chunk: the error event, after the end of an event that is not complete.
  function guard.ending(s, dialect, code)
    local event = guard.event(dialect, code)
    if dialect == "bedrock-converse" or s == "" or find(s, "\n\r?\n$") then return event end
    return (byte(s, #s) == 10 and "\n" or "\n\n") .. event
  end

  -- ---------------------------------------------------------------------------------------------- what is content

  -- Whether a JSON text holds more than empty values and the names of roles and types.
  local function filled(text)
    if not text then return true end -- braces inside strings: then there are strings
    text = gsub(gsub(text, '"role"%s*:%s*"[^"]*"', ""), '"type"%s*:%s*"[^"]*"', "")
    return find(text, ':%s*"[^"]') ~= nil or find(text, '%[%s*"[^"]') ~= nil
  end

  local function openai_content(data)
    if find(data, '"finish_reason"%s*:%s*"') or find(data, '"text"%s*:%s*"[^"]') then return true end
    for i in gmatch(data, '"delta"%s*:%s*()') do
      if filled(match(data, "^%b{}", i)) then return true end
    end
    return false
  end

  local QUIET = { -- events that only say that something begins, or is still to come
    ["message_start"] = true, ["ping"] = true,
    ["response.created"] = true, ["response.in_progress"] = true, ["response.queued"] = true, ["keepalive"] = true,
    ["message-start"] = true, ["debug"] = true,
  }

  local function typed_content(data)
    local kind = match(data, '^{%s*"type"%s*:%s*"([^"]*)"') or match(data, '"type"%s*:%s*"([^"]*)"')
    if not kind or QUIET[kind] then return false end
    local i = match(data, '"delta"%s*:%s*()')
    if not i then return true end
    if byte(data, i) == 34 then return byte(data, i + 1) ~= 34 end -- Responses: a string
    return kind == "message_delta" or kind == "message-end" or filled(match(data, "^%b{}", i))
  end

  local function gemini_content(data)
    if find(data, '"finishReason"%s*:%s*"') then return true end
    local i = match(data, '"parts"%s*:%s*()')
    return i ~= nil and filled(match(data, "^%b[]", i))
  end

  local CONTENT = {
    ["anthropic-messages"] = typed_content,
    ["openai-responses"] = typed_content,
    ["cohere-chat"] = typed_content,
    ["gemini-generate-content"] = gemini_content,
  }

  -- Whether bytes of a stream of events hold anything of the answer. What is not a whole line is part of one that is long, so it does.
  function guard.content(s, dialect)
    local holds, i, n = CONTENT[dialect] or openai_content, 1, #s
    while i <= n do
      local z = find(s, "\n", i, true)
      if not z then return sub(s, i, i) ~= ":" end
      local data = match(sub(s, i, z - 1), "^data: ?(.-)\r?$")
      if data and holds(data) then return true end
      i = z + 1
    end
    return false
  end

  -- Whether a whole frame of AWS's streams does: nothing but the beginning and empty deltas.
  function guard.frame_content(headers, payload)
    if find(headers, "messageStart", 1, true) then return false end
    local i = find(headers, "contentBlockDelta", 1, true) and match(payload, '"delta"%s*:%s*()')
    return not i or filled(match(payload, "^%b{}", i))
  end

  -- ---------------------------------------------------------------------------------------------- silence

  -- A stream is asked for content only when this part of its time has gone by since it last showed some, so the usual chunk costs a
  -- comparison. What came in between is unknown: so the end comes when that much more than the whole time has passed.
  local PART = 8

  -- When a stream was heard of last, from when on it is asked, and when it is over, all in milliseconds; nil where `silence` is.
  function guard.watch(silence)
    if silence then return clock(), silence / PART, silence + silence / PART end
  end

  -- Takes a stream's rest away from its client, who has been told that it is over. The vendor's connection is Envoy's to end: when the
  -- client leaves, or at the request's total time.
  function guard.swallow(chunks, chunk)
    while chunk do
      chunk:setBytes("")
      chunk = chunks()
    end
  end
end
