# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["torch-pruning==1.6.1", "torch==2.15.0", "transformers>=5.24,<6"]
# ///
"""A Llama as LLM-Pruner cuts it: whole heads and channels of the MLPs of its inner blocks.

LLM-Pruner is no package that could be installed; its dependency groups are made again with
torch-pruning: by block, half of the heads and of the MLP, the smallest in the sum of the first
group member's squares. A tied one loses half of its width as well, which unties its head.
"""

import torch
import torch_pruning as tp
from leaving import leave
from networks import llama, tied_llama, words


def by_block(model):
    for block in model.model.layers[1:-1]:
        attention, mlp = block.self_attn, block.mlp
        heads = least(attention.q_proj.weight.view(-1, attention.head_dim, 32).flatten(1))
        cut(model, attention.q_proj, [
            head * attention.head_dim + place
            for head in heads
            for place in range(attention.head_dim)
        ])  # fmt: skip
        cut(model, mlp.gate_proj, least(mlp.gate_proj.weight))
    return model


def by_width(model):
    cut(model, model.model.layers[0].mlp.down_proj, list(range(1, 32, 2)))
    return model


def least(rows):
    """The half of the rows that is smallest."""
    return sorted(rows.detach().pow(2).sum(1).argsort()[: len(rows) // 2].tolist())


def cut(model, layer, places):
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=words())
    graph.get_pruning_group(layer, tp.prune_linear_out_channels, places).prune()


torch.manual_seed(0)
leave("llama", llama, by_block)
leave("tied_llama", tied_llama, by_width)
