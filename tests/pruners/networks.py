"""The networks that other pruners prune, small, with the weights that a seed gives them."""

from typing import Any


def resnet18() -> Any:
    """torchvision's, for small images and ten classes."""
    from torchvision.models import resnet18

    return _seeded(lambda: resnet18(num_classes=10))


def mobilenet_v2() -> Any:
    """torchvision's, for small images and ten classes."""
    from torchvision.models import mobilenet_v2

    return _seeded(lambda: mobilenet_v2(num_classes=10))


def vit() -> Any:
    """torchvision's VisionTransformer of two layers."""
    from torchvision.models import VisionTransformer

    return _seeded(
        lambda: VisionTransformer(
            image_size=32,
            patch_size=8,
            num_layers=2,
            num_heads=4,
            hidden_dim=32,
            mlp_dim=64,
            num_classes=10,
        )
    )


def llama() -> Any:
    """transformers' Llama of four layers."""
    return _llama(tied=False)


def tied_llama() -> Any:
    """The same, whose head is its embedding."""
    return _llama(tied=True)


def _llama(*, tied: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=tied,
        use_cache=False,
    )
    return _seeded(lambda: LlamaForCausalLM(config))


def image() -> Any:
    import torch

    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def words() -> Any:
    import torch

    return torch.arange(12).view(2, 6)


def _seeded(build: Any) -> Any:
    import torch

    torch.manual_seed(0)
    return build().eval()
