"""What an error means on the passthrough lane: Lua, but only for answers that are errors.

Envoy decides about a retry by status and headers, and vendors say in the body what went wrong: a wrong key as 400, a spent quota as
429. The filter reads it and sets `x-headgate-fault`, by which the route retries. A matcher on the status class stands in front, in C++: for
answers that are no error the script is not even instantiated.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final

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
from control_plane.dialects.fault_table import table_text, text_of, words_of
from control_plane.ir.model import Provider
from control_plane.pb.core_pb2 import DataSource
from control_plane.pb.core_pb2 import TypedExtensionConfig as Extension
from control_plane.pb.extension_pb2 import ExtensionConfigSource
from control_plane.pb.header_mutation_pb2 import HeaderMutation
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.pb.lua_pb2 import Lua
from control_plane.xds.resource import ECDS, Resource
from control_plane.xds.translate.names import faults_config
from control_plane.xds.translate.packing import PREFIX, by_ads, pack, pack_foreign
from control_plane.xds.translate.sources import lua_source, vm_id

MATCHED: Final = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"

RULES_WAIT_MS: Final = 2_000
"""How long a target may warm up for its rules; after that it does without until they come: only the status tells what an error means."""


def faults(provider: Provider) -> HttpFilter:
    """The filter for every passthrough target of a provider. Its configuration is a resource of its own (`fault_rules`): the script
    has 11 kB, and thousands of targets have one of a few configurations."""
    return _filter(_words(provider), provider.errors)


def fault_rules(provider: Provider) -> Resource:
    """The configuration of that filter; one for all providers whose errors mean the same."""
    return _rules(_words(provider), provider.errors)


def _words(provider: Provider) -> str:
    return words_of(speaks.dialect for speaks in provider.speaks)


@lru_cache(maxsize=4096)
def _filter(dialect: str, errors: str) -> HttpFilter:
    nothing = pack(HeaderMutation())
    return HttpFilter(
        name=faults_config(dialect, errors),
        config_discovery=ExtensionConfigSource(
            config_source=by_ads(RULES_WAIT_MS), default_config=nothing, type_urls=[PREFIX + MATCHED, nothing.type_url]
        ),
    )


@lru_cache(maxsize=4096)
def _rules(dialect: str, errors: str) -> Resource:
    context = Struct()
    context["dialect"] = dialect
    if errors:
        context["rules"] = text_of(as_table(read_rules(errors)))
    script = Lua(
        default_source_code=DataSource(inline_string=source()),
        stat_prefix="faults",
        clear_route_cache=BoolValue(value=False),
        filter_context=context,
        shared_vm_id=vm_id("faults", source()),
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
    name = faults_config(dialect, errors)
    return Resource(ECDS, name, Extension(name=name, typed_config=pack_foreign(MATCHED, matched)).SerializeToString(deterministic=True))


def _begins(digit: str) -> MatcherMatcherListPredicate:
    status = XdsExtension(name="status", typed_config=Any.pack(HttpResponseHeaderMatchInput(header_name=":status")))
    single = MatcherMatcherListPredicateSinglePredicate(input=status, value_match=StringMatcher(prefix=digit))
    return MatcherMatcherListPredicate(single_predicate=single)


@cache
def source() -> str:
    """The script with the built-in rules in front. It is sent to every Envoy, so its comments stay behind."""
    lines = (line.strip().partition(" -- ")[0] for line in lua_source("faults").splitlines())
    script = "\n".join(line for line in lines if line and not line.startswith("--"))
    return f"local BUILT_IN = [==[\n{table_text()}]==]\n{script}\n"
