-- Ends answers that their vendor broke off.

-- Ends a stream whose body ended without its last event: the client is told behind the last chunk. `tail`: the last bytes that came.
local function end_broken(h, known, last, tail, dialect)
  if not last or known.complete or known.stream_error or known.finish then return end
  known.stream_error = guard.CUT
  publish(h, known)
  last:setBytes(last:getBytes(0, last:length()) .. guard.ending(tail, dialect, guard.CUT))
end

-- Ends a stream that has gone silent with `chunk`, of which `before` is left; `chunks` gives the rest of it.
local function end_silent(h, known, chunks, chunk, before, dialect)
  known.stream_error = guard.STALLED
  publish(h, known)
  chunk:setBytes(before .. guard.event(dialect, guard.STALLED))
  return guard.swallow(chunks, chunks())
end

-- Puts an error in the place of an answer that is none, before its headers have gone. `body`: what came of it, if that is at hand.
local function answer_broken(h, dialect, body)
  local headers = h:headers()
  headers:replace(":status", "503")
  headers:replace("content-type", "application/json")
  headers:remove("content-length")
  publish(h, { complete = false, stream_error = guard.CUT })
  body = body or h:body(true)
  body:setBytes(guard.document(dialect, guard.CUT))
end
