"""Encoders that run a model directory's ONNX files through onnxruntime, on CPU and without torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..errors import CorruptError, NotFoundError, UsageError
from ..typing import ImageArray
from .config import (
    IMAGE_FILE,
    TEXT_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    ModelConfig,
    check_weights,
    model_fingerprint,
    read_model_config,
)
from .preprocess import preprocess

__all__ = ["OnnxEncoder", "load_encoder", "read_tokenizer"]

# Images per run where many are encoded: what lies between the layers then stays in a core's caches.
_IMAGES_PER_RUN = 4


def load_encoder(model: str | Path, *, threads: int | None = None, batch_size: int = 32) -> OnnxEncoder:
    """Open a model directory for encoding.

    Args:
        model: the directory.
        threads: CPU threads of the network; None takes all cores.
        batch_size: images in the network at a time, in all threads together; bounds the memory, whatever the number
            of images.

    Raises:
        NotFoundError: no model there, or one of its files is missing.
        CorruptError: a file is damaged or does not fit the config.
        ConfigError: `config.json` has an unknown key or a bad value.
        UsageError: `threads` or `batch_size` below 1.
    """
    return OnnxEncoder(model, threads=threads, batch_size=batch_size)


def read_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a model directory, which neither cuts nor pads.

    Raises:
        NotFoundError: it is missing.
        CorruptError: the file is no tokenizer.
    """
    path = directory / TOKENIZER_FILE
    if not path.is_file():
        raise NotFoundError(f"{path} is missing: export the model again")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise CorruptError(f"{path} is not a tokenizer ({error}): export the model again") from None


