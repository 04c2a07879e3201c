"""Networks of transformers: families of its models, made small by their configurations."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from analysis.network.inference import Inputs

__all__ = ["ROWS"]

Options = dict[str, Any]

_WORDS = 120


def _tokens(length: int = 12) -> Tensor:
    return torch.randint(3, _WORDS - 3, (2, length))


def _sentence() -> Inputs:
    tokens = _tokens()
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def _continued() -> Inputs:
    return {"input_ids": _tokens()}


def _translated() -> Inputs:
    return {"input_ids": _tokens(), "decoder_input_ids": _tokens(7)}


def _pixels(side: int) -> Inputs:
    return {"pixel_values": torch.randn(2, 3, side, side)}


def _captioned() -> Inputs:
    tokens = _tokens()
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)} | {
        "pixel_values": torch.randn(2, 3, 32, 32)
    }


_TEXT: Options = {
    "vocab_size": _WORDS,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 40,
}
_PATCHES: Options = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
_EAGER: Options = {"attn_implementation": "eager"}
_SHARED_KEYS: Options = {"num_key_value_heads": 2}
_FOUR_STAGES: Options = {"depths": [1, 1, 2, 1], "num_labels": 10}
_OF_D_MODEL: Options = {"vocab_size": _WORDS, "d_model": 64}


def _configured(family: str, head: str, options: Options) -> nn.Module:
    """A model of transformers; the name of its configuration begins as its own does."""
    package = import_module("transformers")
    config = getattr(package, f"{family}Config")(**options)
    return getattr(package, f"{family}{head}")(config)


def _detector(family: str, backbone: str, stages: Options, options: Options) -> nn.Module:
    """A detector of transformers over a backbone of its own."""
    config = getattr(import_module("transformers"), f"{backbone}Config")
    body = config(embedding_size=16, depths=[1] * 4, layer_type="basic", **stages)
    heads: Options = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    shared: Options = {"backbone_config": body, "decoder_layers": 2, "num_labels": 5}
    return _configured(family, "ForObjectDetection", {**shared, **heads, **options})


_CLASSIFIED = "ForSequenceClassification"
_SEEN = "ForImageClassification"
_CAUSAL = "ForCausalLM"

_MODELS: dict[str, tuple[str, str, Options, Callable[[], Inputs]]] = {
    "bert": ("Bert", _CLASSIFIED, {**_TEXT, "num_labels": 5}, _sentence),
    "bert_eager": ("Bert", _CLASSIFIED, {**_TEXT, "num_labels": 5, **_EAGER}, _sentence),
    "bert_mlm": ("Bert", "ForMaskedLM", _TEXT, _sentence),
    "distilbert": (
        "DistilBert",
        _CLASSIFIED,
        {
            "vocab_size": _WORDS,
            "dim": 64,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 128,
            "max_position_embeddings": 40,
        },
        _sentence,
    ),
    "deberta_v2": (
        "DebertaV2",
        _CLASSIFIED,
        {
            **_TEXT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "type_vocab_size": 0,
        },
        _sentence,
    ),
    "modernbert": (
        "ModernBert",
        _CLASSIFIED,
        {
            **_TEXT,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "cls_token_id": 1,
            "sep_token_id": 2,
            "num_labels": 3,
        },
        _sentence,
    ),
    "hf_vit": ("ViT", _SEEN, {**_PATCHES, "num_labels": 10}, partial(_pixels, 32)),
    "hf_swin": (
        "Swin",
        _SEEN,
        {
            "image_size": 64,
            "patch_size": 4,
            "embed_dim": 32,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
            "num_labels": 10,
        },
        partial(_pixels, 64),
    ),
    "hf_convnext": (
        "ConvNext",
        _SEEN,
        {**_FOUR_STAGES, "hidden_sizes": [16, 32, 48, 64]},
        partial(_pixels, 64),
    ),
    "hf_resnet": (
        "ResNet",
        _SEEN,
        {**_FOUR_STAGES, "embedding_size": 16, "hidden_sizes": [32, 64, 96, 128]},
        partial(_pixels, 64),
    ),
    "hf_mobilenet_v2": (
        "MobileNetV2",
        _SEEN,
        {"image_size": 64, "depth_multiplier": 0.5, "num_labels": 10},
        partial(_pixels, 64),
    ),
    "hf_mobilevit": (
        "MobileViT",
        _SEEN,
        {
            "image_size": 64,
            "hidden_sizes": [32, 48, 64],
            "neck_hidden_sizes": [16, 16, 24, 32, 48, 64, 128],
            "num_attention_heads": 4,
            "num_labels": 10,
        },
        partial(_pixels, 64),
    ),
    "hf_clip": (
        "CLIP",
        "Model",
        {
            "text_config": {
                **_TEXT,
                "projection_dim": 32,
                "eos_token_id": _WORDS - 1,
                "bos_token_id": 1,
                "pad_token_id": 0,
            },
            "vision_config": {**_PATCHES, "projection_dim": 32},
            "projection_dim": 32,
        },
        _captioned,
    ),
    "gpt2": (
        "GPT2",
        "LMHeadModel",
        {"vocab_size": _WORDS, "n_positions": 40, "n_embd": 64, "n_layer": 2, "n_head": 4},
        _continued,
    ),
    "llama": ("Llama", _CAUSAL, _TEXT, _continued),
    "llama_eager": ("Llama", _CAUSAL, {**_TEXT, **_EAGER, "use_cache": False}, _continued),
    "llama_gqa": ("Llama", _CAUSAL, {**_TEXT, **_SHARED_KEYS}, _continued),
    "llama_cls": ("Llama", _CLASSIFIED, {**_TEXT, "num_labels": 4, "pad_token_id": 0}, _continued),
    "qwen2": ("Qwen2", _CAUSAL, {**_TEXT, **_SHARED_KEYS}, _continued),
    "qwen3_moe": (
        "Qwen3Moe",
        _CAUSAL,
        {
            **_TEXT,
            **_SHARED_KEYS,
            "head_dim": 16,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
        },
        _continued,
    ),
    "gemma2": (
        "Gemma2",
        _CAUSAL,
        {**_TEXT, **_SHARED_KEYS, "head_dim": 16, "query_pre_attn_scalar": 16},
        _continued,
    ),
    "t5": (
        "T5",
        "ForConditionalGeneration",
        {
            **_OF_D_MODEL,
            "d_kv": 16,
            "d_ff": 128,
            "num_layers": 2,
            "num_heads": 4,
            "decoder_start_token_id": 0,
        },
        _translated,
    ),
    "bart": (
        "Bart",
        "ForConditionalGeneration",
        {
            **_OF_D_MODEL,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 128,
            "decoder_ffn_dim": 128,
            "max_position_embeddings": 40,
        },
        _translated,
    ),
}
"""Family, head, configuration and inputs."""

_DETECTORS: dict[str, tuple[str, str, Options, Options]] = {
    "hf_detr": (
        "Detr",
        "ResNet",
        {"hidden_sizes": [16, 32, 32, 48], "out_features": ["stage4"]},
        {
            "use_timm_backbone": False,
            "backbone": None,
            "d_model": 64,
            "encoder_layers": 1,
            "encoder_ffn_dim": 96,
            "decoder_ffn_dim": 96,
            "num_queries": 10,
        },
    ),
    "hf_rtdetr": (
        "RTDetr",
        "RTDetrResNet",
        {"hidden_sizes": [16, 32, 48, 64], "out_features": ["stage2", "stage3", "stage4"]},
        {
            "d_model": 32,
            "encoder_hidden_dim": 32,
            "encoder_in_channels": [32, 48, 64],
            "encoder_ffn_dim": 64,
            "decoder_in_channels": [32, 32, 32],
            "decoder_ffn_dim": 64,
            "num_queries": 20,
            "num_denoising": 0,
            "anchor_image_size": None,
        },
    ),
}
"""Family, family of the backbone, and the configuration of each."""

ROWS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    **{
        name: (partial(_configured, family, head, options), feed)
        for name, (family, head, options, feed) in _MODELS.items()
    },
    **{name: (partial(_detector, *row), partial(_pixels, 64)) for name, row in _DETECTORS.items()},
}
"""How each network is built, and what it is fed."""
