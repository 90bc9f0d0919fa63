-- The edge filter: the one Lua filter of the listener. Static: what differs per route comes from route metadata.
--
-- Request:  finds the model that the body names, puts it into the header that selects the route, writes the upstream
--           name into the body where all targets of the route share one, and refuses whatever a provider could read
--           in another way than we do (README.md lists the rules).
-- Response: meters usage, finish reason and completeness into dynamic metadata for the access journal.
--
-- Its parts stand in edge/ and are put before this file, into one script (control_plane/xds/translate/sources.py): each uses the names of
-- those before it. A script has 200 names at most, so what a part needs alone stands in `do ... end`.
--
-- An error in this script would let the request go on unchanged: in the scope "*", which has no provider behind it.

function envoy_on_request(h)
  local facts = facts_of(h)
  if not facts then return end -- not a model call: the route answers by itself
  if facts.stored then return on_stored(h, facts) end
  if facts.address and not on_address(h, facts) then return end
  local dialect = facts.dialect
  local body = h:body() -- also before a refusal, so that a client that is still sending reads it; handles are new after it
  local headers = h:headers()
  if facts.form then
    local delimiter = form.delimiter(headers:get("content-type"))
    if delimiter ~= nil then return on_form(h, facts, headers, body, delimiter) end
  end
  local code, why = unfit_headers(headers)
  if code then return refuse(h, dialect, "415", code, why) end
  local size = body and body:length() or 0
  if size == 0 then return refuse_body(h, dialect, "empty") end
  local want = (WANT[facts.operation] or WANT_NONE)[dialect] or WANT_MODEL
  local p, a, b, from, till = read_model(body, size, want)
  if not p then return refuse_body(h, dialect, a, b) end
  local model = part(p, a, b)
  facts = choose(h, headers, dialect, model, size)
  if not facts then return end
  if facts.weigh then
    facts = choose_measured(h, headers, facts, p, size)
    if not facts then return end
  end
  if facts.session then keep_session(h, facts, headers, p, size) end

  local how = "whole"
  local at, upto, text -- the edit that asks for usage
  if from.stream and part(p, from.stream, till.stream) == "true" then
    how = "stream"
    if want == WANT_TEXT then
      at, upto, text = usage_edit(p, from, till)
      if at then how = "trim" end
    end
  end
  announce(h, dialect, how, model)
  local rename = facts.rename
  if rename == model then rename = nil end
  local shift = 0 -- how far that edit moves the model
  if at then
    if at < a then shift = #text - (upto - at + 1) end
    if not rename then
      splice(body, p, size, at, upto, text)
    elseif at < a then
      splice(body, p, size, at, upto, text, a, b, rename)
    else
      splice(body, p, size, a, b, rename, at, upto, text)
    end
  elseif rename then
    splice(body, p, size, a, b, rename)
  end
  note(h, facts, headers, a + shift, b + shift)
  settle(size)
end

function envoy_on_response(h)
  local facts = facts_of(h)
  if not facts then return end
  local headers = h:headers()
  local dialect = facts.dialect
  if not facts.route then
    if headers:get(":status") == "404" then answer_unknown(h, headers, dialect) end
    return
  end
  if headers:get("x-headgate-lane") then
    headers:remove("x-headgate-lane")
    local status = headers:get(":status")
    if status == "429" or byte(status) == 53 then tell_recovery(h, headers) end
    -- The translator meters. But it was asked for a usage chunk that the client did not ask for.
    if sub(headers:get("content-type") or "", 1, 17) == "text/event-stream" and asked(h) == "trim" then
      return meter_and_trim(h, nil, true)
    end
    return
  end
  local status = headers:get(":status")
  if status ~= "200" then
    if status == "429" or byte(status) == 53 then tell_recovery(h, headers) end
    if status == "401" or headers:get("x-headgate-fault") == "credential_dead" then
      headers:replace(":status", "502")
      headers:replace("content-type", "application/json")
      headers:remove("x-amzn-errortype")
      headers:remove("www-authenticate")
      headers:remove("content-encoding")
      h:body(true):setBytes(CREDENTIALS_REFUSED[REFUSED_IN[dialect] or "openai"])
    end
    return
  end
  if facts.stored then -- usage that was metered when it was made
    if facts.operation == "batches" and dialect == "anthropic-messages" then relink(h, headers) end
    return
  end
  local kind = headers:get("content-type")
  local coding = headers:get("content-encoding")
  if not kind or (coding and coding ~= "identity") then return end
  if sub(kind, 1, 17) == "text/event-stream" then
    if MEDIA[facts.operation] then return meter_media(h) end
    local meter, length = meter_of(dialect), headers:get("content-length")
    if length then
      if length == "0" then return answer_broken(h, dialect) end
      headers:remove("content-length") -- what follows may get shorter, and longer where it is broken
    end
    if meter ~= METERS["openai-chat"] or asked(h) ~= "trim" then
      return meter.stream and meter_stream(h, meter, dialect, facts.silence)
    end
    return meter_and_trim(h, facts.silence)
  elseif sub(kind, 1, 34) == "application/vnd.amazon.eventstream" then
    headers:remove("content-length")
    return METERS["bedrock-converse"].frames(h, facts.silence)
  elseif find(kind, "json", 1, true) then
    local length = headers:get("content-length")
    return meter_whole(h, meter_of(dialect), length and tonumber(length), dialect)
  end
end
