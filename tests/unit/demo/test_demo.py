"""The parts of `headgate demo` that need no gateway: vendors and their specs, the state file, the verbs, what the check reads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from control_plane.cli.demo import register
from control_plane.demo import state_file
from control_plane.demo.check import run_checks
from control_plane.demo.check.clients import AnthropicClient, Client, Failed, OpenAIClient, ResponsesClient
from control_plane.demo.control_client import ControlClient, in_words
from control_plane.demo.simulators import Fault, Simulator
from control_plane.demo.simulators.fault import DESCRIPTIONS, MODES
from control_plane.demo.vendors import NAMES, Vendors
from control_plane.demo.wire_client import call
from control_plane.kit.errors import SpecError
from control_plane.spec.load import load

Verb = Callable[..., Result]


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory of the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def verb(runtime: Path) -> Verb:
    """`verb("heal", "openai")` runs `headgate demo heal openai`."""
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return lambda *words: CliRunner().invoke(app, ["demo", *words])


async def test_the_demos_specs_load_without_a_finding_and_its_keys_work(tmp_path: Path) -> None:
    async with Vendors() as vendors:
        vendors.write_specs(tmp_path)
        loaded = load(tmp_path)
        assert [str(finding) for finding in loaded.findings] == []
        assert sorted(provider.name for provider in loaded.specs.providers) == sorted(NAMES)
        for provider in loaded.specs.providers:
            ref = provider.spec.credentials[0].secret_ref
            assert ref is not None
            key = vendors.env[ref.env or ""]
            refused = 400 if provider.name == "gemini" else 401
            for sent, status in ((key, 200), ("x", refused)):
                headers = {"x-goog-api-key": sent} if provider.name == "gemini" else {"authorization": f"Bearer {sent}"}
                headers["anthropic-version"] = "2023-06-01"
                assert (await call(f"{provider.spec.base_url}/models", method="GET", headers=headers)).status == status
        for route in loaded.specs.routes:
            for group in route.spec.plan:
                for target in group.targets:
                    listed = vendors.simulators[target.provider].models
                    assert any(model.startswith(target.model) for model in listed), target


def test_the_state_file_is_private_and_forgets_the_dead(runtime: Path) -> None:
    with pytest.raises(SpecError, match="no demo is running"):
        state_file.find()
    state = state_file.DemoState(pid=os.getpid(), gateway="http://g", admin="http://a", control="http://c")
    state_file.write(state)
    assert state_file.find() == state
    assert state_file.path().stat().st_mode & 0o777 == 0o600
    state_file.remove(os.getpid() + 1)  # another demo's
    assert state_file.running() == state
    state_file.remove(os.getpid())
    assert state_file.running() is None
    state_file.write(state_file.DemoState(pid=2**22 + 1, gateway="", admin="", control=""))  # above the kernel's largest
    assert state_file.running() is None
    state_file.path().write_text("{")
    assert state_file.running() is None


async def test_break_status_and_heal(verb: Verb) -> None:
    async with Vendors() as vendors:
        state_file.write(state_file.DemoState(pid=os.getpid(), gateway="", admin="", control=vendors.control_url))
        broken = await asyncio.to_thread(verb, "break", "openai", "--mode", "stall", "--after", "3")
        assert (broken.exit_code, broken.output) == (0, "openai: stall after=3\n")
        assert vendors.simulators["openai"].fault == Fault(mode="stall", after=3)
        shown = await asyncio.to_thread(verb, "status")
        assert "openai     stall after=3" in shown.output
        assert "anthropic  healthy" in shown.output
        healed = await asyncio.to_thread(verb, "heal", "openai")
        assert healed.output == "openai: healthy\n"
        assert (await ControlClient(vendors.control_url).state())["openai"]["fault"] is None
        unknown = await asyncio.to_thread(verb, "break", "opanai", "--mode", "stall")
        assert unknown.exit_code == 1
        assert "there are openai, anthropic, gemini, local" in unknown.output


def test_verbs_without_a_demo_say_what_to_do(verb: Verb) -> None:
    result = verb("heal")
    assert result.exit_code == 1
    assert "start one with `headgate demo`" in (result.output or str(result.exception))


def test_wrong_modes_are_explained_and_the_list_is_complete(verb: Verb) -> None:
    result = verb("break", "openai", "--mode", "sleepy")
    assert result.exit_code == 2
    assert "Invalid enum value 'sleepy'" in result.output
    assert set(DESCRIPTIONS) == set(MODES)
    listed = verb("faults").output
    assert all(mode in listed for mode in MODES)


def test_faults_in_words() -> None:
    assert in_words({"mode": "status", "status": 503, "after": 0}) == "status status=503"
    assert in_words({"mode": "cut", "after": 2, "how": "fin"}) == "cut after=2 how=fin"


@pytest.mark.parametrize(
    ("client", "vendor", "model"),
    [(OpenAIClient(), "openai", "gpt-5"), (ResponsesClient(), "openai", "gpt-5"), (AnthropicClient(), "anthropic", "claude-sonnet-5")],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_the_check_reads_what_vendors_say(client: Client, vendor: str, model: str, stream: bool) -> None:
    async with Simulator("openai" if vendor == "openai" else "anthropic") as simulator:
        answer, _ = await client.ask(simulator.url, model, "hello", stream=stream)
        said = client.read(answer, stream=stream)
        assert (said.text, said.whole, said.input_tokens > 0, said.output_tokens > 0) == (
            f"{vendor}/{model} heard: hello",
            True,
            True,
            True,
        )
        answer, asked = await client.ask(simulator.url, model, "get_weather, then get_time", stream=stream, tools=True)
        said = client.read(answer, stream=stream)
        assert [made.name for made in said.calls] == ["get_weather", "get_time"]
        last = client.read(await client.give_results(simulator.url, asked, said, ["one", "two"]), stream=stream)
        assert last.text == f"{vendor}/{model} read the tool: one | two"
        refused, _ = await client.ask(simulator.url, "no-such-model", "hello", stream=stream)
        assert "no-such-model" in client.error(refused)
        simulator.fault = Fault(mode="cut", after=1, how="clean")
        answer, _ = await client.ask(simulator.url, model, "hello", stream=stream)
        if stream:
            assert not client.read(answer, stream=True).whole
        else:
            with pytest.raises(ValueError):
                client.read(answer, stream=False)
        simulator.fault = Fault(mode="error_event", after=1)
        answer, _ = await client.ask(simulator.url, model, "hello", stream=True)
        with pytest.raises(Failed, match="an error in the stream"):
            client.read(answer, stream=True)


async def test_the_check_fails_where_there_is_no_gateway_and_heals_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.demo.check.faults.RECOVERY_LIMIT_S", 0.1)
    async with Vendors() as vendors:
        vendors.simulators["local"].fault = Fault(mode="empty")
        lines: list[str] = []
        assert not await run_checks("http://127.0.0.1:1", vendors.control_url, lines.append)
        assert not [line for line in lines if line.startswith("ok")]
        assert "0 of" in lines[-1]
        assert all(simulator.fault is None for simulator in vendors.simulators.values())


async def test_the_check_fails_when_a_vendor_itself_is_taken_for_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some things hold without a gateway; failover, translation and the gateway's own errors do not."""
    monkeypatch.setattr("control_plane.demo.check.faults.RECOVERY_LIMIT_S", 0.1)
    monkeypatch.setattr("control_plane.demo.check.faults.FAILOVER_LIMIT_S", 0.3)
    async with Vendors() as vendors, Simulator("openai", models=["*"]) as impostor:
        lines: list[str] = []
        assert not await run_checks(impostor.url, ControlClient(vendors.control_url), lines.append)
        held = [line for line in lines if line.startswith("ok")]
        assert not [line for line in held if "translated" in line or "answers 503" in line or "nearest" in line]
