"""What Lightning trains for search by text: images and captions in one space, judged by recall on validation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..encoders import ModelConfig
from ..errors import ConfigError
from ..losses import (
    CaptionMatches,
    ConceptAlignment,
    ContrastiveLoss,
    CrossModalLoss,
    EmbeddingQueue,
    PairRelevance,
    anchor_rarity,
    gather_rows,
    pair_relevance,
)
from ..metrics import evaluate_image_text
from ..models import Embedding, ImageTextEmbedder, MomentumEncoder
from ..registry import nearest
from ..relevance import concept_relevance
from ..texts import RECALL_RANKS
from .base_task import SELECTION, RetrievalTask
from .caption_sections import ObjectivesConfig
from .caption_table import CaptionTable
from .datamodule import Batch
from .sections import AugmentationConfig, OptimizerConfig

__all__ = ["ConceptTargets", "ImageTextTask", "Objectives"]

_TEXT_BATCH = 256
_NO_TEXT = -1


@dataclass(frozen=True, eq=False)
class ConceptTargets:
    """Concepts of the training images: (I, C) scores in 0..1 in the order of the split, and (C,) rarities."""

    scores_IC: Tensor
    rarity_C: Tensor


class Objectives(nn.Module):
    """The losses of an image-text training; None for those that are left out."""

    def __init__(
        self,
        config: ObjectivesConfig,
        contrast: CrossModalLoss | None,
        triplet: CrossModalLoss | None,
        alignment: ConceptAlignment | None,
        labels: ContrastiveLoss | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.contrast, self.triplet, self.alignment, self.labels = contrast, triplet, alignment, labels

    def weight(self, name: str, epoch: int) -> float:
        """Factor on a term in an epoch: 0 before its first."""
        config = getattr(self.config, name)
        return float(config.weight) if epoch >= config.first_epoch and getattr(self, name) is not None else 0.0


class _Side(NamedTuple):
    """Images or captions that are compared.

    Attributes:
        vectors_ND: unit vectors.
        images_N: places in the split of the images that they are, or belong to.
        texts_N: numbers of the captions' texts; -1 for images.
        logits_NC: concept scores before the sigmoid, of the batch alone.
    """

    vectors_ND: Tensor
    images_N: Tensor
    texts_N: Tensor
    logits_NC: Tensor | None = None

    def followed_by(self, queue: EmbeddingQueue | None) -> _Side:
        """These, then what the queue holds."""
        if queue is None:
            return self
        past = queue.view()
        return _Side(
            torch.cat([self.vectors_ND, past.embeddings_MD.to(self.vectors_ND)]),
            torch.cat([self.images_N, past.ids_M]),
            torch.cat([self.texts_N, past.text_ids_M]),
        )


class ImageTextTask(RetrievalTask):
    """Trains an image-text embedder on images with captions.

    Each batch has images and, for each, some of its captions. The terms of the loss (`Objectives`) compare all images
    with all captions, both ways: a caption is right for an image if it is one of the image's captions or reads like
    one of them; with `overlap`, a caption of an image with overlapping concepts is right in part.

    Args:
        network: both sides; image backbone and pretrained text encoder get learning rates of their own.
        objectives: the losses.
        captions: of the training split, in the order of its rows.
        validation: captions of the validation split; None without validation.
        config: of the model to be: normalisation, input size.
        per_image: captions of each image in a batch.
        text_lr: peak learning rate of a pretrained text encoder; None where it starts from random weights.
        concepts: of the training images; needed by alignment and overlap.
        key_network: of the same form as `network`, from a draw of its own: needed by momentum contrast as published.
        select: recalls whose mean chooses the best checkpoint: "mR", "i2t_R@1", ...
        optimizer: as `RetrievalTask`.
        augmentation: likewise.
        pretrained: likewise.
        frozen: likewise.
        seed: likewise.

    Raises:
        ConfigError: `select` names something that is not measured, or an objective lacks concepts.
    """

    module_name = "network"
    concepts_IC: Tensor | None
    rarity_C: Tensor | None

    def __init__(
        self,
        network: ImageTextEmbedder,
        objectives: Objectives,
        captions: CaptionTable,
        validation: CaptionTable | None,
        config: ModelConfig,
        *,
        optimizer: OptimizerConfig,
        augmentation: AugmentationConfig,
        pretrained: bool,
        per_image: int = 1,
        text_lr: float | None = None,
        concepts: ConceptTargets | None = None,
        key_network: ImageTextEmbedder | None = None,
        select: Sequence[str] = ("mR",),
        frozen: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(
            network.image,
            config,
            optimizer=optimizer,
            augmentation=augmentation,
            pretrained=pretrained,
            frozen=frozen,
            seed=seed,
        )
        self.network, self.objectives = network, objectives
        self.captions, self.validation = captions, validation
        self.per_image, self.text_lr, self.select = per_image, text_lr, tuple(select)
        self.terms = tuple(f"train/{name}" for name, part in objectives.named_children())
        known = ["mR", *(f"{way}_R@{k}" for way in ("i2t", "t2i") for k in RECALL_RANKS)]
        for name in self.select:
            if name not in known:
                raise ConfigError(f"trainer.select: {name!r} is no recall of captions: {nearest(name, known)}")
        self.matches = CaptionMatches(captions.captions_IK)
        contrast = objectives.config.contrast
        if concepts is None and (objectives.config.overlap or objectives.alignment is not None):
            raise ConfigError("alignment and overlap need concepts: no word of the captions became one")
        self.register_buffer("concepts_IC", None if concepts is None else concepts.scores_IC, persistent=False)
        self.register_buffer("rarity_C", None if concepts is None else concepts.rarity_C, persistent=False)
        self._begin_memory(contrast.queue, contrast.momentum, key_network)
        self._seen: list[Tensor] = []
        self._rows: list[Tensor] = []

    def _begin_memory(self, queue: int, momentum: float, drawn: ImageTextEmbedder | None) -> None:
        """Queues and key encoders of the contrast."""
        network, variant = self.network, self.objectives.config.variant
        with_memory = self.objectives.contrast is not None
        self.image_queue = EmbeddingQueue(queue, network.dim, 0) if queue and with_memory else None
        self.text_queue = EmbeddingQueue(queue, network.dim, 0) if queue and with_memory else None
        self.image_keys: MomentumEncoder | None = None
        self.text_keys: MomentumEncoder | None = None
        if momentum and with_memory:
            # The published update pairs all lists of parameters in one zip, which ends with the shortest.
            followed = min(len(list(side.parameters())) for side in (network.image, network.text))
            images, texts = (None, None) if drawn is None else (drawn.image, drawn.text)
            self.image_keys = MomentumEncoder(network.image, momentum, variant, followed, images)
            self.text_keys = MomentumEncoder(network.text, momentum, variant, followed, texts)
        if variant == "published":
            self._fill_queues()

    def _fill_queues(self) -> None:
        """Begin as published: full of random unit vectors, which are negatives until batches have replaced them."""
        generator = torch.Generator().manual_seed(self.seed)
        for queue in (self.image_queue, self.text_queue):
            if queue is not None:
                noise_MD = torch.randn(queue.embeddings.shape, generator=generator)
                queue.push(nn.functional.normalize(noise_MD, dim=1), queue.labels.clone())

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch over all ranks: the weighted sum of the terms that count in this epoch."""
        generator = self.begin_step(batch_index)
        if self.image_keys is not None and self.text_keys is not None:
            self.image_keys.update(self.network.image)
            self.text_keys.update(self.network.text)
        inputs = self.training_images(batch, generator)
        drawn = self.captions.draw(batch.ids_N.cpu(), self.per_image, generator)
        tokens_TL, mask_TL = drawn.tokens_TL.to(self.device), drawn.mask_TL.to(self.device)
        image, text = self.network(inputs, tokens_TL, mask_TL)
        images = self._side(image, batch.ids_N)
        texts = self._side(text, batch.ids_N[drawn.owner_T.to(self.device)], drawn.text_ids_T.to(self.device))
        keys = images, texts
        if self.image_keys is not None and self.text_keys is not None:
            keys = (
                images._replace(vectors_ND=gather_rows(self.image_keys(inputs))),
                texts._replace(vectors_ND=gather_rows(self.text_keys(tokens_TL, mask_TL))),
            )
        terms: dict[str, Callable[[], Tensor]] = {
            "contrast": lambda: self._contrast(images, texts, *keys),
            "triplet": lambda: self._both_ways(self.objectives.triplet, images, texts, images, texts),
            "alignment": lambda: self._align(images, texts),
            "labels": lambda: self._label_sets(images, gather_rows(batch.labels_NC)),
        }
        value = images.vectors_ND.new_zeros(())
        with torch.autocast(self.device.type, enabled=False):  # half precision loses the digits of a softmax
            for name, term in terms.items():
                if weight := self.objectives.weight(name, self.current_epoch):
                    part = term()
                    value = value + weight * part
                    self._log(f"train/{name}", part, len(batch.ids_N))
        self._log("train/loss", value, len(batch.ids_N))
        return value

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Embed a batch of images."""
        self._seen.append(self.network.image(self.validation_images(batch)))
        self._rows.append(batch.ids_N)

    def on_validation_epoch_end(self) -> None:
        """Search with every caption of the split among its images, and the other way round."""
        assert self.validation is not None
        count = len(self.validation.first_I) - 1
        images_ID, _ = self.gathered(self._seen, self._rows, count)
        self._seen.clear()
        self._rows.clear()
        parts, place_T = self.validation.batches(_TEXT_BATCH)
        texts = [self.network.text(part.tokens_TL.to(self.device), part.mask_TL.to(self.device)) for part in parts]
        vectors_TD = torch.cat(texts).float().cpu()[place_T].numpy()
        recalls = evaluate_image_text(images_ID, vectors_TD, self.validation.owner_T.numpy(), bootstrap=0).values
        for name in self.select:
            self.log(f"val/{name}", recalls[name])
        self.log(SELECTION, sum(recalls[name] for name in self.select) / len(self.select))

    def learning_rates(self) -> Iterator[tuple[float, Iterable[tuple[str, nn.Parameter]]]]:
        """Pretrained backbone and text encoder at their own rates, everything else at the head's."""
        own = {"image.backbone.": self.backbone_lr}
        if self.text_lr is not None:
            own["text.encoder."] = self.text_lr
        parameters = list(self.network.named_parameters())
        for prefix, lr in own.items():
            yield lr, [(name, parameter) for name, parameter in parameters if name.startswith(prefix)]
        rest = [(name, parameter) for name, parameter in parameters if not name.startswith(tuple(own))]
        yield self.optimizer_config.lr, [*rest, *self.objectives.named_parameters()]

    def _side(self, embedding: Embedding, images_N: Tensor, texts_N: Tensor | None = None) -> _Side:
        """One side of the batch over all ranks."""
        texts_N = torch.full_like(images_N, _NO_TEXT) if texts_N is None else texts_N
        logits_NC = embedding.concept_logits_NC
        return _Side(
            gather_rows(embedding.vectors_ND),
            gather_rows(images_N),
            gather_rows(texts_N),
            None if logits_NC is None else gather_rows(logits_NC),
        )

    def _contrast(self, images: _Side, texts: _Side, image_keys: _Side, text_keys: _Side) -> Tensor:
        """Images against captions of batch and queue, captions against images; then the batch joins the queues."""
        value = self._both_ways(
            self.objectives.contrast,
            images,
            texts,
            image_keys.followed_by(self.image_queue),
            text_keys.followed_by(self.text_queue),
        )
        for queue, side in ((self.image_queue, image_keys), (self.text_queue, text_keys)):
            if queue is not None:
                no_labels = side.vectors_ND.new_zeros(len(side.images_N), 0)
                queue.push(side.vectors_ND.detach(), no_labels, side.images_N, side.texts_N)
        return value

    def _both_ways(
        self,
        loss: CrossModalLoss | None,
        images: _Side,
        texts: _Side,
        other_images: _Side,
        other_texts: _Side,
    ) -> Tensor:
        """Mean of a loss from images to captions and from captions to images."""
        assert loss is not None
        forth, back = self._relevance(images, other_texts), self._relevance(other_images, texts)
        back = PairRelevance(back.relevance_NM.T, back.valid_NM.T)
        value = images.vectors_ND.new_zeros(())
        for queries, keys, pairs in ((images, other_texts, forth), (texts, other_images, back)):
            value = value + loss(
                queries.vectors_ND,
                keys.vectors_ND,
                pairs.relevance_NM,
                pairs.valid_NM,
                query_rarity_N=self._rarity(queries) if loss.adapts_to_rarity else None,
            )
        return value / 2

    def _rarity(self, queries: _Side) -> Tensor | None:
        """How rare the concepts of the queries' images are, for losses whose temperature follows it."""
        if self.concepts_IC is None or self.rarity_C is None:
            return None
        return anchor_rarity(self.concepts_IC[queries.images_N], self.rarity_C)

    @torch.no_grad()
    def _relevance(self, images: _Side, texts: _Side) -> PairRelevance:
        """How right each caption is for each image, (N, T), in 0..1, and which pairs count."""
        if self.objectives.config.variant == "published":
            return self._published_relevance(len(images.images_N), len(texts.images_N))
        matches_NT, overlap_NT = self.matches.matches(images.images_N, texts.texts_N), None
        if self.objectives.config.overlap and self.concepts_IC is not None:
            first, second = self.concepts_IC[images.images_N], self.concepts_IC[texts.images_N]
            overlap_NT = concept_relevance(first, second, self.rarity_C)
        own_NT = images.images_N[:, None] == texts.images_N
        return pair_relevance(matches_NT, overlap_NT, own_NM=own_NT, duplicates=self.objectives.config.duplicates)

    def _published_relevance(self, images: int, texts: int) -> PairRelevance:
        """Only what was drawn together belongs together; both sides begin with the batch, in one order.

        With a queue its entries are the negatives, and of the batch the positive alone counts.
        """
        own_NT = torch.eye(images, texts, dtype=torch.bool, device=self.device)
        valid_NT, batch = torch.ones_like(own_NT), min(images, texts)
        if images != texts:
            valid_NT[:batch, :batch] = own_NT[:batch, :batch]
        return PairRelevance(own_NT.float(), valid_NT)

    def _align(self, images: _Side, texts: _Side) -> Tensor:
        """Both sides' concept scores against the concepts of the image."""
        assert self.objectives.alignment is not None
        assert self.concepts_IC is not None
        values = [self.objectives.alignment(s.logits_NC, self.concepts_IC[s.images_N]) for s in (images, texts)]
        return torch.stack(values).sum()

    def _label_sets(self, images: _Side, labels_NC: Tensor) -> Tensor:
        """The loss on label sets, over the images that have labels: without any, they are unknown, not absent."""
        assert self.objectives.labels is not None
        known_N = labels_NC.any(1)
        value: Tensor = self.objectives.labels(
            images.vectors_ND[known_N], labels_NC[known_N], ids=images.images_N[known_N]
        )
        return value

    def _log(self, name: str, value: Tensor, count: int) -> None:
        self.log(name, value.detach(), on_step=False, on_epoch=True, batch_size=count)
