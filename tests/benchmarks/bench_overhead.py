# SPDX-License-Identifier: Apache-2.0
"""What a run costs beside its models, and whether it stays the same for each row as runs grow.

    python -m tests.benchmarks.bench_overhead [--sizes 1000,10000] [--prefect] [--profile]

Builds datasets with the scripted writer, whose replies take no time, then each once more: a finished one is only read.
Prints processor seconds for each written row, and ratios to the smallest size; only the ratios mean anything. The
search for duplicates is left out of the first figure: it compares all with all, and bench_duplicates.py is about it.
`--profile` prints where the time of the largest size goes.
"""

import argparse
import cProfile
import json
import pstats
import sys
import tempfile
import time
from pathlib import Path

from flows.build import build, build_release, in_turn
from flows.final_tables import is_finished
from flows.progress import SilentProgress
from flows.recipe import load_recipe
from flows.runs import open_run_of, read_inputs

SENTENCES = 24  # of a made-up story: three sections, in each of which both of its people feel something
LABELS = ("admiration", "amusement", "caring", "curiosity", "fear", "gratitude", "joy", "pride", "sadness", "surprise")
ROWS_PER_STORY = 20
WARM_UP_ROWS = 50

RECIPE = """\
name: overhead
stories: {{path: {stories}, section_words: 60, evidence: model, licence: CC0-1.0, limit: {limit}}}
writer: {{backend: echo, slots: 64}}
encoder: {{backend: hashed}}
reader: {{backend: none}}
utterances: {{rows: {rows}, contextual_rows: {contextual}, tries: 1, labels: [{labels}]}}
gates: {{max_reason_share: 1.0}}
duplicates: {{similarity: 1.0}}
shard_rows: 64
"""


def main() -> None:
    """Print a line of JSON for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000")
    parser.add_argument("--prefect", action="store_true", help="with Prefect's server, as a user's build")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:  # imports what is imported late, so that the first size is no dearer
        _measure(write_recipe(Path(folder), WARM_UP_ROWS), Path(folder) / "out", None, prefect=options.prefect)
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            recipe = write_recipe(Path(folder), size)
            profile = cProfile.Profile(time.process_time) if options.profile and size == sizes[-1] else None
            figures = _measure(recipe, Path(folder) / "out", profile, prefect=options.prefect)
        first = first or figures
        ratios = {f"{name}_ratio": round(value / first[name], 2) for name, value in figures.items() if name in _RATIOS}
        print(json.dumps({"rows": size, **{name: round(value, 3) for name, value in figures.items()}, **ratios}))
        if profile is not None:
            pstats.Stats(profile, stream=sys.stderr).sort_stats("cumtime").print_stats(60)


_RATIOS = ("ms_per_row", "resume_ms_per_row")


def _measure(recipe: Path, root: Path, profile: cProfile.Profile | None, *, prefect: bool) -> dict[str, float]:
    inputs = read_inputs(load_recipe(recipe))
    if profile is not None:
        profile.enable()
    began_s, wall_s = time.process_time(), time.monotonic()
    if prefect:
        release = build(inputs, root, SilentProgress())
    else:
        with open_run_of(inputs, root, SilentProgress()) as run:
            release = build_release(run, in_turn)
    took_s, wall_s = time.process_time() - began_s, time.monotonic() - wall_s
    if profile is not None:
        profile.disable()
    again_s = time.process_time()
    with open_run_of(read_inputs(load_recipe(recipe)), root, SilentProgress()) as run:
        if not is_finished(run):
            raise RuntimeError("the run was not finished")
        build_release(run, in_turn)
    again_s = time.process_time() - again_s
    duplicates_s = release.stages["duplicates"].wall_s * took_s / wall_s  # by the clock; its share of the processor
    return {
        "written": release.planned,
        "rounds": release.rounds,
        "ms_per_row": 1000 * (took_s - duplicates_s) / release.planned,
        "duplicates_s": duplicates_s,
        "resume_s": again_s,
        "resume_ms_per_row": 1000 * again_s / release.planned,
    }


def write_recipe(folder: Path, rows: int) -> Path:
    """Write stories enough for so many rows, and the recipe."""
    stories = folder / "stories"
    stories.mkdir()
    count = max(10, rows // ROWS_PER_STORY)
    lines = []
    for story in range(count):
        first, second = f"Ab{story:05d}".translate(_LETTERS), f"Cd{story:05d}".translate(_LETTERS)
        text = " ".join(
            f"{(first, second)[n % 2]} carried the crate number {story * SENTENCES + n} over the wet yard."
            for n in range(SENTENCES)
        )
        lines.append(json.dumps({"title": f"story {story}", "text": text}))
    path = stories / "stories.jsonl"
    path.write_text("\n".join(lines) + "\n")
    recipe = folder / "overhead.yaml"
    recipe.write_text(
        RECIPE.format(stories=path, limit=count, rows=rows, contextual=rows // 3, labels=", ".join(LABELS))
    )
    return recipe


_LETTERS = str.maketrans("0123456789", "aeioubdfgk")

if __name__ == "__main__":
    main()
