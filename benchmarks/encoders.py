"""Throughput of image-text encoders: KAMCL's published architecture beside this project's, on one CPU thread.

    python benchmarks/encoders.py                    # about two minutes
    python benchmarks/encoders.py --out benchmarks/results/encoders.json

The published architecture is built by this project's own code in its published form: ResNet-18 at 256 pixels whose 192
and 768 channels are sorted at every place, and a GRU of 2,400 units over word vectors of 620. Weights are random: they
do not change the time. Both run in torch, float32, without gradient, and take turns within every round; what search
really uses, the ONNX files, stands beside them. How well either retrieves is measured in `kamcl.py`.
Goals: images, at the size that the recipe trains at, at least 2 times and texts at least 20 times the published
throughput. Larger sizes stand beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from _machine import describe_machine
from terraseek.encoders import load_encoder
from terraseek.models import (
    ImageTextEmbedder,
    NetworkConfig,
    TextNetworkConfig,
    build_image_text_embedder,
    embedder_config,
    save_model,
    text_config,
    word_tokenizer,
)
from terraseek.training import Recipe, load_recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "rsicd10k-kamcl.toml"
WORDS, CONCEPTS, LENGTH = 2_000, 512, 12  # a caption of RSICD has 11.5 words
IMAGE_GOAL, TEXT_GOAL = 2.0, 20.0
PUBLISHED = "published (ResNet-18, 256 px, GRU 2,400)"
Step = Callable[[], object]


def published() -> ImageTextEmbedder:
    """KAMCL as its paper and code have it."""
    config = embedder_config(
        "resnet-18",
        input_size=256,
        dim=512,
        network=NetworkConfig(head="none", aggregator="channels", aggregator_dim=512, concept_head=True),
        concepts=tuple(f"concept{i}" for i in range(CONCEPTS)),
        text=text_config(
            "gru",
            TextNetworkConfig(
                vocabulary=WORDS,
                width=620,
                hidden=2400,
                heads=1,
                dim=512,
                variant="published",
                head="none",
                concept_tokens=tuple(range(3, 3 + CONCEPTS)),
            ),
        ),
    )
    return build_image_text_embedder(config).eval()


def ours(recipe: Recipe, input_size: int, directory: Path) -> ImageTextEmbedder:
    """The recipe's architecture, written as a model directory too."""
    tokenizer = word_tokenizer(f"word{i}" for i in range(WORDS - 3))
    assert recipe.text is not None
    model = recipe.model
    config = embedder_config(
        model.backbone,
        input_size=input_size,
        dim=model.dim + (recipe.text.query_bank > 0),
        network=NetworkConfig(
            head=model.head,
            aggregator=model.aggregator,
            aggregator_dim=model.aggregator_dim,
            concept_head=True,
            query_bank=recipe.text.query_bank,
        ),
        concepts=tuple(f"concept{i}" for i in range(CONCEPTS)),
        text=text_config(recipe.text.encoder, TextNetworkConfig(vocabulary=WORDS, **recipe.text.network)),
    )
    network = build_image_text_embedder(config).eval()
    save_model(directory, network, config, tokenizer)
    return network


def steps_of(network: ImageTextEmbedder, size: int, images: int, texts: int) -> dict[str, Step]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(images, 3, size, size, generator=generator).contiguous(memory_format=torch.channels_last)
    tokens = torch.randint(3, WORDS, (texts, LENGTH), generator=generator)
    mask = torch.ones_like(tokens)
    return {"image": lambda: network.image(pixels), "text": lambda: network.text(tokens, mask)}


def onnx_steps(directory: Path, images: int, texts: int) -> dict[str, Step]:
    encoder = load_encoder(directory, threads=1, batch_size=max(images, texts))
    size = encoder.config.input_size
    pixels = list(np.random.default_rng(0).integers(0, 256, (images, size, size, 3), dtype=np.uint8))
    captions = [" ".join(f"word{(i * 31 + j * 7) % (WORDS - 3)}" for j in range(LENGTH)) for i in range(texts)]
    return {"image": lambda: encoder.encode_images(pixels), "text": lambda: encoder.encode_texts(captions)}


def measure(rows: dict[str, dict[str, Step]], counts: dict[str, int], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds per image and per text, the median over rounds in which all rows take turns."""
    times: dict[tuple[str, str], list[float]] = {(row, side): [] for row in rows for side in counts}
    with torch.no_grad():
        for steps in rows.values():
            for step in steps.values():
                step()
        for _ in range(rounds):
            for (row, side), taken in times.items():
                start = time.perf_counter()
                rows[row][side]()
                taken.append(1e3 * (time.perf_counter() - start) / counts[side])
    return {row: {side: statistics.median(times[row, side]) for side in counts} for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="per call")
    parser.add_argument("--texts", type=int, default=64, help="per call")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 256], help="our input sizes beside the recipe's")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts = {"image": arguments.images, "text": arguments.texts}
    rows = {PUBLISHED: steps_of(published(), 256, **_plural(counts))}
    recipe = load_recipe(RECIPE)
    with tempfile.TemporaryDirectory() as folder:
        for size in sorted({recipe.model.input_size, *arguments.sizes}):
            directory = Path(folder, str(size))
            network = ours(recipe, size, directory)
            rows[f"ours, {size} px, torch"] = steps_of(network, size, **_plural(counts))
            rows[f"ours, {size} px, ONNX with preprocessing"] = onnx_steps(directory, **_plural(counts))
        table = measure(rows, counts, arguments.rounds)
    peer = table[PUBLISHED]
    for row, cost in table.items():
        cells = (f"{cost[side]:8.3f} ms/{side} {peer[side] / cost[side]:6.1f}x" for side in counts)
        print(f"{row:45}" + "  ".join(cells))
    # In one runtime. The texts of all rows are one network's: what counts is its slowest turn.
    ratios = {row: peer["image"] / cost["image"] for row, cost in table.items() if row.endswith("torch")}
    for row, ratio in ratios.items():
        print(f"images, {row}: {ratio:.2f} times, goal {IMAGE_GOAL:g}: {_verdict(ratio, IMAGE_GOAL)}")
    slowest = min(peer["text"] / table[row]["text"] for row in ratios)
    print(f"texts: at least {slowest:.1f} times, goal {TEXT_GOAL:g}: {_verdict(slowest, TEXT_GOAL)}")
    if arguments.out:
        report = {"machine": describe_machine(), "threads": 1, "milliseconds": table, "rounds": arguments.rounds}
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def _verdict(ratio: float, goal: float) -> str:
    return "reached" if ratio >= goal else "NOT reached"


def _plural(counts: dict[str, int]) -> dict[str, int]:
    return {f"{side}s": count for side, count in counts.items()}


if __name__ == "__main__":
    main()
