# SPDX-License-Identifier: Apache-2.0
"""What every voice owes its caller, and that a delivery is heard in the sound."""

import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from flows.models import cache_folder
from flows.packaged_weights import PACKAGED
from flows.voice_files import find_kokoro_voices
from flows.weights import WeightsSpec, resolve_weights
from generators.backends.registry import VOICES, open_voice
from generators.backends.sound import PEAK, finish
from generators.speech.voices import SAMPLE_RATE, Samples, Speech, UnspeakableError, Voice, VoiceSettings
from validators.errors import InputError, ModelError
from validators.speech_records import Delivery

TEXT = "I never saw it, believe me."
MEMBERS = {"tone": ("tone_low", "tone_high"), "kokoro": ("am_michael", "af_heart")}
"""A male and a female voice of each backend."""


def kokoro_settings() -> VoiceSettings:
    needed = (*VOICES["kokoro"].modules, *(module for module, _ in PACKAGED["kokoro-82m"].parts))
    if missing := [module for module in needed if find_spec(module) is None]:
        pytest.skip(f"kokoro is not installed: {', '.join(missing)}")
    if not (cache_folder() / "kokoro-js-1.2.1.tgz").is_file():
        pytest.skip(f"kokoro's voices are not in {cache_folder()}: npm pack kokoro-js@1.2.1")
    found = resolve_weights(WeightsSpec(package="kokoro-82m"), cache=cache_folder())
    voices = find_kokoro_voices(cache=cache_folder())
    return VoiceSettings(found.name, found.revision, found.path, voices, found.licence)


@pytest.fixture(scope="session")
def kokoro() -> Voice:
    return open_voice("kokoro", kokoro_settings())


@pytest.fixture(params=["tone", pytest.param("kokoro", marks=pytest.mark.model)])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def voice(backend: str, request: pytest.FixtureRequest) -> Voice:
    return request.getfixturevalue("kokoro") if backend == "kokoro" else open_voice("tone", VoiceSettings("tone"))


@pytest.fixture
def male(backend: str) -> str:
    return MEMBERS[backend][0]


@pytest.fixture
def female(backend: str) -> str:
    return MEMBERS[backend][1]


def f0_semitones(samples: Samples) -> np.ndarray:
    """F0 of the voiced frames (semitones over 1 Hz) by the highest peak of the autocorrelation, 60 to 400 Hz."""
    frame, hop = 1200, 240
    shortest, longest = SAMPLE_RATE // 400, SAMPLE_RATE // 60
    found = []
    for start in range(0, len(samples) - frame, hop):
        piece = samples[start : start + frame].astype(np.float64)
        spectrum = np.fft.rfft(piece * np.hanning(frame), 2 * frame)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:frame]
        if correlation[0] < 1e-3:
            continue
        correlation /= correlation[0]
        lag = shortest + int(np.argmax(correlation[shortest:longest]))
        if correlation[lag] > 0.4:
            found.append(12 * np.log2(SAMPLE_RATE / lag))
    return np.array(found)


def level_db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


def tilt_db(samples: Samples) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return float(10 * np.log10(power[(hz > 2500) & (hz < 5000)].sum() / power[(hz > 50) & (hz < 1000)].sum()))


def test_sound_is_one_channel_within_bounds_and_the_same_each_time(voice: Voice, male: str) -> None:
    samples = voice.speak(Speech(TEXT, male, seed=1))
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 0.7 < len(samples) / SAMPLE_RATE < 4
    assert 0.05 < np.abs(samples).max() <= 1
    np.testing.assert_array_equal(samples, voice.speak(Speech(TEXT, male, seed=1)))
    assert voice.model


def test_cards_say_language_gender_and_licence(voice: Voice, male: str, female: str) -> None:
    assert len(voice.voices) >= 4
    assert (voice.voices[male].gender, voice.voices[female].gender) == ("male", "female")
    assert all(name == card.name and card.licence == "Apache-2.0" for name, card in voice.voices.items())


def test_a_female_voice_is_higher_than_a_male_one(voice: Voice, male: str, female: str) -> None:
    low, high = (np.median(f0_semitones(voice.speak(Speech(TEXT, name)))) for name in (male, female))
    assert high > low + 4


def test_pitch_moves_f0_by_the_semitones_asked_for(voice: Voice, male: str) -> None:
    neutral = np.median(f0_semitones(voice.speak(Speech(TEXT, male))))
    for asked in (-4, 4):
        raised = np.median(f0_semitones(voice.speak(Speech(TEXT, male, Delivery(pitch_st=asked)))))
        assert raised - neutral == pytest.approx(asked, abs=1.5)


