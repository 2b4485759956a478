# SPDX-License-Identifier: Apache-2.0
"""What is compared in each task of a benchmark."""

SEGMENTATION_SOURCES = ("few_shot", "cutpaste", "placed_paste", "seas")
QUALITY_SOURCES = ("perlin", "cutpaste", "seas")
QUALITY_FEATURES = {"wavelets": 128, "inception": 256}
"""Side of the images in pixels, by the features that they are compared with."""
