# SPDX-License-Identifier: Apache-2.0
"""Generators: how rows are made: prompts, characters, evidence, utterances, and the model backends."""
