# SPDX-License-Identifier: Apache-2.0
"""The dataset card: what the release is, how it was made, and figures that were all measured on it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flows.card_head import render_head
from flows.dialogue_card import dialogue_parts, rate_text
from flows.earlier import Earlier
from flows.identity import EXCLUDED
from flows.markdown import markdown_table
from flows.runs import Run
from flows.speech_card import speech_parts
from generators.prompts import DIALOGUE_PROMPTS, PROMPTS, load_prompt
from validators.schemas import COLUMN_DESCRIPTIONS

if TYPE_CHECKING:
    from flows.release import Release

ROLES = ("writer", "encoder", "reader")
MACHINE = {key.rpartition(".")[2] for key in EXCLUDED if key.startswith(tuple(f"{role}." for role in ROLES))}


def render_card(
    run: Run,
    configs: Mapping[str, Mapping[str, pa.Table]],
    *,
    release: "Release",
    figures: Mapping[str, Any],
    checks: Sequence[Mapping[str, Any]],
) -> str:
    """Render README.md: the YAML head that the Hub reads, then the text. Same rows, same card: it holds no times."""
    tables = configs["utterances"]
    dialogues = configs.get("dialogues", {})
    licences = Counter(
        (str(row["source"]), str(row["source_licence"]))
        for table in (*tables.values(), *dialogues.values())
        for row in table.select(["source", "source_licence"]).to_pylist()
    )
    prompts = PROMPTS + (DIALOGUE_PROMPTS if dialogues else ())
    recipe = _without_machine(run.recipe.canonical())
    parts = [
        f"---\n{render_head(run.recipe.name, configs, release.kept)}---",
        f"# {run.recipe.name}",
        f"{release.kept} utterances that characters of stories say or think, each written to express one emotion of "
        f"the {run.taxonomy.title} taxonomy at one intensity, with the situation before it and a rewriting whose "
        "emotion shows only together with that situation. **All text is synthetic.** Made by Affectory from the recipe "
        "below.",
        _verification(run, figures),
        '```python\nfrom datasets import load_dataset\n\nrows = load_dataset("<this folder or repository>")\n```',
        "## Figures",
        f"{release.planned} rows were written in {release.rounds} rounds, {release.kept} kept, {release.rejected} "
        "rejected: every row is accounted for.",
        markdown_table(
            ["split", "rows", "stories"],
            [[split, t.num_rows, len(set(t.column("story_id").to_pylist()))] for split, t in tables.items()],
        ),
        "Splits are grouped by story: no story, and so no character, is in two of them.",
        "### Labels",
        markdown_table(
            ["label", "wanted", "written", "kept", "heard at first", "heard in the end", "commonest reasons"],
            [
                [
                    r.label,
                    release.targets.get(str(r.label), 0),
                    r.planned,
                    r.kept,
                    rate_text(figures["per_label"][r.label]["realised_at_first"]),
                    rate_text(figures["per_label"][r.label]["realised"]),
                    r.reasons,
                ]
                for r in release.yields.itertuples()
            ],
        ),
        *_short(release.short),
        "### Diversity",
        _diversity(figures["diversity"]),
        "### Rejected rows by reason",
        markdown_table(
            ["stage", "gate", "reason", "rows"],
            [[r.stage, r.gate, r.reason, r.rows] for r in release.reasons.itertuples()],
        ),
        "### Checks of the release",
        f"{sum(bool(check['success']) for check in checks)} of {len(checks)} expectations hold (Great Expectations).",
        "## Columns",
        markdown_table(
            ["column", "meaning"], [[name, text] for name, text in COLUMN_DESCRIPTIONS["utterances"].items()]
        ),
        *(dialogue_parts(run, dialogues, figures["dialogues"]) if "dialogues" in figures else []),
        *(
            speech_parts(run, configs["clips"], configs.get("recordings", {}), figures["clips"])
            if "clips" in figures
            else []
        ),
        "## How it was made",
        f"- writer: `{run.writer.model}` ({run.inputs.models.writer_licence})\n"
        + (f"- reader: `{', '.join(figures['readers'])}`\n" if figures["readers"] else "")
        + _dialogue_writers(dialogues)
        + f"- encoder for near duplicates: `{run.inputs.models.versions['encoder']}`, cosine below "
        f"{run.recipe.duplicates.similarity:g}\n"
        f"- run fingerprint: `{run.folder.fingerprint}`\n"
        + "\n".join(f"- prompt `{name}`: sha256 `{load_prompt(name).sha256}`" for name in prompts),
        *_earlier(run.inputs.earlier),
        f"Rebuild: save the recipe as `recipe.yaml` and run `affectory build recipe.yaml{_after(run)}`. Models stand "
        "here with their revisions, prompts with their hashes: with other ones the rows differ.",
        f"```json\n{json.dumps(recipe, indent=1, ensure_ascii=False)}\n```",
        "## Sources and licences",
        markdown_table(["source", "licence", "rows"], [[s, lic, n] for (s, lic), n in sorted(licences.items())]),
        "## Limits",
        "- The text is a language model's, in its English and with its stereotypes; small models bend the facts of the "
        "story.\n- The reader is a model too: what it hears is no person's judgement, and rows were kept by it.\n"
        "- Not for judging people, and not a substitute for data from people where decisions about people are made.",
    ]
    return "\n\n".join(parts) + "\n"


def _verification(run: Run, figures: Mapping[str, Any]) -> str:
    """Say who read the rows, by which rule they count as realised, and how often they did."""
    if not figures["verified"]:
        return (
            "The `intended` label is what the writer was asked for. No reader has verified it: the `perceived` columns "
            "are empty in this release, and a share of the rows does not express what was intended."
        )
    loop = run.recipe.loop
    return (
        "`intended` is what the writer was asked for, `perceived` what a blind reader found, which never saw the "
        f"intention. A row is `realised` if its intended label is among the first {loop.rank} by distance above its "
        f"threshold, and reaches {loop.score:g} of that threshold. The first line that passed the rules was realised "
        f"in {rate_text(figures['realised_at_first'])} of the rows, the last one, after repair, in "
        f"{rate_text(figures['realised'])} (95 % intervals); rows that never were are "
        + ("rejected." if loop.keep_misses_above is None else "kept as such where they came close, `realised` false.")
    )


def _dialogue_writers(dialogues: Mapping[str, pa.Table]) -> str:
    """The models that wrote the dialogues, each with its revision; "" without dialogues."""
    speakers = [two for table in dialogues.values() for two in table.column("speakers").to_pylist()]
    writers = sorted({speaker["writer"] for two in speakers if two is not None for speaker in two})
    return f"- writers of dialogues: {', '.join(f'`{writer}`' for writer in writers)}\n" if writers else ""


def _short(short: Mapping[str, str]) -> list[str]:
    lines = [f"- {label}: {why}" for label, why in sorted(short.items())]
    return ["Labels with fewer rows than wanted:", "\n".join(lines)] if lines else []


def _diversity(figures: Mapping[str, Any]) -> str:
    groups = [("all rows", figures["overall"]), ("without neutral", figures["without_neutral"])]
    return markdown_table(
        ["group", "texts", "distinct-1", "distinct-2", "self-BLEU", "commonest opening", "its share"],
        [
            [name, g["texts"], *map(_figure, (g["distinct_1"], g["distinct_2"], g["self_bleu"])),
             g["commonest_opening"], _figure(g["commonest_opening_share"])]
            for name, g in groups
            if g
        ],
    )  # fmt: skip


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _without_machine(recipe: dict[str, object]) -> dict[str, object]:
    """Leave out what says where and how fast models run: it decides no row, and may name a host of the user."""
    return {key: _decides(value) if key in (*ROLES, "dialogues", "speech") else value for key, value in recipe.items()}


def _decides(role: object) -> object:
    if isinstance(role, dict):
        return {key: _decides(value) for key, value in role.items() if key not in MACHINE}
    return [_decides(one) for one in role] if isinstance(role, list) else role


def _earlier(earlier: Earlier) -> list[str]:
    if not earlier.versions:
        return []
    return [
        f"This is a further version of the dataset, after {earlier.versions} earlier: what repeats a row of theirs was "
        "dropped, and stories that both have are in the same split. So versions can be put together; an id names a row "
        "within its version."
    ]


def _after(run: Run) -> str:
    """The earlier versions, as they stand in the command that rebuilds this one."""
    return "".join(f" --after v{number}" for number in range(1, run.inputs.earlier.versions + 1))
