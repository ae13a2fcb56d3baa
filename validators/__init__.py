# SPDX-License-Identifier: Apache-2.0
"""Validators: what a good row is: records, taxonomies, gates, duplicates, suites."""
