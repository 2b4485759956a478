# SPDX-License-Identifier: Apache-2.0
"""What a fine-tuned model sees in real images: attention maps and predicted masks."""
