# SPDX-License-Identifier: Apache-2.0
"""Any number of generated pairs in MVTec layout, with a manifest; a killed run continues."""
