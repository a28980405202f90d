# SPDX-License-Identifier: GPL-2.0
"""What Sphinx has to know to build this folder: scripts/lint docs."""

project = "rust_gup"
html_theme = "alabaster"
