# SPDX-License-Identifier: Apache-2.0
"""End to end with the real embedded models: a small dataset, written, checked, loaded."""

from pathlib import Path

import pytest

from flows.manifest import verify_release
from tests.flows.builds import run_build
from validators.gates import naming_words
from validators.taxonomy import builtin_taxonomy

RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.mark.model
@pytest.mark.usefixtures("prefect_server")
def test_the_embedded_writer_makes_a_dataset_that_loads(tmp_path):
    from datasets import load_dataset

    # what the author says and what the model finds, so that all prompts are asked
    overrides = ["stories.limit=3", "stories.sections=3", "stories.evidence=both"]
    overrides += ["utterances.rows=6", "utterances.contextual_rows=2"]
    overrides += ["floors={kept_rows: 1, labels: 1, kept_dialogues: 0}", "utterances.tries=1"]
    overrides += ["dialogues.rows=1", "dialogues.tries=1", "dialogues.candidates=1", 'dialogues.turns={"3": 1}']
    overrides += ["speech.renderings=[]", "speech.takes=1"]
    release = run_build(RECIPES / "tiny.yaml", tmp_path / "tiny", *overrides)
    assert release.planned == release.kept + release.rejected > 0
    assert release.dialogues is not None
    assert release.dialogues.kept.num_rows + release.dialogues.rejected.num_rows == 1
    assert release.clips is not None
    assert release.clips.kept.num_rows + release.clips.rejected.num_rows >= release.kept
    assert verify_release(tmp_path / "tiny") == []
    taxonomy = builtin_taxonomy("goemotions")
    loaded = load_dataset(str(tmp_path / "tiny"), cache_dir=str(tmp_path / "cache"))
    rows = [row for split in loaded.values() for row in split]
    assert len(rows) == release.kept
    for row in rows:
        assert row["writer"].startswith("Qwen2.5-Coder-1.5B-Instruct-Q4_K_M@cc324af0")
        assert row["reader"].startswith("descriptions:all-MiniLM-L6-v2@")
        heard = row["intended"]["label"] in {found["label"] for found in row["perceived"][:3]}
        assert heard or not row["realised"]
        assert (row["context"] is None) == (row["perceived_in_context"] is None)
        label = row["intended"]["label"]
        if label != "neutral":
            assert naming_words(row["text"], taxonomy.synonyms[label]) == []
