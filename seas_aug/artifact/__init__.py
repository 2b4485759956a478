# SPDX-License-Identifier: Apache-2.0
"""Folders that outlive a process: written whole or not at all, one writer at a time, and what they were made from."""
