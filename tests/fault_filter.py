"""The script that reads errors inside Envoy (envoy/lua/faults.lua) in LuaJIT, with a stand-in for Envoy's handle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lupa.luajit21 as lupa

from control_plane.dialects.error_rules import as_table, read_rules
from control_plane.dialects.fault_table import text_of
from control_plane.xds.translate.filters.faults import source

HANDLE = b"""
function handled(headers, context, bytes)
  local alive, calls = true, 0
  local map = function()
    return {
      get = function(_, key) assert(alive) return headers[key] end,
      replace = function(_, key, value) assert(alive and type(value) == "string") headers[key] = value end,
    }
  end
  local first = map()
  local h = {
    headers = function() return alive and first or map() end,
    filterContext = function() return { get = function(_, key) return context[key] end } end,
    body = function()
      calls = calls + 1
      if bytes == nil then return nil end
      return {
        length = function() return #bytes end,
        getBytes = function(_, i, n) assert(i + n <= #bytes) return bytes:sub(i + 1, i + n) end,
      }
    end,
  }
  envoy_on_response(h)
  return calls
end
"""


class FaultFilter:
    """One virtual machine, as Envoy has one a worker."""

    def __init__(self) -> None:
        self._lua = lupa.LuaRuntime(encoding=None)
        self._lua.execute(source().encode() + HANDLE)

    def read(
        self, status: int, body: bytes | None, dialect: str, errors: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[dict[str, str], bool]:
        """The answer's headers as the script leaves them, and whether it waited for the body. `errors` as `Provider.errors`."""
        told: dict[str, Any] = {":status": str(status), **(headers or {})}
        context = {"dialect": dialect}
        if errors:
            context["rules"] = text_of(as_table(read_rules(errors)))
        table = self._table(told)
        calls = self._lua.globals()[b"handled"](table, self._table(context), body)
        return {key.decode(): value.decode() for key, value in table.items()}, bool(calls)

    def kind(self, status: int, body: bytes | None, dialect: str, errors: str = "", headers: Mapping[str, str] | None = None) -> str:
        """The class of the error."""
        return self.read(status, body, dialect, errors, headers)[0]["x-headgate-fault"]

    def _table(self, values: Mapping[str, str]) -> Any:
        return self._lua.table_from({key.encode(): value.encode() for key, value in values.items()})
