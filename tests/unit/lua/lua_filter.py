"""Runs the Lua filters in LuaJIT against a stand-in for Envoy's handle.

The stand-in keeps the rules of the real one that the filters depend on: metadata is resolved once per run and anew after
body(); respond() ends the script; chunks die with the next one; a missing value is no value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import lupa.luajit21 as lupa

from control_plane.xds.translate.sources import lua_source

STAND_IN = b"""
local function getter(values)
  return { get = function(_, key) local v = values[key] if v == nil then return end return v end }
end

local function header_map(values)
  return {
    get = function(_, key) local v = values[key] if v == nil then return end return v end,
    replace = function(_, key, value) assert(type(value) == "string") values[key] = value end,
    remove = function(_, key) values[key] = nil end,
  }
end

local function buffer(bytes)
  local b = { bytes = bytes, dead = false }
  function b:length() assert(not b.dead) return #b.bytes end
  function b:getBytes(i, n) assert(not b.dead and i + n <= #b.bytes) return b.bytes:sub(i + 1, i + n) end
  function b:setBytes(s) assert(not b.dead and type(s) == "string") b.bytes = s b.set = true return #s end
  return b
end

local function handle(out, headers, current)
  local h, seen = {}, nil
  function h:headers() return header_map(headers) end
  function h:metadata() seen = seen or getter(current()) return seen end
  function h:clearRouteCache() end
  function h:filterContext() return getter(current()) end
  function h:streamInfo()
    return { dynamicMetadata = function()
      return {
        get = function(_, space) return out.dynamic[space] end,
        set = function(_, space, key, value)
          out.dynamic[space] = out.dynamic[space] or {}
          local kept = value
          if type(value) == "table" then
            kept = {}
            for k, v in pairs(value) do kept[k] = v end
          end
          out.dynamic[space][key] = kept
        end,
      }
    end }
  end
  function h:respond(answer, body) error({ answer = answer, body = body }) end
  function h:fresh() seen = nil end
  return h
end

local function finish(out, ok, problem)
  if ok then return out end
  if type(problem) ~= "table" then error(problem) end
  out.answer, out.text = problem.answer, problem.body
  return out
end

function request(entry, star, routes, headers, body, dynamic)
  local out = { dynamic = dynamic or {}, headers = headers }
  local h = handle(out, headers, function()
    local name = headers["x-headgate-model"]
    return name == "*" and star or routes[name] or {}
  end)
  local data = body and buffer(body)
  function h:body() h:fresh() return data end
  local ok, problem = pcall(entry, h)
  out.body, out.set = data and data.bytes, data and data.set
  return finish(out, ok, problem)
end

function response(entry, metadata, headers, chunks, dynamic)
  local out = { dynamic = dynamic, headers = headers, chunks = {} }
  local h = handle(out, headers, function() return metadata end)
  local used = false
  function h:bodyChunks()
    local i, last = 0, nil
    used = true
    return function()
      h:fresh()
      i = i + 1
      if chunks[i] == nil then return nil end
      if last then last.dead = true end
      last = buffer(chunks[i])
      out.chunks[i] = last
      return last
    end
  end
  local whole = buffer(table.concat(chunks))
  function h:body() return whole end
  local ok, problem = pcall(entry, h)
  if used then
    local parts = {}
    for i, c in ipairs(chunks) do parts[i] = out.chunks[i] and out.chunks[i].bytes or c end
    out.body = table.concat(parts)
  else
    out.body = whole.bytes
  end
  return finish(out, ok, problem)
end
"""


def facts(models: Sequence[str] | None = None, **values: str) -> dict[str, Any]:
    """Route metadata as the control plane writes it (see control_plane/xds/translate/facts.py)."""
    told: dict[str, Any] = {"facts": "\n".join(f"{key}={value}" for key, value in values.items())}
    return told if models is None else {**told, "models": models}


def plain(value: Any) -> Any:
    """A Lua value as Python's: tables become dicts with text keys, bytes become text."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if lupa.lua_type(value) == "table":
        return {plain(k): plain(v) for k, v in value.items()}
    return value


@dataclass(slots=True)
class Outcome:
    """What the filter left behind: the body, the headers, dynamic metadata by namespace, and its own answer if any."""

    body: bytes | None
    headers: dict[str, str]
    dynamic: dict[str, dict[str, Any]]
    changed: bool = False
    status: int | None = None
    error: dict[str, Any] = field(default_factory=dict)


class LuaFilter:
    """One LuaJIT with one of the filters; keeps its state over calls, as a worker of Envoy does."""

    def __init__(self, file: str, jit: bool = True, window: int | None = None) -> None:
        """`window`: bytes of a body that are looked at at a time, instead of what the filter has."""
        self._lua = lupa.LuaRuntime(encoding=None)
        if not jit:
            self._lua.execute(b"jit.off()")
        source = lua_source(file.removesuffix(".lua")).encode()
        if window:
            source, found = re.subn(rb"(local (?:FORM_)?WINDOW_BYTES =) \d+", rb"\1 %d" % window, source)
            assert found == 2
        self._lua.execute(source)
        self._lua.execute(STAND_IN)

    def _table(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._lua.table_from({k.encode(): self._table(v) for k, v in value.items()})
        if isinstance(value, list | tuple):
            return self._lua.table_from([self._table(v) for v in value])
        return value.encode() if isinstance(value, str) else value

    def request(
        self,
        body: bytes | None,
        star: dict[str, Any],
        routes: dict[str, dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
        dynamic: dict[str, Any] | None = None,
    ) -> Outcome:
        g = self._lua.globals()
        sent = {"content-type": "application/json", "x-headgate-model": "*", **(headers or {})}
        out = g[b"request"](
            g[b"envoy_on_request"], self._table(star), self._table(routes or {}), self._table(sent), body, self._table(dynamic or {})
        )
        made = Outcome(out[b"body"], plain(out[b"headers"]), plain(out[b"dynamic"]), bool(out[b"set"]))
        if out[b"answer"] is not None:
            made.status, made.error = int(out[b"answer"][b":status"]), json.loads(out[b"text"] or b"{}")
        return made

    def response(
        self, chunks: Sequence[bytes], metadata: dict[str, Any], headers: dict[str, str], dynamic: dict[str, Any] | None = None
    ) -> Outcome:
        g = self._lua.globals()
        sent = {":status": "200", **headers}
        out = g[b"response"](
            g[b"envoy_on_response"], self._table(metadata), self._table(sent), self._table(list(chunks)), self._table(dynamic or {})
        )
        return Outcome(out[b"body"], plain(out[b"headers"]), plain(out[b"dynamic"]))
