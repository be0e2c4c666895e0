"""Steps that bring a checkpoint's names and values to our form; a note says what is lost."""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightvit_dense.errors import CheckpointError
from lightvit_dense.utils.relative_bias import split_rows

STEM = 'patch_embed.proj.weight'
_WIDER = re.compile(r'blocks\.\d+\.proj\.')

State = dict[str, Tensor]


@dataclass
class Context:
    """What a step is told, and where it says what it did."""

    wanted: frozenset[str] | None = None  # names of the model to be loaded; None without a model
    dropped: list[str] = field(default_factory=list)  # names of what was left out
    notes: list[str] = field(default_factory=list)  # changes of values or meaning

    def wants(self, name: str) -> bool:
        """Tell whether the model has a parameter of this name."""
        return self.wanted is not None and name in self.wanted

    def drop(self, state: State, names: Collection[str]) -> None:
        """Take tensors out of a state dict and record it."""
        for name in names:
            del state[name]
            self.dropped.append(name)


Step = Callable[[State, Context], State]
"""Turns names and values into ours; may change its argument."""


def is_hiera(names: Iterable[str]) -> bool:
    """Tell by our names of parameters whether they are a Hiera's: some blocks change the width."""
    return any(_WIDER.match(name) for name in names)


Rule = tuple[str, str | Callable[[re.Match], str]]
"""A pattern of names and what replaces it, as for ``re.sub``."""


def rename(state: State, rules: Iterable[Rule]) -> State:
    """Apply regular expressions to names, each name by all rules in order."""
    rules, renamed = tuple(rules), State()
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


# Classifiers, and a tracker's positions of the template.
_HEAD = re.compile(
    r'(head|fc_norm|head_dist|classifier|cls_classifier|distillation_classifier)\.|pos_embed_z$'
)
_INDEX = re.compile(r'.*(relative_position_index|relative_coords_table)$')
_SWIN = re.compile(r'layers\.\d+\.blocks\.')
_SCALE = re.compile(r'(.*\.)(?:gamma_([12])|ls([12])\.gamma)$')
FOREIGN = (
    (r'(swin\.|.*\.swin\.)', "a Swin transformer of Hugging Face's"),
    (r'(?:.*\.)?(layer1\.0\.conv1|stem\.conv1|res2\.0\.conv1)\.', 'a ResNet'),
    (r'(?:.*\.)?pos_embed_(spatial|temporal)$', 'a Hiera for video'),
    (r'(?:.*\.)?pos_embed_win(dow)?$', 'a Hiera with window positions'),
)
"""Names of networks that none of our backbones is, with what they are."""


def refuse_foreign(names: State, wanted: Collection[str]) -> None:
    """Raise, naming what the checkpoint is, if it is of a network that the model cannot be."""
    foreign = list(FOREIGN)
    if wanted and not any(map(_SWIN.match, wanted)):
        foreign.append((_SWIN.pattern, 'a Swin transformer, which the model is not'))
    for pattern, what in foreign:
        found = next((name for name in names if re.match(pattern, name)), None)
        if found:
            raise CheckpointError(
                f'The checkpoint is {what} (it has {found}). Ours are plain ViTs, image Hieras '
                "with absolute positions, and Swins by timm's or the original's names: take a "
                'checkpoint of one of these.'
            )


def _blocks(state: State) -> set[int]:
    return {int(m[1]) for m in (re.match(r'blocks\.(\d+)\.', name) for name in state) if m}


def drop_indices(state: State, context: Context) -> State:
    """Leave out tables that are computed from the image size."""
    context.drop(state, [n for n in state if _INDEX.match(n) and not context.wants(n)])
    return state


def drop_heads(state: State, context: Context) -> State:
    """Leave out what is of a task, unless there is no model or it has it."""
    if context.wanted is not None:
        context.drop(state, [n for n in state if _HEAD.match(n) and not context.wants(n)])
    return state


