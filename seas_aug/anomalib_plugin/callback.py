# SPDX-License-Identifier: Apache-2.0
"""``SeasAugmentation``: the Lightning callback that gives a detector its anomalies, or more normal images."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from seas_aug.anomalib_plugin.automatic import AutomaticSettings, prepare_pool, prepare_run, stream_folder
from seas_aug.anomalib_plugin.leakage import LeakFilter, restore_evaluation
from seas_aug.anomalib_plugin.one_class import AddedNormals, normal_images
from seas_aug.anomalib_plugin.opponents import opponent_pool
from seas_aug.anomalib_plugin.options import check_options
from seas_aug.anomalib_plugin.pool import PairPool, PoolEntry
from seas_aug.anomalib_plugin.producer import Follower, Producer
from seas_aug.anomalib_plugin.registry import DetectorAdapter, find_adapter, import_adapters, is_one_class
from seas_aug.anomalib_plugin.selection import check_groups, check_same_split, group_tables, select_from_datamodule
from seas_aug.anomalib_plugin.shown import ShownImages
from seas_aug.anomalib_plugin.sources import DefectSource, Origin, TripleSource
from seas_aug.anomalib_plugin.streamed import StreamedPool
from seas_aug.anomalib_plugin.synthetic_split import fill_with_pairs, settle_normals, synthetic_subsets
from seas_aug.anomalib_plugin.views import check_views, warn_of_blurred_pairs, warn_of_other_views
from seas_aug.config import DrawConfig
from seas_aug.data.few_shot import FewShotSplit
from seas_aug.data.selection import Selection
from seas_aug.data.split_file import load_split
from seas_aug.errors import SeasError
from seas_aug.generate.stream import StreamSettings

logger = logging.getLogger(__name__)
_FIRST_PAIRS = 8  # of each type, before a detector starts on a stream
_NUM_IMAGES = 100
_EVALUATED = ("fit", "validate", "test")


class SeasAugmentation(Callback):
    """Train an anomalib detector on generated defects, and evaluate it without the images that SeaS was shown.

    The pairs come from ``generated``, else from the model in ``run``, else from a model that is fine-tuned now on a few
    of the datamodule's own defect images (found again in the cache by later runs). A detector that learns from normal
    images alone, such as PatchCore, gets generated normal images instead, and never a defect. Where the datamodule has
    ``val_split_mode`` or ``test_split_mode`` ``synthetic``, generated pairs take the place of its Perlin anomalies,
    whatever the source.

    Args:
        run: run folder of ``seas-aug finetune``.
        generated: folder of ``seas-aug generate``; no SeaS model is needed then.
        source: ``seas`` trains on generated pairs. The others are to compare with, on the same evaluation images:
            ``cutpaste`` pastes the few-shot defects on normal images, ``placed_paste`` where SeaS would draw them (but
            draws nothing), ``perlin`` leaves the detector as it is, and
            ``none`` takes its own image anomalies away. Only ``seas`` adds normal images to a one-class detector.
        root: folder in MVTec layout with the few-shot defect images, instead of the datamodule's own test set
            (automatic fine-tuning only).
        few_shot: leading fraction, or number above 1, of each type, or a ``split.json`` (automatic fine-tuning only).
        groups: CSV with ``folder,file,group``; a group is never divided: it leaves validation and test where SeaS was
            shown one image of it.
        base: base model (automatic fine-tuning only).
        max_steps: updates of each of the two fine-tuning stages; None takes the defaults (automatic only).
        cache: folder for automatically made models and pools; None takes ``$SEAS_AUG_CACHE``, else the user's cache.
        anomaly_types: only these types; None takes all of them.
        num_images: pairs per type, or normal images for a one-class detector. None generates 100, and takes all that a
            ``generated`` folder has.
        drawing: for pairs that are made now: the region where defects may lie, your own masks, which normal images,
            how many defects and how large, their severity, see :class:`~seas_aug.config.DrawConfig`.
        probability: share of the images in a batch that get a defect; None takes the detector's own default.
        perlin_ratio: share of those defects that come from anomalib's Perlin source.
        seed: seed of every draw.
        adapters: modules to import first, such as ``my_package.my_detector``, that register adapters for detectors.
        stream: another process keeps renewing the pairs while the detector trains, at most ``num_images`` of each type
            at a time; without it they are made once.
        stream_uses: a streamed pair is renewed for so many that are drawn: fewer, more variety and more work.
        stream_max_uses: the training waits for the stream rather than draw more than so many pairs for each that was
            made; None never waits.
        stream_accelerator: where the stream is made: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps``.
        stream_threads: CPU threads of the stream; None takes torch's default.
        few_shot_elsewhere: the few-shot images of ``run`` or ``generated`` are on purpose not in the datamodule, as
            always with ``root``. Else it is an error if none of them is, as in a resized copy of the data set.
    """

    def __init__(
        self,
        run: str | None = None,
        generated: str | None = None,
        source: Origin = "seas",
        root: str | None = None,
        few_shot: str | float = "0.3333",
        groups: str | None = None,
        base: str = "embedded",
        max_steps: int | None = None,
        cache: str | None = None,
        anomaly_types: list[str] | None = None,
        num_images: int | None = None,
        drawing: DrawConfig | None = None,
        probability: float | None = None,
        perlin_ratio: float = 0.0,
        seed: int = 0,
        adapters: list[str] | None = None,
        stream: bool = False,
        stream_uses: int = 4,
        stream_max_uses: int | None = None,
        stream_accelerator: str = "auto",
        stream_threads: int | None = None,
        few_shot_elsewhere: bool = False,
    ) -> None:
        self._most = num_images
        self.run = Path(run) if run else None
        self.generated = Path(generated) if generated else None
        self.source = source
        self.probability = probability
        self.perlin_ratio = perlin_ratio
        self.seed = seed
        self.adapters = tuple(adapters or ())
        self.stream = stream
        self.stream_uses = stream_uses
        self.stream_max_uses = stream_max_uses
        self.stream_accelerator = stream_accelerator
        self.stream_threads = stream_threads
        self.few_shot_elsewhere = few_shot_elsewhere
        self.settings = AutomaticSettings(
            root=Path(root) if root else None,
            few_shot=str(few_shot),
            groups=Path(groups) if groups else None,
            base=base,
            max_steps=max_steps,
            cache=cache,
            anomaly_types=tuple(anomaly_types) if anomaly_types else None,
            num_images=_NUM_IMAGES if num_images is None else num_images,
            seed=seed,
            drawing=drawing or DrawConfig(),
        )
        self._datamodule: Any = None
        self._filter: LeakFilter | None = None
        self._selection: Selection | None = None
        self._adapter: DetectorAdapter | None = None
        self._defects: DefectSource | None = None
        self._added: AddedNormals | None = None
        self._producer: Producer | Follower | None = None
        self._warned = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the pairs, clean the evaluation sets, and connect the detector.

        Lightning has already run the datamodule's own ``setup``, so its splits exist and stay as they are.

        Args:
            trainer: the trainer, with an anomalib datamodule.
            pl_module: the detector.
            stage: ``fit``, ``validate`` or ``test``; ``predict`` is left alone.

        Raises:
            SeasError: a share outside [0, 1], fewer than one pair per type, no datamodule, a detector without an
                adapter, a folder that cannot be used, few-shot images that were changed or are not found, or generated
                images to evaluate on that the detector would see less sharply than real ones.
        """
        stage = str(getattr(stage, "value", stage))
        if stage not in _EVALUATED:
            return
        datamodule = getattr(trainer, "datamodule", None)
        if datamodule is None:
            message = "SeasAugmentation saw no datamodule; give the Engine `datamodule=`, not separate data loaders."
            raise SeasError(message)
        self._check_options(datamodule)
        for module in self.adapters:
            import_adapters(module)
        one_class = stage == "fit" and is_one_class(pl_module)
        if one_class and self.stream:
            name = type(pl_module).__name__
            message = f"augmentation.stream renews defects, and {name} learns from normal images alone; leave it out."
            raise SeasError(message)
        attaching = stage == "fit" and self.source != "perlin" and not one_class
        adapter = find_adapter(pl_module) if attaching else None  # before anything that takes long
        self._clean_evaluation(datamodule)
        self._use_device_of(trainer)
        reserved = self._fill_synthetic_sets(datamodule, pl_module)
        pool = self._pool(trainer, datamodule, reserved) if attaching else None
        normals = (
            normal_images(self._pool_folder(normals=True), self._most) if one_class and self.source == "seas" else []
        )
        if adapter is not None and pool is not None:
            generator = torch.Generator().manual_seed(self.seed)
            share = adapter.default_probability if self.probability is None else self.probability
            self._defects = DefectSource(pool, share if len(pool) else 0.0, self.perlin_ratio, generator)
            self._adapter = adapter
            adapter.attach(pl_module, self._defects)
            print(f"seas-aug: {self._what(pool)}.", flush=True)
        if one_class:
            name = type(pl_module).__name__
            gets = f"it gets {len(normals)} generated ones more" if normals else "its training set stays as it is"
            print(f"seas-aug: {name} learns from normal images alone; {gets}, and no defect.", flush=True)
        if normals:
            warn_of_other_views(pl_module, datamodule.train_data, normals)
            self._added = AddedNormals(datamodule, normals)

    @property
    def pool(self) -> TripleSource | None:
        """What the detector is trained on, while it is trained; None otherwise."""
        return None if self._defects is None else self._defects.pool

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the draws from seed, process and step, so that a resumed run goes on with other pairs."""
        del pl_module
        if self._defects is not None:
            self._defects.pool.reshuffle()
            self._defects.generator.manual_seed(self.seed + 1_000_003 * trainer.global_rank + trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Let the adapter prepare the batch; Lightning calls this before the detector's own pre-processor."""
        del trainer
        if self._adapter is not None and self._defects is not None:
            if batch_idx == 0 and not self._warned:
                self._warned = warn_of_blurred_pairs(batch.image.shape[-2:], self._defects.pool.native_size)
            self._adapter.prepare_batch(pl_module, batch)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put the detector back as it was."""
        del trainer, stage
        self._detach(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put the detector back as it was after an error or Ctrl+C; Lightning calls no teardown then."""
        del trainer, exception
        self._detach(pl_module)

    def _check_options(self, datamodule: Any) -> None:
        names = ("probability", "perlin_ratio", "source", "generated", "stream", "stream_uses", "stream_max_uses")
        own = {name: getattr(self, name) for name in names}
        others = {"drawing": self.settings.drawing, "num_images": self.settings.num_images}
        check_options({**own, **others, "synthetic": bool(synthetic_subsets(datamodule))})

    def _clean_evaluation(self, datamodule: Any) -> None:
        """Take what SeaS was shown out of validation and test: before anything that takes long, as it may refuse."""
        restore_evaluation(datamodule)  # an earlier callback may have chosen others
        settle_normals(datamodule, self.seed)
        if self._filter is None or self._datamodule is not datamodule:
            self._datamodule, self._selection = datamodule, None
            shown, root = self._shown(datamodule), self.settings.root if self._selection else None
            tables = group_tables(datamodule, dataclasses.replace(self.settings, root=root))
            self._filter = LeakFilter(shown, tables, elsewhere=self.few_shot_elsewhere or root is not None)
        removed = self._filter.remove_from(datamodule)
        if any(removed.values()):
            lost = ", ".join(f"{count} from {name}" for name, count in removed.items())
            print(f"seas-aug: few-shot images taken out of evaluation: {lost}.", flush=True)

    def _use_device_of(self, trainer: Trainer) -> None:
        """Fine-tune and generate on the CPU where the detector was told to train there."""
        device = getattr(getattr(trainer, "strategy", None), "root_device", None)
        if getattr(device, "type", None) == "cpu":
            self.settings = dataclasses.replace(self.settings, accelerator="cpu")

    def _detach(self, model: LightningModule) -> None:
        if self._adapter is not None:
            self._adapter.detach(model)
        if self._added is not None:
            self._added.remove()
        if self._producer is not None:
            self._producer.stop()
        self._adapter = self._defects = self._added = self._producer = None

    def _what(self, pool: TripleSource) -> str:
        types = ", ".join(pool.anomaly_types)
        return {
            "seas": f"training on {len(pool)} pairs of {types}",
            "cutpaste": f"training on {len(pool)} few-shot defects of {types}, pasted on normal images",
            "placed_paste": f"training on {len(pool)} few-shot defects of {types}, pasted where they fit",
            "none": "training without the detector's own image anomalies",
        }[self.source]

    def _fill_synthetic_sets(self, datamodule: Any, model: LightningModule) -> list[PoolEntry]:
        """Put pairs into synthetic validation and test sets; return them, to be left out of training."""
        if not synthetic_subsets(datamodule):
            return []
        pairs = PairPool(self._pool_folder(), self.settings.anomaly_types, most=self._most).entries
        check_views(model, datamodule, [entry.image for entry in pairs])
        return fill_with_pairs(datamodule, pairs, self.seed)

    def _pool(self, trainer: Trainer, datamodule: Any, reserved: list[PoolEntry]) -> TripleSource:
        if self.source != "seas":
            return opponent_pool(self.source, datamodule, partial(self._saved_split, datamodule), self.settings)
        if self.stream:
            return self._streamed(trainer)
        return PairPool(self._pool_folder(), self.settings.anomaly_types, without=reserved, most=self._most)

    def _streamed(self, trainer: Trainer) -> StreamedPool:
        run = prepare_run(self.settings, self.run, self._selection)
        types = self.settings.anomaly_types or load_split(run / "split.json").split.anomaly_types
        settings = StreamSettings(
            run=run,
            folder=stream_folder(self.settings, run),
            num_images=self.settings.num_images,
            uses=self.stream_uses,
            anomaly_types=tuple("+".join(sorted(name.split("+"))) for name in types),
            seed=self.settings.seed + 1,  # other pairs than those of a fixed pool, which validation may have
            accelerator=self.stream_accelerator,
            threads=self.stream_threads,
            drawing=self.settings.drawing,
        )
        self._producer = Producer(settings) if trainer.is_global_zero else Follower(settings)
        return StreamedPool(
            self._producer,
            settings.folder,
            settings.anomaly_types,
            min(_FIRST_PAIRS, self.settings.num_images),
            readers=trainer.world_size,
            max_uses=self.stream_max_uses,
        )

    def _saved_split(self, datamodule: Any) -> tuple[FewShotSplit, Sequence[Path]]:
        """Return the few-shot defects and the normal images that SeaS draws on."""
        for folder in (self.run, self.generated):
            if folder is not None:
                saved = load_split(folder / "split.json")
                return saved.split, saved.normals
        self._selection = self._selection or select_from_datamodule(datamodule, self.settings)
        return self._selection.split, self._selection.normals

    def _shown(self, datamodule: Any) -> ShownImages:
        """Return what SeaS was shown, or is going to be."""
        folder = self.run or self.generated
        if folder is not None and (self.run is not None or (folder / "split.json").is_file()):
            shown = ShownImages.from_saved(load_split(folder / "split.json"))
            check_same_split(self.run, self.generated)
            if self.settings.groups is not None:
                check_groups(datamodule, self.settings.groups, shown.images)
            return shown
        if self.generated is not None:
            logger.warning(
                "%s does not exist, so it is not known which images SeaS was fine-tuned on, and only the normal images "
                "that it drew on are taken out of validation and test; give the run folder as well (augmentation.run).",
                self.generated / "split.json",
            )
            return ShownImages.from_references(self.generated)
        self._selection = self._selection or select_from_datamodule(datamodule, self.settings)
        return ShownImages.from_files(self._selection.split, self._selection.normals)

    def _pool_folder(self, normals: bool = False) -> Path:
        if self.generated is not None:
            return self.generated
        return prepare_pool(self.settings, run=self.run, selection=self._selection, normals=normals)
