"""Coverage-guided fuzzing of one dialect: python tests/fuzz/run.py DIALECT TARGET [--seconds N] [--runs N] [--corpus DIR].

The engine is libFuzzer through atheris. A crash, an input over ten seconds or more than 1 GiB of memory ends it with a non-zero exit
code, and the input lies in the corpus's folder as crash-*, timeout-* or oom-*; give it as --input to see it again.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["control_plane.dialects"]):
    from control_plane.dialects import registry

from tests.fuzz import mutate, targets
from tests.fuzz.seeds import seeds

INPUT_BYTES: Final = 32_768
INPUT_SECONDS: Final = 10
MEMORY_MIB: Final = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialect", choices=sorted(registry.PROVIDERS))
    parser.add_argument("target", choices=sorted(targets.TARGETS))
    parser.add_argument("--seconds", type=int, default=0, help="end after so long; default: never")
    parser.add_argument("--runs", type=int, default=-1, help="end after so many inputs beside the seeds; default: never")
    parser.add_argument("--seed", type=int, default=0, help="of the engine's dice; default: by the clock")
    parser.add_argument("--corpus", type=Path, help="folder that keeps interesting inputs between runs; default: a new one")
    parser.add_argument("--input", type=Path, help="one input to run instead")
    asked = parser.parse_args()
    if asked.target == "request" and asked.dialect not in registry.DIALECTS:
        parser.error(f"clients do not speak {asked.dialect}")
    if asked.input is not None:
        targets.run(asked.target, asked.dialect, asked.input.read_bytes())
        return
    with tempfile.TemporaryDirectory(prefix="headgate-fuzz-") as fresh:
        corpus = asked.corpus or Path(fresh)
        corpus.mkdir(parents=True, exist_ok=True)
        first = list(seeds(asked.target, asked.dialect))
        for number, seed in enumerate(first):
            (corpus / f"seed-{number:04}").write_bytes(seed)
        options = [
            f"-max_len={INPUT_BYTES}",
            f"-timeout={INPUT_SECONDS}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-runs={asked.runs + len(first) if asked.runs >= 0 else -1}",
            f"-max_total_time={asked.seconds}",
            f"-seed={asked.seed}",
            f"-artifact_prefix={asked.corpus or os.getcwd()}/",
            "-print_final_stats=1",
        ]
        one = partial(targets.run, asked.target, asked.dialect)
        atheris.Setup([sys.argv[0], *options, str(corpus)], one, custom_mutator=_mutator)
        atheris.Fuzz()  # ends the process


def _mutator(data: bytes, most: int, seed: int) -> bytes:
    """Half of the time by structure, else by the engine's own rules."""
    rng = random.Random(seed)
    if len(data) > targets.CHOICE_BYTES and rng.random() < 0.7:
        head, body = data[: targets.CHOICE_BYTES], data[targets.CHOICE_BYTES :]
        if rng.random() < 0.2:
            head = rng.randbytes(targets.CHOICE_BYTES)
        changed = mutate.mutated(body, rng)
        if changed is not None and len(changed) + len(head) <= most:
            return head + changed
    return bytes(atheris.Mutate(data, most))


if __name__ == "__main__":
    main()