class OnnxEncoder:
    """The `Encoder` of a model directory; the same input always gives the same vectors.

    Of a few images, each goes through the network on all threads. Many are spread over the threads instead: layers of
    small networks are too short to be shared out, and bringing pixels into network input is shared out too.

    Attributes:
        config: the model's `config.json`.
        directory: where the model is.
    """

    def __init__(self, directory: str | Path, *, threads: int | None = None, batch_size: int = 32) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads is {threads}, it must be at least 1")
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}, it must be at least 1")
        self.directory = Path(directory)
        self.config: ModelConfig = read_model_config(self.directory)
        self.batch_size = batch_size
        self._threads = threads
        check_weights(self.directory / WEIGHTS_FILE)
        self._fingerprint = model_fingerprint(self.directory)
        size = self.config.input_size
        self._image_shape: list[str | int] = ["N", self.config.bands, size, size]
        self._image = self._open(IMAGE_FILE, self._image_shape, threads=threads)

    @property
    def dim(self) -> int:
        """Number of embedding dimensions D."""
        return self.config.dim

    @property
    def fingerprint(self) -> str:
        """sha256 over the model's config and weights, see `model_fingerprint`."""
        return self._fingerprint

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels the model was trained on; empty for a model trained without."""
        return self.config.label_names

    @property
    def concepts(self) -> tuple[str, ...]:
        """The words that `encode_images_and_concepts` scores; empty for a model without a concept head."""
        predicts = any(output.name == "concepts" for output in self._image.get_outputs())
        return self.config.concepts if predicts else ()

    @property
    def has_text(self) -> bool:
        """Whether `encode_texts` works."""
        return self.config.text is not None

    def encode_images(self, images: Sequence[ImageArray]) -> NDArray[np.float32]:
        """Encode images of any size, each (H, W, B), into (N, D) unit rows.

        Raises:
            UsageError: an image with another number of bands than the model takes, or without pixels.
        """
        vectors = np.empty((len(images), self.dim), dtype=np.float32)
        for rows, outputs in self._run(images, ["vectors"]):
            vectors[rows] = outputs[0]
        return vectors

    def encode_images_and_concepts(
        self, images: Sequence[ImageArray]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Encode images as `encode_images`, and score the config's `concepts` in the same run.

        Returns:
            (N, D) unit rows, and (N, C) scores in 0..1 in the order of ``config.concepts``.

        Raises:
            UsageError: the model predicts no concepts, or as `encode_images`.
        """
        if not self.concepts:
            raise UsageError(f"the model {self.directory.name!r} predicts no concepts: use one trained on captions")
        vectors = np.empty((len(images), self.dim), dtype=np.float32)
        scores = np.empty((len(images), len(self.config.concepts)), dtype=np.float32)
        for rows, outputs in self._run(images, ["vectors", "concepts"]):
            vectors[rows], scores[rows] = outputs
        return vectors, scores

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts into (N, D) unit rows in the space of the images; a text too long is cut, as in training.

        Raises:
            UsageError: the model has no text side.
        """
        if self.config.text is None:
            raise UsageError(
                f"the model {self.directory.name!r} has no text side: "
                "search by image, or use a model trained on captions"
            )
        session, tokenizer = self._text
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), self.batch_size):
            encoded = tokenizer.encode_batch(list(texts[start : start + self.batch_size]))
            tokens = np.array([item.ids for item in encoded], dtype=np.int64)
            mask = np.array([item.attention_mask for item in encoded], dtype=np.int64)
            vectors[start : start + len(encoded)] = session.run(["vectors"], {"tokens": tokens, "mask": mask})[0]
        return vectors

    def _run(self, images: Sequence[ImageArray], names: list[str]) -> Iterator[tuple[slice, list[NDArray[np.float32]]]]:
        """These outputs of the network, for some rows of the images after others."""
        threads = self._threads or _cores()
        apart = len(images) >= 2 * threads
        session = self._on_one_thread if apart else self._image
        step = max(1, min(_IMAGES_PER_RUN, self.batch_size // threads)) if apart else self.batch_size

        def run(start: int) -> tuple[slice, list[NDArray[np.float32]]]:
            batch = preprocess(images[start : start + step], self.config, first=start)
            return slice(start, start + len(batch)), session.run(names, {"image": batch})

        starts = range(0, len(images), step)
        if threads == 1 or not apart:
            yield from map(run, starts)
            return
        with ThreadPoolExecutor(threads, "encode") as pool:
            yield from pool.map(run, starts)

    @cached_property
    def _on_one_thread(self) -> Any:
        """A second session, whose runs go on beside each other: onnxruntime's threads belong to a session."""
        return self._image if self._threads == 1 else self._open(IMAGE_FILE, self._image_shape, threads=1)

    @cached_property
    def _text(self) -> tuple[Any, Tokenizer]:
        assert self.config.text is not None
        session = self._open(TEXT_FILE, ["N", "L"], "tokens", threads=self._threads)
        tokenizer = read_tokenizer(self.directory)
        tokenizer.enable_truncation(self.config.text.max_tokens)
        tokenizer.enable_padding()  # ids of padding do not matter: the network masks them
        return session, tokenizer

    def _open(self, name: str, shape: list[str | int], input_name: str = "image", *, threads: int | None = None) -> Any:
        path = self.directory / name
        if not path.is_file():
            raise NotFoundError(f"{path} is missing: export the model again with `terraseek model export`")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: its warnings are about its own optimisations
        options.inter_op_num_threads = 1
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            reason = str(error).splitlines()[0][:200]
            raise CorruptError(f"{path} cannot be loaded ({reason}): copy or export the model again") from None
        inputs = {item.name: item.shape for item in session.get_inputs()}
        outputs = {item.name: item.shape for item in session.get_outputs()}
        takes = _fixed(inputs.get(input_name, [])) == _fixed(shape)
        if not takes or outputs.get("vectors", [None])[-1] != self.dim:
            raise CorruptError(
                f"{path} maps {inputs} to {outputs}, config.json says {input_name} {shape} to vectors "
                f"['N', {self.dim}]: the two belong to different models"
            )
        return session


def _cores() -> int:
    """As many as this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _fixed(shape: Sequence[str | int]) -> list[int]:
    return [side for side in shape if isinstance(side, int)]
