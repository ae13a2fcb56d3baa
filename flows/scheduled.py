# SPDX-License-Identifier: Apache-2.0
"""The flow that a schedule runs: it makes the next version of a dataset, publishes it if it passes, and says so.

Prefect imports this module by its name, in a process of its own for each run: a version that hangs or is killed takes
nothing with it. What is shown in Prefect's interface are names and figures, never rows, and no key is a parameter.
"""

from collections.abc import Mapping
from pathlib import Path

from prefect import flow
from prefect.events import emit_event

from flows.progress import SilentProgress
from flows.versions import Destination, Happening, make_next

EVENT = "affectory.version"
RESOURCE = "affectory.dataset"


@flow(name="affectory-next-version", persist_result=False, validate_parameters=True, log_prints=False)
def next_version(  # noqa: PLR0917 - parameters of a deployment, all by name
    recipe: str,
    versions: str,
    settings: list[str] | None = None,
    repo: str | None = None,
    public: bool = False,
    branch: str = "main",
    allow: list[str] | None = None,
) -> int:
    """Make the next version of the dataset of a recipe, and give its number.

    `versions` is the folder of all versions; the other parameters are those of `affectory schedule`.
    """
    dataset = Path(versions).name

    def tell(happening: Happening, figures: Mapping[str, object]) -> None:
        emit_event(
            f"{EVENT}.{happening}",
            resource={"prefect.resource.id": f"{RESOURCE}.{dataset}", "prefect.resource.name": dataset},
            payload=dict(figures),
        )

    made = make_next(
        Path(recipe),
        settings or [],
        Path(versions),
        SilentProgress(),
        destination=Destination(repo, public, branch, tuple(allow or ())) if repo else None,
        tell=tell,
    )
    return made.number
