"""The catalogue that ships, what operators put over it, and `headgate catalogue`."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from control_plane.app import last_good_specs
from control_plane.catalogue.lookup import Catalogue, shipped
from control_plane.cli import catalogue as verb
from control_plane.cli import schema
from control_plane.spec.load import load
from control_plane.spec.presets import load_presets

AWAITED = {"azure-openai", "bedrock", "cohere"}
"""Vendors whose prices are known before their presets are there."""

SPECS = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: contract}
spec: {preset: openai, credentials: [{secretRef: {env: K}}]}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: list}
spec: {preset: openai, credentials: [{secretRef: {env: K}}]}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: chat}
spec: {models: [chat], plan: [{targets: [{provider: contract, model: gpt-5}]}, {targets: [{provider: list, model: gpt-5}]}]}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelCatalog
metadata: {name: ours}
spec:
  preset: openai
  checked: 2026-11-01
  source: https://example.com/list
  models: [{id: gpt-5-mini, price: {input: 0.2, output: 1.6}}, {id: gpt-next, aliases: [gpt-next-2027-01-01], contextWindow: 2M}]
---
apiVersion: headgate.dev/v1alpha1
kind: ModelCatalog
metadata: {name: discount}
spec:
  provider: contract
  checked: 2026-11-02
  source: https://example.com/contract
  models: [{id: gpt-5, price: {input: 1.10, output: 8.80}, checked: 2026-10-01}]
"""


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    (tmp_path / "specs.yaml").write_text(SPECS)
    return tmp_path / "specs.yaml"


def test_what_ships_is_complete_and_plausible() -> None:
    entries = list(Catalogue())
    assert len(entries) >= 60
    vendors = Counter(entry.scope for entry in entries)
    assert set(vendors) >= {"openai", "anthropic", "gemini", "mistral", "deepseek", "xai", "groq", "together", "fireworks"}
    assert set(vendors) <= set(load_presets()) | AWAITED
    for found in entries:
        price, where = found.entry.price, f"{found.scope} {found.entry.id}"
        assert price is not None, where
        assert found.entry.context_window, where
        assert 0 < price.input < 1000, where
        assert price.output > 0, where
        for rates in (price, *price.tiers):
            assert rates.cached_input is None or rates.cached_input <= rates.input, where
            assert rates.cache_write_1h is None or rates.cache_write_1h >= (rates.cache_write or rates.input), where
        assert all(tier.input >= price.input and tier.output >= price.output for tier in price.tiers), where
        assert date(2025, 1, 1) <= found.checked <= date(2026, 11, 30), where
        assert found.source.startswith("https://"), where
        assert ("reasoning" in found.entry.capabilities) or not found.entry.reasoning, where


def test_files_that_ship_are_one_a_vendor() -> None:
    presets = [spec.preset for spec in shipped()]
    assert len(set(presets)) == len(presets)
    assert None not in presets


def test_known_prices() -> None:
    """Two that the vendors' own pages gave when they were looked at."""
    known = Catalogue()
    sonnet = known.preset("anthropic", "claude-sonnet-4-20250514")
    assert sonnet is not None
    assert sonnet.entry.price is not None
    assert (sonnet.entry.price.cache_write, sonnet.entry.price.cache_write_1h) == (Decimal("3.75"), Decimal(6))
    terra = known.preset("openai", "gpt-5.6-terra")
    assert terra is not None
    assert terra.entry.price is not None
    assert (terra.entry.price.input, terra.entry.price.output) == (Decimal(2), Decimal(12))  # lowered in July 2026


def test_the_operators_entry_wins_for_its_provider_and_for_its_preset(specs: Path) -> None:
    loaded = load(specs)
    assert loaded.ok, loaded.findings
    known = Catalogue.of(loaded.specs)

    def rate(provider: str, model: str) -> Decimal | None:
        found = known.find(provider, model)
        return found.entry.price.input if found is not None and found.entry.price is not None else None

    assert rate("contract", "gpt-5") == Decimal("1.1")
    assert rate("list", "gpt-5") == Decimal("1.25")
    assert rate("list", "gpt-5-mini") == rate("contract", "gpt-5-mini") == Decimal("0.2")
    assert known.find("list", "nobody-knows-it") is None
    assert known.find("nobody", "gpt-5") is None
    described = known.find("list", "gpt-next-2027-01-01")
    assert described is not None
    assert (described.entry.id, described.entry.context_window, described.entry.price) == ("gpt-next", 2_000_000, None)
    contract = known.find("contract", "gpt-5")
    assert contract is not None
    assert (contract.origin, contract.checked, contract.age_days(date(2026, 10, 31))) == ("discount", date(2026, 10, 1), 30)


def test_the_documents_survive_being_kept(specs: Path, tmp_path: Path) -> None:
    loaded = load(specs)
    last_good_specs.save(tmp_path, loaded.specs)
    kept = last_good_specs.restore(tmp_path)
    assert kept is not None
    assert kept.ok, kept.findings
    assert kept.specs.catalogs == loaded.specs.catalogs


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    for module in (verb, schema):
        module.register(made)
    return made


def test_the_verb_shows_what_is_in_force(app: typer.Typer, specs: Path) -> None:
    shown = CliRunner().invoke(app, ["catalogue", "gpt-5", "-f", str(specs)])
    assert shown.exit_code == 0, shown.output
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["provider", "contract", "gpt-5", "-", "1.1", "-", "-", "8.8", "2026-10-01", "discount"] in rows
    assert ["openai", "gpt-5-mini", "-", "0.2", "-", "-", "1.6", "2026-11-01", "ours"] in rows
    data = json.loads(CliRunner().invoke(app, ["catalogue", "gpt-next", "-f", str(specs), "-o", "json"]).stdout)
    assert data["items"][0]["contextWindow"] == "2M"
    assert data["items"][0]["source"] == "https://example.com/list"


def test_the_verb_warns_about_old_entries_and_unknown_names(app: typer.Typer) -> None:
    old = CliRunner().invoke(app, ["catalogue", "gemini-2.5-pro", "--older-than", "1"])
    assert old.exit_code == 0
    assert "warning: 1 of 1 entries" in old.stderr
    fresh = CliRunner().invoke(app, ["catalogue", "gemini-2.5-pro", "--older-than", "36500"])
    assert fresh.stderr == ""
    unknown = CliRunner().invoke(app, ["catalogue", "nobody-knows-it"])
    assert unknown.exit_code == 2
    assert "ModelCatalog" in unknown.stderr
