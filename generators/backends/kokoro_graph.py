# SPDX-License-Identifier: Apache-2.0
"""Opens the prosody of Kokoro to the outside: inputs for pitch, its range, energy and the speed of every token.

The network predicts F0 (80 values a second, Hz) and log energy from the text before it makes any sound, and its
decoder follows them. Changing them between the two gives speech in another manner; changing the sound afterwards
(PSOLA, WORLD) costs more quality. The names of the exporter's nodes survive in the file, so a few operators can be
put in their place.
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from validators.errors import ModelError

F0 = "/encoder/F0_proj/Conv_output_0"
ENERGY = "/encoder/N_proj/Conv_output_0"
CONTROLS = ("f0_pivot", "f0_range", "f0_ratio", "energy_add")
"""The new inputs, each one float. 1 Hz or more, then 1, 1 and 0 change nothing."""
F0_OUT = "f0_out"
VOICED_HZ = 20.0  # the network says "unvoiced" with values about 0; no voice goes this low


def add_controls(source: PurePath | bytes) -> bytes:
    """Give the model the inputs of `CONTROLS`, a `speed` for every token (or one for all), and `f0_out` as an output.

    F0 becomes `pivot * (f0 / pivot) ** range * ratio` where it is voiced, so that a range counted in semitones grows
    by the factor `range`. It is computed as `f0 * (f0 / pivot) ** (range - 1) * ratio`, which at a range and ratio of 1
    is `f0` to the last bit: the int8 layers behind it turn the smallest difference into an audible one.
    Raises `ModelError` for a file that is no such model.
    """
    import onnx

    model = _load(source)
    graph = model.graph
    _require(graph)
    helper = onnx.helper
    for name in CONTROLS:
        graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]))
    for name, value in (("f0_floor", VOICED_HZ), ("f0_one", 1.0)):
        graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.FLOAT, [1], [value]))
    _splice(
        graph,
        F0,
        F0_OUT,
        (
            ("Greater", (F0, "f0_floor"), "f0_voiced"),
            ("Max", (F0, "f0_floor"), "f0_positive"),  # a power of a negative number is no number
            ("Div", ("f0_positive", "f0_pivot"), "f0_interval"),
            ("Sub", ("f0_range", "f0_one"), "f0_exponent"),
            ("Pow", ("f0_interval", "f0_exponent"), "f0_factor"),
            ("Mul", (F0, "f0_factor"), "f0_stretched"),
            ("Mul", ("f0_stretched", "f0_ratio"), "f0_shifted"),
            ("Where", ("f0_voiced", "f0_shifted", F0), F0_OUT),
        ),
    )
    _splice(graph, ENERGY, "energy_out", (("Add", (ENERGY, "energy_add"), "energy_out"),))
    speed = next(given for given in graph.input if given.name == "speed")
    speed.type.tensor_type.shape.dim[0].dim_param = "speeds"  # replaces the fixed 1
    graph.output.append(helper.make_tensor_value_info(F0_OUT, onnx.TensorProto.FLOAT, None))
    del graph.value_info[:]  # shapes noted for the old graph
    return bytes(model.SerializeToString())


def _load(source: PurePath | bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    where = "" if isinstance(source, bytes) else str(source)
    try:
        return onnx.load_model_from_string(source) if isinstance(source, bytes) else onnx.load_model(where)
    except (DecodeError, OSError) as error:
        raise ModelError(f"the Kokoro model cannot be read: {error}", where=where) from error


def _require(graph: Any) -> None:
    made = {output for node in graph.node for output in node.output} | {given.name for given in graph.input}
    if missing := [name for name in (F0, ENERGY, "tokens", "style", "speed") if name not in made]:
        raise ModelError(
            f"the model has no {', '.join(missing)}: it is not the export of Kokoro that can be controlled",
            next_step="Use the packaged weights kokoro-82m.",
        )
    if taken := [name for name in (*CONTROLS, F0_OUT) if name in made]:
        raise ModelError(f"the model has {', '.join(taken)} already")


def _splice(graph: Any, tensor: str, replaced_by: str, operators: Sequence[tuple[str, tuple[str, ...], str]]) -> None:
    """Put operators right after the node that makes a tensor, and hand its users their result instead."""
    import onnx

    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == tensor:
                node.input[place] = replaced_by
    # Behind the tensor's own node, since a graph lists its nodes in the order of their use.
    place = next(index for index, node in enumerate(graph.node) if tensor in node.output) + 1
    for kind, inputs, output in operators:
        graph.node.insert(place, onnx.helper.make_node(kind, list(inputs), [output], name=f"affectory/{output}"))
        place += 1
