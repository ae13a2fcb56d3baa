# SPDX-License-Identifier: Apache-2.0
"""Turns a GGUF file into a folder of bf16 safetensors, since vLLM does not read GGUF."""

from pathlib import Path

from validators.errors import ModelError


def dequantise(gguf: Path, folder: Path) -> None:
    """Write the model, its tokenizer and its chat template into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            str(gguf.parent),
            gguf_file=gguf.name,
            local_files_only=True,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),  # else the weights stay packed and cannot be saved
        )
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelError(
            f"transformers cannot read {gguf.name}: {error}",
            where=str(gguf),
            next_step="Use the llama backend for this file, or the model's own safetensors folder.",
        ) from error
    model.save_pretrained(str(folder), safe_serialization=True)
    tokenizer.save_pretrained(str(folder))
