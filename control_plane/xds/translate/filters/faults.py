"""What an error means on the passthrough lane: Lua, but only for answers that are errors.

Envoy decides about a retry by status and headers, and vendors say in the body what went wrong: a wrong key as 400, a spent quota as
429. The filter reads it and sets `x-headgate-fault`, by which the route retries. A matcher on the status class stands in front, in C++: for
answers that are no error the script is not even instantiated.
"""

from __future__ import annotations

from functools import cache, lru_cache

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.extensions.common.matching.v3 import ExtensionWithMatcher
from envoy_data_plane.envoy.extensions.filters.http.composite.v3 import Composite, ExecuteFilterAction
from envoy_data_plane.envoy.type.matcher.v3 import HttpResponseHeaderMatchInput
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig as XdsExtension
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicatePredicateList,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
    StringMatcher,
)
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue

from control_plane.dialects.error_rules import as_table, read_rules
from control_plane.dialects.fault_table import table_text, text_of
from control_plane.pb.core_pb2 import DataSource
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.pb.lua_pb2 import Lua
from control_plane.xds.translate.packing import pack, pack_foreign
from control_plane.xds.translate.sources import lua_source


@lru_cache(maxsize=4096)
def faults(dialect: str, errors: str) -> HttpFilter:
    """The filter for targets that speak `dialect`; `errors` is `Provider.errors`."""
    context = Struct()
    context["dialect"] = dialect
    if errors:
        context["rules"] = text_of(as_table(read_rules(errors)))
    script = Lua(
        default_source_code=DataSource(inline_string=source()),
        stat_prefix="faults",
        clear_route_cache=BoolValue(value=False),
        filter_context=context,
        shared_vm_id="headgate-faults",
    )
    packed = pack(script)
    action = ExecuteFilterAction(
        typed_config=TypedExtensionConfig(name="envoy.filters.http.lua", typed_config=Any(type_url=packed.type_url, value=packed.value))
    )
    then = MatcherOnMatch(action=XdsExtension(name="faults", typed_config=Any.pack(action)))
    errors_only = MatcherMatcherListPredicate(or_matcher=MatcherMatcherListPredicatePredicateList(predicate=[_begins(d) for d in "45"]))
    matched = ExtensionWithMatcher(
        extension_config=TypedExtensionConfig(name="envoy.filters.http.composite", typed_config=Any.pack(Composite())),
        # A list with one entry, not a tree by status class: it would hold the script twice.
        xds_matcher=Matcher(
            matcher_list=MatcherMatcherList(matchers=[MatcherMatcherListFieldMatcher(predicate=errors_only, on_match=then)])
        ),
    )
    return HttpFilter(
        name="headgate.faults", typed_config=pack_foreign("envoy.extensions.common.matching.v3.ExtensionWithMatcher", matched)
    )


def _begins(digit: str) -> MatcherMatcherListPredicate:
    status = XdsExtension(name="status", typed_config=Any.pack(HttpResponseHeaderMatchInput(header_name=":status")))
    single = MatcherMatcherListPredicateSinglePredicate(input=status, value_match=StringMatcher(prefix=digit))
    return MatcherMatcherListPredicate(single_predicate=single)


@cache
def source() -> str:
    """The script with the built-in rules in front. Every target holds it, so its comments stay behind."""
    lines = (line.strip().partition(" -- ")[0] for line in lua_source("faults").splitlines())
    script = "\n".join(line for line in lines if line and not line.startswith("--"))
    return f"local BUILT_IN = [==[\n{table_text()}]==]\n{script}\n"
