# SPDX-License-Identifier: Apache-2.0
"""The card of a trained reader: what it is, how far it agrees with people, and where it must not be trusted."""

from collections.abc import Mapping

from flows.markdown import interval_cells, markdown_table, number
from flows.readers_store import ReaderRecord
from flows.told_feelings import PeoplesFeelings
from validators.agreement import Agreement
from validators.label_metrics import CALIBRATION_BINS

WEAK_AUC, WEAK_F1 = 0.85, 0.35
"""Below, the card warns of a label: its reader misses or mistakes most of what people find."""
FEW_POSITIVES = 30  # below, the figures of a label have intervals so wide that they rank nothing


def render_reader_card(
    record: ReaderRecord,
    figures: Agreement,
    training_positives: Mapping[str, int],
    shared_texts: int,
    feelings: PeoplesFeelings | None,
) -> str:
    """Render README.md. Same reader and data, same card: it holds no times and no paths."""
    evaluation = record.evaluation or record.data
    parts = [
        f"# {record.name}",
        f"Reads a text and gives each of the {len(record.labels)} labels of the taxonomy `{record.taxonomy}` the "
        "probability that a person would choose it. It never sees which label was intended. Linear models on sentence "
        "embeddings and on n-grams of words and characters, combined and calibrated on out-of-fold outputs of the "
        "training rows; made by Affectory.",
        markdown_table(
            ["", ""],
            [
                ["model", f"`{record.model}`"],
                ["encoder", f"{record.encoder}, licence {record.encoder_licence}"],
                ["trained on", _data(record.data.name, record.data.rows, record.data.licence, record.data.sha256)],
                ["evaluated on", _data(evaluation.name, evaluation.rows, evaluation.licence, evaluation.sha256)],
                ["settings", ", ".join(f"{name} {value}" for name, value in record.settings.items())],
                ["made with", ", ".join(f"{name} {found}" for name, found in record.versions.items())],
            ],
        ),
        "## Agreement with people",
        markdown_table(
            ["figure", "value", "95 % interval"],
            [
                ["macro AUC", *interval_cells(figures.macro_auc)],
                ["macro F1", *interval_cells(figures.macro_f1)],
                ["micro F1", *interval_cells(figures.micro_f1)],
                ["calibration error, all decisions pooled", number(figures.calibration_error), ""],
                ["calibration error, mean over labels", number(figures.macro_calibration_error), ""],
                ["first label is one that people chose", number(figures.top_1_accuracy), ""],
                ["one of the first three labels is", number(figures.top_3_accuracy), ""],
            ],
        ),
        _meaning(figures, shared_texts),
        _left_out(figures),
        "### Labels",
        markdown_table(
            ["label", "AUC", "F1", "threshold", "calibration error", "rows evaluated", "rows trained on"],
            [
                [
                    label,
                    number(one.auc),
                    number(one.f1),
                    f"{one.threshold:.4f}",
                    number(one.calibration_error),
                    str(one.positives),
                    str(training_positives[label]),
                ]
                for label, one in figures.per_label.items()
            ],
        ),
        _weak(figures),
        "" if feelings is None else _feelings(feelings),
        "## Use",
        "A row of a dataset that this reader has read names it by the hash above. Thresholds suit short texts such as "
        f"those of {record.data.name}; a passage with context is read alone and after its context, and the log odds "
        "are the mean of both. The labels are those of the people who labelled the training data, with their culture, "
        "language and time; the reader must not be used to judge what real persons feel.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _data(name: str, rows: int, licence: str, sha256: str) -> str:
    return f"{name}, {rows} rows, licence {licence}, sha256 `{sha256[:16]}`"


def _meaning(figures: Agreement, shared_texts: int) -> str:
    told = (
        f"F1 is at each label's threshold, chosen on training rows. The calibration error is the expected one over "
        f"{CALIBRATION_BINS} bins of equally many rows. Intervals are bootstrapped over the {figures.rows} rows."
    )
    return f"{told} {shared_texts} of these texts occur in the training data too." if shared_texts else told


def _left_out(figures: Agreement) -> str:
    if not figures.one_class:
        return ""
    return (
        f"Not measured, since no row or every row has them, and left out of the means: {', '.join(figures.one_class)}."
    )


def _weak(figures: Agreement) -> str:
    weak = [
        label
        for label, one in figures.per_label.items()
        if one.auc is not None and one.f1 is not None and (one.auc < WEAK_AUC or one.f1 < WEAK_F1)
    ]
    few = [label for label, one in figures.per_label.items() if 0 < one.positives < FEW_POSITIVES]
    told = []
    if weak:
        told.append(f"Weak (AUC below {WEAK_AUC} or F1 below {WEAK_F1}): {', '.join(weak)}.")
    if few:
        told.append(f"Measured on fewer than {FEW_POSITIVES} rows, so uncertain: {', '.join(few)}.")
    return " ".join(told)


def _feelings(feelings: PeoplesFeelings) -> str:
    rows: list[tuple[str, float, float]] = [
        ("the reader, ranked as rows are judged", feelings.top_1, feelings.top_3),
        ("the reader, its mean log odds of each label taken off", feelings.top_1_centred, feelings.top_3_centred),
        ("always the commonest", feelings.common_1, feelings.common_3),
    ]
    return "\n\n".join(
        [
            "## Agreement on what characters of stories feel (FairytaleQA)",
            f"Of {feelings.questions} questions about feelings, {feelings.feelings} name a character and have an "
            f"answer that names one of {feelings.labels} labels; the reader reads the section. Macro AUC "
            f"{number(feelings.macro_auc)}; where the label that people gave stands:",
            markdown_table(
                ["", "first", "among the first three"], [[name, f"{a:.1%}", f"{b:.1%}"] for name, a, b in rows]
            ),
            "Sections are narration, longer than what the reader was trained on, with several characters, and the "
            "feeling often follows from what happens instead of being said. The figures tell how the reader does far "
            "from its training data; they do not measure how well it reads utterances.",
        ]
    )
