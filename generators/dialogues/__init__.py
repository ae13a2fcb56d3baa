# SPDX-License-Identifier: Apache-2.0
"""Dialogues: what they are about, and later who speaks and how they are written."""
