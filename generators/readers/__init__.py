# SPDX-License-Identifier: Apache-2.0
"""Blind readers: each scores every label of a taxonomy for a text, never told what was intended."""
