# SPDX-License-Identifier: Apache-2.0
"""Stand-ins that behave like the real thing at its worst."""
