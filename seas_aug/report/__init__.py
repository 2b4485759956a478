# SPDX-License-Identifier: Apache-2.0
"""Pictures of what was measured: contact sheets and the demo's page."""
