# SPDX-License-Identifier: Apache-2.0
"""Which emotion each speaker of a dialogue feels at each turn, planned before a word is written; no model in it."""
