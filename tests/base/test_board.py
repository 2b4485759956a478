# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import cv2
import numpy as np
import pytest

import seas_aug.base.renderer.board.folder as board_folder
from seas_aug.base.renderer import noise
from seas_aug.base.renderer.board import (
    BOARD_DEFECTS,
    BoardSettings,
    Photo,
    render_board,
    render_numbered,
    render_photo,
)
from seas_aug.base.renderer.board.part import make_layout
from seas_aug.data.category import read_mvtec_folder
from seas_aug.data.few_shot import select_few_shot
from seas_aug.data.images import check_category_images
from seas_aug.errors import SeasError

SMALL = BoardSettings(384, 256)
FEW = {"settings": SMALL, "normals": 3, "test_normals": 2, "per_type": 3, "few_shot": 2}
TYPES = pytest.mark.parametrize("name", list(BOARD_DEFECTS))


def photo(seed: int, settings: BoardSettings = SMALL, name: str | None = None) -> Photo:
    return render_photo(np.random.default_rng(seed), settings, name)


def dilate(mask: np.ndarray, pixels: int) -> np.ndarray:
    return cv2.dilate(mask, np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8))


def extent(mask: np.ndarray) -> int:
    return max(cv2.boundingRect(mask)[2:])


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_board(tmp_path_factory.mktemp("board") / "board", **FEW)


@TYPES
def test_same_seed_same_pixels_other_seed_other_pixels(name: str) -> None:
    one, same, other = photo(3, name=name), photo(3, name=name), photo(4, name=name)
    assert np.array_equal(one.image, same.image)
    assert np.array_equal(one.mask, same.mask)
    assert not np.array_equal(one.twin, other.twin)
    assert not np.array_equal(one.mask, other.mask)


@TYPES
def test_the_twin_is_the_photo_without_the_defect(name: str) -> None:
    normal, defect = photo(5), photo(5, name=name)
    assert np.array_equal(normal.image, normal.twin)
    assert np.array_equal(normal.image, defect.twin)
    assert np.array_equal(normal.support, defect.support)
    assert not normal.mask.any()
    assert not normal.allowed.any()
    assert normal.anomaly_type is None


@pytest.mark.parametrize(
    "settings",
    [
        BoardSettings(256, 192),
        BoardSettings(385, 257),
        BoardSettings(300, 501),
        BoardSettings(640, 200),
        BoardSettings(256, 192, scale=0.5),
        BoardSettings(515, 387, scale=2.0),
    ],
    ids=str,
)
def test_sizes(settings: BoardSettings) -> None:
    for name in BOARD_DEFECTS:
        made = photo(0, settings, name)
        shape = (settings.height, settings.width)
        assert made.image.shape == made.twin.shape == (*shape, 3)
        assert made.mask.shape == made.support.shape == made.allowed.shape == shape
        assert {made.image.dtype, made.mask.dtype, made.support.dtype, made.allowed.dtype} == {np.dtype(np.uint8)}
        assert set(np.unique(made.mask)) == {0, 1}
        assert 0.5 < made.support.mean() < 0.95  # there is a backdrop
        assert extent(made.mask) <= 66 * settings.scale


@TYPES
def test_masks_are_exact_and_where_the_type_may_lie(name: str) -> None:
    for seed in range(10):
        made = photo(seed, name=name)
        difference = np.abs(made.image.astype(int) - made.twin).mean(axis=-1)
        inside = made.mask > 0
        assert not difference[dilate(made.mask, 2) == 0].any()
        assert (difference[inside] > 2).mean() > 0.9
        assert difference[inside].mean() > 12
        assert made.allowed[inside].all()
        assert made.support[inside].all()


@TYPES
def test_sizes_at_full_resolution(name: str) -> None:
    """Small in a large picture, and different from one another."""
    made = [photo(seed, BoardSettings(), name) for seed in range(2)]
    # A smaller board of the same scale has the same defects and is drawn faster.
    made += [photo(seed, BoardSettings(700, 500), name) for seed in range(16)]
    extents = np.asarray([extent(one.mask) for one in made])
    areas = np.asarray([one.mask.sum() for one in made])
    assert ((extents >= 20) & (extents <= 60)).mean() >= 0.9
    assert np.log(areas).std() > 0.25
    assert (areas >= BOARD_DEFECTS[name].smallest).mean() > 0.9


def test_place_matters() -> None:
    """Copper is missing inside tracks and added at their edges; pores are in bare metal."""
    for seed in range(6):
        for name in ("open", "spur"):
            made = photo(seed, name=name)
            tracks = made.places["open"]
            assert (dilate(made.mask, 2) & tracks).any()
            red_minus_green = made.image.astype(int)[..., 0] - made.image[..., 1]
            before = made.twin.astype(int)[..., 0] - made.twin[..., 1]
            change = (red_minus_green - before)[made.mask > 0].mean()
            assert change > 10 if name == "spur" else change < -10
        assert not (tracks & made.places["spur"]).any()
        assert not (tracks & made.places["pit"]).any()
        assert not (made.places["spur"] & made.places["pit"]).any()
        assert made.places["scratch"].sum() > made.places["pit"].sum() > made.places["open"].sum() > 0


