# SPDX-License-Identifier: Apache-2.0
"""A small real model in the two forms that the engines read."""

from pathlib import Path

import platformdirs
import pytest

from flows.weights import ResolvedWeights, WeightsSpec, dequantised, resolve_weights


@pytest.fixture(scope="session")
def weights_cache() -> Path:
    """The user's own cache: what takes long to make is made once and not once per session."""
    return Path(platformdirs.user_cache_dir("affectory"))


@pytest.fixture(scope="session")
def smollm2(weights_cache: Path) -> ResolvedWeights:
    return resolve_weights(WeightsSpec(package="smollm2-135m"), cache=weights_cache)


@pytest.fixture(scope="session")
def smollm2_folder(smollm2: ResolvedWeights, weights_cache: Path) -> Path:
    return dequantised(smollm2.path, cache=weights_cache)
