# SPDX-License-Identifier: Apache-2.0
"""The taxonomies that come with the package, as data."""