def test_one_product_with_small_variation() -> None:
    photos = np.stack([photo(seed).image for seed in range(12)]).astype(float)
    mean = photos.mean(axis=0)
    assert mean.std() > 0.7 * photos.std(axis=(1, 2, 3)).mean()  # the mean photo still shows the part
    assert 3 < np.abs(photos - mean).mean() < 40


def test_a_larger_picture_has_more_tracks_of_the_same_width() -> None:
    small, large = make_layout(700, 500, 1.0).segments, make_layout(1536, 1024, 1.0).segments
    assert len(large) > 2 * len(small)
    assert set(np.unique(small[:, 4])) <= set(np.unique(large[:, 4]))


def test_layout_of_the_folder(root: Path) -> None:
    category = read_mvtec_folder(root)
    assert category.anomaly_types == tuple(sorted(BOARD_DEFECTS))
    assert (len(category.normals), len(category.test_others)) == (3, 2)
    split = select_few_shot(category, str(root / "split.json"))
    check_category_images(split, category.normals)
    assert {(len(split.few_shot[name]), len(split.held_out[name])) for name in BOARD_DEFECTS} == {(2, 1)}
    assert cv2.imread(str(category.normals[0])).shape == (256, 384, 3)


def test_files_are_the_numbered_photos(root: Path) -> None:
    for folder in ("train/good", "test/good", "test/open", "test/stain"):
        made = render_numbered(folder, 1, settings=SMALL)
        read = cv2.imread(str(root / folder / "001.png"))[..., ::-1]
        assert np.array_equal(read, made.image)
        support = cv2.imread(str(root / "support" / folder.replace("/", "_") / "good" / "001.png"), 0)
        assert np.array_equal(support, made.support * 255)
    mask = cv2.imread(str(root / "ground_truth" / "stain" / "001_mask.png"), 0)
    assert np.array_equal(mask, made.mask * 255)
    with pytest.raises(SeasError, match="test/hole"):
        render_numbered("test/hole", 0)


def test_anomalib_passes_the_support_over(root: Path) -> None:
    from anomalib.data.datasets.image.mvtecad import make_mvtec_ad_dataset

    assert len(make_mvtec_ad_dataset(root, "train")) == 3
    test = make_mvtec_ad_dataset(root, "test")
    assert len(test) == 2 + 3 * len(BOARD_DEFECTS)
    assert not test.image_path.str.contains("support").any()


def test_same_seed_same_files_and_no_two_photos_alike(root: Path, tmp_path: Path) -> None:
    again = content(render_board(tmp_path / "a", **FEW))
    assert again == content(root)
    assert content(render_board(tmp_path / "b", seed=1, **FEW))["train/good/000.png"] != again["train/good/000.png"]
    photos = [data for name, data in again.items() if name.startswith(("train", "test"))]
    assert len(set(photos)) == len(photos) == 5 + 3 * len(BOARD_DEFECTS)


def test_made_folder_is_kept_and_a_foreign_one_refused(root: Path, tmp_path: Path) -> None:
    before = (root / "train" / "good" / "000.png").stat().st_mtime_ns
    render_board(root, **FEW)
    assert (root / "train" / "good" / "000.png").stat().st_mtime_ns == before
    with pytest.raises(SeasError, match="other files"):
        render_board(root, seed=1, **FEW)
    (root / "board.json").write_text("torn")
    with pytest.raises(SeasError, match="other files"):
        render_board(root, **FEW)
    (tmp_path / "photo.png").touch()
    with pytest.raises(SeasError, match="other files"):
        render_board(tmp_path)


def test_interrupted_folder_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(folder: str, *_: object) -> Photo:
        if folder == "test/pit":
            raise KeyboardInterrupt
        return photo(0)

    with monkeypatch.context() as patch:
        patch.setattr(board_folder, "render_numbered", stop)
        with pytest.raises(KeyboardInterrupt):
            render_board(tmp_path / "board", **FEW)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong", [{"normals": 1}, {"test_normals": 0}, {"per_type": 0}, {"few_shot": 0}, {"few_shot": 4}]
)
def test_counts_out_of_range(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(SeasError, match=next(iter(wrong))):
        render_board(tmp_path / "board", **{**FEW, **wrong})
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize(
    "wrong", [{"width": 100}, {"height": 100}, {"width": 20000}, {"scale": 0.1}, {"scale": 2, "height": 300}]
)
def test_settings_out_of_range(wrong: dict) -> None:
    with pytest.raises(SeasError, match=list(wrong)[-1]):
        BoardSettings(**wrong)


def test_unknown_type() -> None:
    with pytest.raises(SeasError, match="hole"):
        photo(0, name="hole")


def test_random_fields_of_any_shape() -> None:
    for field in (
        noise.spectral_noise(np.random.default_rng(0), (31, 50), 1.0),
        noise.streaks(np.random.default_rng(0), (31, 50), 9, 0.5),
    ):
        assert field.shape == (31, 50)
        assert abs(field.std() - 1) < 1e-3
    rng = np.random.default_rng(0)
    assert noise.blob(rng, (31, 50), (40, 10), 5, 0.2)[:, 25:].sum() > 20
    assert noise.stroke((31, 50), np.asarray([[30.0, 10], [45, 20]]), 2.0)[:, 25:].sum() > 20
    # A side is a square.
    side = noise.spectral_noise(np.random.default_rng(1), 32, 0.7)
    assert np.array_equal(side, noise.spectral_noise(np.random.default_rng(1), (32, 32), 0.7))
