# SPDX-License-Identifier: Apache-2.0
"""Procedural inspection images: surfaces, parts and generic defects with exact masks and prompts."""