def test_range_stretches_the_movement_of_f0(voice: Voice, male: str) -> None:
    narrow, wide = (
        np.subtract(
            *np.percentile(f0_semitones(voice.speak(Speech(TEXT, male, Delivery(range_oct=octaves)))), (80, 20))
        )
        for octaves in (-1, 0.5)
    )
    assert wide > 1.5 * narrow


def test_rate_and_pauses_change_the_duration(voice: Voice, male: str) -> None:
    neutral, fast, paused = (
        len(voice.speak(Speech(TEXT, male, delivery)))
        for delivery in (Delivery(), Delivery(rate_oct=0.5), Delivery(pause_oct=2))
    )
    assert 0.6 < fast / neutral < 0.9
    assert neutral * 1.05 < paused < neutral * 2.5


def test_energy_gain_and_tilt_are_heard(voice: Voice, male: str) -> None:
    neutral = voice.speak(Speech(TEXT, male))
    strong = voice.speak(Speech(TEXT, male, Delivery(energy=1.2)))
    soft = voice.speak(Speech(TEXT, male, Delivery(energy=-1.2)))
    assert level_db(strong) > level_db(soft) + 0.5
    quiet = voice.speak(Speech(TEXT, male, Delivery(gain_db=-6)))
    assert level_db(neutral) - level_db(quiet) == pytest.approx(6, abs=0.05)
    bright = voice.speak(Speech(TEXT, male, Delivery(tilt_db=9)))
    assert tilt_db(bright) > tilt_db(neutral) + 5


def test_breath_changes_the_sound_but_not_who_speaks(voice: Voice, male: str) -> None:
    neutral, breathy = (voice.speak(Speech(TEXT, male, Delivery(breath=weight))) for weight in (0, 0.75))
    assert len(neutral) != len(breathy) or np.abs(neutral - breathy).max() > 0.01
    assert np.median(f0_semitones(breathy)) == pytest.approx(np.median(f0_semitones(neutral)), abs=2)


def test_extreme_deliveries_never_clip(voice: Voice, male: str) -> None:
    loud = Delivery(pitch_st=12, range_oct=2, energy=3, tilt_db=18, gain_db=18, rate_oct=1, pause_oct=2, breath=1)
    samples = voice.speak(Speech(TEXT, male, loud))
    assert np.isfinite(samples).all()
    assert 0.9 < np.abs(samples).max() <= PEAK + 1e-6


def test_a_voice_that_is_not_there_is_refused_with_those_like_it(voice: Voice, male: str) -> None:
    with pytest.raises(InputError, match=f"Did you mean .*{male}"):
        voice.speak(Speech(TEXT, f"{male}x"))


@pytest.mark.parametrize(
    "text", ["", "   ", "... !?", "—", "🙂", "Привет, мир", "你好", "I said Привет to him", "word " * 400]
)
def test_a_text_that_cannot_be_said_costs_the_row_alone(voice: Voice, male: str, text: str) -> None:
    with pytest.raises(UnspeakableError):
        voice.speak(Speech(text, male))


@pytest.mark.parametrize("text", ["A", "7:30", "naïve café", "O’Neil’s 2nd [word](/x/) #1 & 50%!", "ﬁne\n\ttabs"])
def test_odd_but_latin_text_is_said(voice: Voice, male: str, text: str) -> None:
    assert len(voice.speak(Speech(text, male))) > 0.1 * SAMPLE_RATE


def test_the_double_takes_longer_for_more_words_and_fails_on_demand() -> None:
    tone = open_voice("tone", VoiceSettings("tone", options={"fail_on": "gone"}))
    short, long = (len(tone.speak(Speech(text, "tone_mid"))) for text in ("she left", "she left me here alone"))
    assert long > 1.5 * short
    with pytest.raises(ModelError, match="as asked"):
        tone.speak(Speech("All is gone.", "tone_mid"))
    with pytest.raises(InputError, match="no option shout"):
        open_voice("tone", VoiceSettings("tone", options={"shout": True}))


def test_finishing_nothing_changes_nothing() -> None:
    samples = np.sin(np.arange(2000) / 9).astype(np.float32) * np.float32(0.5)
    np.testing.assert_array_equal(finish(samples, Delivery()), samples)
    assert np.abs(finish(samples * 3, Delivery())).max() == pytest.approx(PEAK)
    assert finish(np.zeros(0, np.float32), Delivery(gain_db=3, tilt_db=3)).shape == (0,)


