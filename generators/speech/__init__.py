# SPDX-License-Identifier: Apache-2.0
"""How clips are made: delivery, voices, the text that is spoken, the best of several takes."""
