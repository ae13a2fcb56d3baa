# SPDX-License-Identifier: Apache-2.0
"""One file per backend, imported only when a recipe names it; the only place that imports an engine."""