def name_norm(state: State, context: Context) -> State:
    """Give Hiera's last LayerNorm our name; Meta's autoencoder and timm have their own for it."""
    if not is_hiera(state) or context.wants('head.norm.weight'):
        return state
    rules = ((r'^(head\.norm|encoder_norm)\.', 'norm.'), (r'^pos_embed_abs$', 'pos_embed'))
    return rename(state, rules)


def spread_shared_positions(state: State, context: Context) -> State:
    """Give every block its copy of relative positions that the file shares among them."""
    shared = 'rel_pos_bias.relative_position_bias_table'
    if shared not in state or context.wants(shared):
        return state
    table = state.pop(shared)
    for block in sorted(_blocks(state)):
        state[f'blocks.{block}.attn.relative_position_bias_table'] = table
    context.notes.append('the relative positions shared by all blocks were copied to each')
    return state


def zero_positions(state: State, context: Context) -> State:
    """Give a ViT that has relative positions only absolute ones of zero, which computes the same.

    A model without relative positions keeps its own: with zeros it would know no positions at all.
    """
    table = state.get('blocks.0.attn.relative_position_bias_table')
    window = None if table is None else split_rows(len(table))
    without = context.wanted and not any(n.endswith('bias_table') for n in context.wanted)
    if window is None or 'pos_embed' in state or without:
        return state
    kernel, rows = state['patch_embed.proj.weight'], window[0] ** 2 + ('cls_token' in state)
    state['pos_embed'] = kernel.new_zeros(1, rows, len(kernel))
    context.notes.append('the file has no absolute positions: pos_embed is zero')
    return state


def merge_biases(state: State, context: Context) -> State:
    """Join BEiT's biases of query and value; its keys have none, which is a bias of zero."""
    heads = [n[: -len('q_bias')] for n in state if n.endswith('.q_bias') and not context.wants(n)]
    for head in heads:
        query, value = state.pop(f'{head}q_bias'), state.pop(f'{head}v_bias')
        key = state.pop(f'{head}k_bias', torch.zeros_like(query))
        state[f'{head}qkv.bias'] = torch.cat([query, key, value])
    if heads:
        context.notes.append(f'q_bias and v_bias of {len(heads)} blocks became qkv.bias')
    return state


def fold_layer_scale(state: State, context: Context) -> State:
    """Multiply LayerScale into the projection before it, which computes the same.

    ``gamma * (W x + b)`` is ``(gamma W) x + gamma b``: 1 stands after ``attn.proj``, 2 after
    ``mlp.fc2``. A model that has LayerScales itself takes them as they are.
    """
    folded = 0
    for name in list(state):
        found = _SCALE.match(name)
        if not found:
            continue
        number, gamma = found[2] or found[3], state.pop(name)
        if context.wants(own := f'{found[1]}ls{number}.gamma'):
            state[own] = gamma
            continue
        layer = found[1] + ('attn.proj.' if number == '1' else 'mlp.fc2.')
        state[f'{layer}weight'] = gamma[:, None] * state[f'{layer}weight']
        if f'{layer}bias' in state:
            state[f'{layer}bias'] = gamma * state[f'{layer}bias']
        folded += 1
    if folded:
        context.notes.append(f'{folded} LayerScales were folded into attn.proj and mlp.fc2')
    return state


def drop_query_key_block(state: State, context: Context) -> State:
    """Leave out D²-MAE's last block, which has queries and keys only and leads nowhere."""
    block = max(_blocks(state), default=0)
    last = [name for name in state if name.startswith(f'blocks.{block}.')]
    parts = {name.split('.', 2)[2].rsplit('.', 1)[0] for name in last}
    if parts == {'norm1', 'attn.qkv'} and not any(map(context.wants, last)):
        context.drop(state, last)
        context.notes.append(
            f'block {block + 1} has queries and keys only (decoupled distillation) and was left out'
        )
    return state


STEPS: tuple[Step, ...] = (
    drop_indices,
    name_norm,
    drop_heads,
    spread_shared_positions,
    zero_positions,
    merge_biases,
    fold_layer_scale,
    drop_query_key_block,
)
"""What is done to every checkpoint after its source's own steps, in this order."""