def test_kokoro_needs_weights_and_voices_and_takes_no_options() -> None:
    from generators.backends.kokoro import open_voice as open_kokoro

    with pytest.raises(InputError, match="needs weights and voices"):
        open_kokoro(VoiceSettings("k"))
    with pytest.raises(InputError, match="no option speed"):
        open_kokoro(VoiceSettings("k", weights=Path("a"), voices=Path("b"), options={"speed": 1}))


def test_a_missing_engine_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from generators.backends import phonemes, registry

    monkeypatch.setattr(registry, "find_spec", lambda module: None)
    with pytest.raises(ModelError, match="onnx, onnxruntime, hibari") as caught:
        open_voice("kokoro", VoiceSettings("k"))
    assert "affectory[speech]" in caught.value.next_step
    phonemes._espeak_library.cache_clear()
    monkeypatch.setattr(phonemes, "find_spec", lambda module: None)
    with pytest.raises(ModelError, match="espeak-ng") as caught:
        phonemes.phonemes("hola", language="es")
    assert caught.value.next_step == "pip install espeakng-loader==0.2.4"


@pytest.mark.parametrize("content", ["nothing", "garbage", "empty", "short"])
def test_a_damaged_tarball_of_voices_is_refused(content: str, tmp_path: Path) -> None:
    from generators.backends.kokoro import _read_styles

    path = tmp_path / "voices.tgz"
    if content == "garbage":
        path.write_bytes(b"\x1f\x8b garbage")
    elif content != "nothing":
        (tmp_path / "af_heart.bin").write_bytes(b"1234")
        with tarfile.open(path, "w:gz") as tarball:
            if content == "short":
                tarball.add(tmp_path / "af_heart.bin", "package/voices/af_heart.bin")
    with pytest.raises(ModelError, match=r"cannot be read|lacks 32 voices|has 4 bytes"):
        _read_styles(path)


@pytest.mark.model
def test_without_a_delivery_the_edited_network_gives_the_samples_of_the_original(kokoro: Voice) -> None:
    import onnxruntime

    from generators.backends.kokoro import _read_styles
    from generators.backends.phonemes import phonemes, vocabulary

    settings = kokoro_settings()
    assert settings.weights is not None
    assert settings.voices is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as in the backend: sums in another order differ in their last bits
    options.log_severity_level = 3
    original = onnxruntime.InferenceSession(str(settings.weights), options, providers=["CPUExecutionProvider"])
    tokens = [vocabulary()[letter] for letter in phonemes(TEXT, language="en")]
    feed = {
        "tokens": np.array([[0, *tokens, 0]]),
        "style": _read_styles(settings.voices)["af_heart"][len(tokens) - 1][np.newaxis],
        "speed": np.ones(1, dtype=np.float32),
    }
    expected = original.run(["audio"], feed)[0].ravel()
    np.testing.assert_allclose(kokoro.speak(Speech(TEXT, "af_heart")), expected, atol=1e-6)


@pytest.mark.model
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ef_dora", "No lo vi nunca, ¡créeme!"),
        ("em_alex", "¿Qué haces a las 7:30?"),
        ("ff_siwis", "Je ne l’ai pas vu."),
    ],
)
def test_spanish_and_french_are_spoken(kokoro: Voice, name: str, text: str) -> None:
    if find_spec("espeakng_loader") is None:
        pytest.skip("espeak-ng is not installed: pip install espeakng-loader==0.2.4")
    assert kokoro.voices[name].language == {"e": "es", "f": "fr"}[name[0]]
    assert 0.8 < len(kokoro.speak(Speech(text, name))) / SAMPLE_RATE < 4
    with pytest.raises(UnspeakableError):
        kokoro.speak(Speech("¡¿...?!", name))


@pytest.mark.model
@pytest.mark.soak
def test_the_pivot_of_a_voice_does_not_depend_on_what_it_said_before(kokoro: Voice) -> None:
    wide = Speech(TEXT, "bf_emma", Delivery(range_oct=0.5, breath=0.3))
    first = kokoro.speak(wide)
    fresh = open_voice("kokoro", kokoro_settings())
    fresh.speak(Speech("Something else entirely!", "bf_emma", Delivery(range_oct=-0.5, breath=0.7)))
    np.testing.assert_array_equal(first, fresh.speak(wide))


def test_a_file_that_is_no_kokoro_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from generators.backends.kokoro_graph import add_controls

    graph = onnx.helper.make_graph([], "other", [], [])
    with pytest.raises(ModelError, match="F0_proj"):
        add_controls(onnx.helper.make_model(graph).SerializeToString())
    (tmp_path / "m.onnx").write_bytes(b"\xff\xff garbage")
    for source in (tmp_path / "m.onnx", tmp_path / "nothing.onnx"):
        with pytest.raises(ModelError, match="cannot be read"):
            add_controls(source)
