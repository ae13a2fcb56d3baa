# SPDX-License-Identifier: Apache-2.0
"""Flows: when, where and with what rows are made: recipe, storage, Prefect flow, command line."""
