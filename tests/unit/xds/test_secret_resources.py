"""The signer's configuration holds keys: it is as secret as SDS, wherever resources are written down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.ir.model import Signing
from control_plane.kit.clock import SystemClock
from control_plane.pb.aws_signing_pb2 import AwsRequestSigning
from control_plane.pb.core_pb2 import TypedExtensionConfig
from control_plane.xds import lkg
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.preflight import Rejection
from control_plane.xds.publisher import Publisher
from control_plane.xds.resource import ECDS, SDS, Resource
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.translate.filters.signer import signing_keys

SIGNING = Signing("bedrock", "eu-central-1", "bedrock.example.com", "provider/p")


def keys(secret: str, token: str | None = None) -> Resource:
    return signing_keys(SIGNING, SigningKeys("AKIA1", Secret(secret), Secret(token) if token else None))


def test_it_says_what_envoy_needs_and_nothing_falls_back_to_envoys_own_identity() -> None:
    resource = keys("key-canary", "token-canary")
    wrapped = TypedExtensionConfig.FromString(resource.body)
    config = AwsRequestSigning.FromString(wrapped.typed_config.value)
    assert (resource.type_url, resource.name, wrapped.name) == (ECDS, "signer:provider/p", "signer:provider/p")
    assert (config.service_name, config.region, config.host_rewrite) == ("bedrock", "eu-central-1", "bedrock.example.com")
    assert config.credential_provider.custom_credential_provider_chain
    assert config.credential_provider.inline_credential.session_token == "token-canary"
    assert "canary" not in repr(resource)


def test_its_version_cannot_be_tested_against_guesses() -> None:
    """An equal resource that is no secret has another version: the hash of a secret has a key of this process."""
    secret = keys("key-canary")
    assert secret.version != Resource(secret.type_url, secret.name, secret.body).version
    assert keys("key-canary").version == secret.version != keys("another").version


def test_it_is_not_stored(tmp_path: Path) -> None:
    lkg.save(tmp_path / "kept", Snapshot.of([keys("key-canary"), Resource(ECDS, "open", b"x"), Resource(SDS, "provider/q", b"y")]), 1.0)
    assert b"canary" not in (tmp_path / "kept").read_bytes()
    stored = lkg.load(tmp_path / "kept")
    assert stored is not None
    assert stored.secret_names == {"signer:provider/p", "provider/q"}
    assert [resource.name for resource in stored.snapshot] == ["open"]


async def test_the_preflight_never_writes_it_to_a_file() -> None:
    seen: list[str] = []

    async def validate(candidates: Sequence[Resource]) -> Rejection | None:
        seen.extend(resource.name for resource in candidates)
        return None

    publisher = Publisher(Feed(), NodeRegistry(SystemClock()), validate=validate)
    running = asyncio.create_task(publisher.run())
    await publisher.submit(Snapshot.of([keys("key-canary"), Resource(ECDS, "open", b"x")]), reason="specs", urgent=True)
    running.cancel()
    assert seen == ["open"]


def test_what_nobody_has_the_value_of_may_be_absent() -> None:
    user = Resource("type.googleapis.com/envoy.config.cluster.v3.Cluster", "target", b"x", frozenset({(ECDS, "signer:provider/p")}))
    Snapshot.of([user], absent={(ECDS, "signer:provider/p")}).check_closed()
