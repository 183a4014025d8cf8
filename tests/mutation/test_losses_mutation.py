"""Every equation is broken on purpose; the golden and unit checks must notice each time.

Two sets of mutants: named mistakes that people make in RLHF code, and a sweep that changes every
operator, comparison, number and min/max of the file in turn.
"""

from __future__ import annotations

import ast
import importlib.util
import itertools
import types
import warnings
from pathlib import Path

import pytest

from camelid import losses as package_losses

TESTS = Path(__file__).parents[1]
SOURCE = Path(package_losses.__file__).read_text(encoding="utf-8")


def load_checks(path):
    spec = importlib.util.spec_from_file_location(f"checks_of_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CHECKS


CHECKS = [
    *load_checks(TESTS / "golden/test_rlhf_golden.py"),
    *load_checks(TESTS / "unit/test_losses.py"),
]


def load(code):
    module = types.ModuleType("mutated_losses")
    exec(compile(code, "mutated_losses", "exec"), module.__dict__)
    return module


def killer(code, noticed=(AssertionError, pytest.fail.Exception)):
    """Name of the first check that fails on the mutant, None if it survives."""
    mutant = load(code)
    for check in CHECKS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(mutant)
        except noticed:
            return check.__name__
    return None


MISTAKES = {
    "cross entropy: mean for sum": ('targets_N, reduction="sum"', "targets_N"),
    "cross entropy: sign": ("return functional.cross", "return -functional.cross"),
    "log-probabilities: sign": ("return -functional.cross", "return functional.cross"),
    "log-probabilities: temperature forgotten": (
        "scaled_NV = _full_precision(logits_NV) / temperature",
        "scaled_NV = _full_precision(logits_NV)",
    ),
    "log-probabilities: temperature multiplied": (
        "scaled_NV = _full_precision(logits_NV) / temperature",
        "scaled_NV = _full_precision(logits_NV) * temperature",
    ),
    "precision: nothing raised": (
        "return values if values.dtype == torch.float64 else values.float()",
        "return values",
    ),
    "precision: float64 lowered": (
        "return values if values.dtype == torch.float64 else values.float()",
        "return values.float()",
    ),
    "mask: product for where": (
        "return torch.where(mask, values, torch.zeros_like(values))",
        "return values * mask",
    ),
    "mask: inverted": (
        "return torch.where(mask, values, torch.zeros_like(values))",
        "return torch.where(~mask, values, torch.zeros_like(values))",
    ),
    "entropy: temperature forgotten": (
        "softmax(_full_precision(logits_NV) / temperature",
        "softmax(_full_precision(logits_NV)",
    ),
    "entropy: -p log p": (
        "torch.special.entr(probabilities_NV)",
        "-probabilities_NV * probabilities_NV.log()",
    ),
    "entropy: mean for sum": ("terms_NV.sum(-1)", "terms_NV.mean(-1)"),
    "ranking: margin dropped": ("difference_B - margin_B", "difference_B"),
    "ranking: margin added": ("difference_B - margin_B", "difference_B + margin_B"),
    "ranking: chosen and rejected swapped": (
        "_full_precision(chosen_B) - _full_precision(rejected_B)",
        "_full_precision(rejected_B) - _full_precision(chosen_B)",
    ),
    "ranking: log of a sigmoid overflows": (
        "functional.logsigmoid(difference_B - margin_B)",
        "(difference_B - margin_B).sigmoid().log()",
    ),
    "ranking: mean for sum": (
        "(difference_B - margin_B).sum()",
        "(difference_B - margin_B).mean()",
    ),
    "margins: order": ("(3.0, 2.0, 1.0, 0.0)", "(0.0, 1.0, 2.0, 3.0)"),
    "safety: term dropped": (
        "return _masked(losses_2B.mean(0), labelled_B).sum()",
        "return 0.0 * losses_2B.sum()",
    ),
    "safety: sum of the two for their mean": ("losses_2B.mean(0)", "losses_2B.sum(0)"),
    "safety: unlabelled pairs count": (
        "_masked(losses_2B.mean(0), labelled_B).sum()",
        "losses_2B.mean(0).sum()",
    ),
    "safety: mean for sum": ("labelled_B).sum()", "labelled_B).mean()"),
    "safety: labels swapped": (
        "torch.stack((chosen_safe_B, rejected_safe_B))",
        "torch.stack((rejected_safe_B, chosen_safe_B))",
    ),
    "safety: labels inverted": (
        "torch.stack((chosen_safe_B, rejected_safe_B)).to",
        "torch.stack((~chosen_safe_B, ~rejected_safe_B)).to",
    ),
    "gate: tag ignored": ("is_safety_B | (safety_B < boundary)", "safety_B < boundary"),
    "gate: threshold ignored": ("is_safety_B | (safety_B < boundary)", "is_safety_B"),
    "gate: not strict": ("(safety_B < boundary)", "(safety_B <= boundary)"),
    "gate: and for or": ("is_safety_B | (", "is_safety_B & ("),
    "gate: probability for raw score": (
        "torch.tensor(logit(threshold)",
        "torch.tensor((threshold)",
    ),
    "gate: helpfulness decides": ("(safety_B < boundary)", "(helpfulness_B < boundary)"),
    "gate: scores swapped": (
        "safety_B < boundary), safety_B, helpfulness_B)",
        "safety_B < boundary), helpfulness_B, safety_B)",
    ),
    "gate: through the sigmoid and back": (
        "return torch.where(is_safety_B | (safety_B < boundary), safety_B, helpfulness_B)",
        (
            "return torch.where(is_safety_B | (safety_B < boundary), safety_B, helpfulness_B)"
            ".sigmoid().logit()"
        ),
    ),
    "gate: lower of the two scores": (
        "return torch.where(is_safety_B | (safety_B < boundary), safety_B, helpfulness_B)",
        "return torch.minimum(safety_B, helpfulness_B)",
    ),
    "whiten: mask forgotten": ("counted_N = values[mask]", "counted_N = values.flatten()"),
    "whiten: biased": ("max(count - 1, 1)", "count"),
    "whiten: variance for deviation": ("torch.rsqrt(variance + 1e-8)", "1 / (variance + 1e-8)"),
    "whiten: guard under the root dropped": ("rsqrt(variance + 1e-8)", "rsqrt(variance)"),
    "whiten: guard outside the root": (
        "torch.rsqrt(variance + 1e-8)",
        "1 / (variance.sqrt() + 1e-8)",
    ),
    "whiten: equal values not caught": (
        "torch.where(equal, counted_N.min(), counted_N.mean())",
        "counted_N.mean()",
    ),
    "KL: sign": (
        "_full_precision(logp) - _full_precision(ref_logp)",
        "_full_precision(ref_logp) - _full_precision(logp)",
    ),
    "KL: absolute": (
        "k1 = _full_precision(logp) - _full_precision(ref_logp)",
        "k1 = (_full_precision(logp) - _full_precision(ref_logp)).abs()",
    ),
    "KL: clipped at 0": (
        "k1 = _full_precision(logp) - _full_precision(ref_logp)",
        "k1 = (_full_precision(logp) - _full_precision(ref_logp)).clamp(min=0)",
    ),
    "KL: k3 with the wrong sign": ("torch.expm1(-k1) + k1", "torch.expm1(k1) - k1"),
    "rewards: penalty added": ("-beta * _masked", "beta * _masked"),
    "rewards: penalty dropped": ("-beta * _masked", "0.0 * _masked"),
    "rewards: score one slot late": (
        "is_last_BA = positions_A == last_B[:, None]",
        "is_last_BA = positions_A == last_B[:, None] + 1",
    ),
    "rewards: score one slot early": (
        "is_last_BA = positions_A == last_B[:, None]",
        "is_last_BA = positions_A == last_B[:, None] - 1",
    ),
    "rewards: score at the end of the padding": (
        "is_last_BA = positions_A == last_B[:, None]",
        "is_last_BA = positions_A == mask_BA.shape[1] - 1",
    ),
    "rewards: score on every action": (
        "is_last_BA = positions_A == last_B[:, None]",
        "is_last_BA = mask_BA",
    ),
    "rewards: position from the count, not the mask": (
        "last_B = torch.where(mask_BA, positions_A, -1).amax(1)",
        "last_B = mask_BA.sum(1) - 1",
    ),
    "rewards: mask forgotten": ("_masked(k1_BA, mask_BA)", "k1_BA"),
    "advantages: state not carried through holes": (
        "torch.where(acts_B, value_B, next_value_B)",
        "value_B",
    ),
    "advantages: advantage not carried through holes": (
        "torch.where(acts_B, advantage_B, next_advantage_B)",
        "torch.where(acts_B, advantage_B, 0.0)",
    ),
    "advantages: padding not cleared": ("torch.where(acts_B, advantage_B, 0.0)", "advantage_B"),
    "advantages: gamma dropped": ("gamma * next_value_B", "next_value_B"),
    "advantages: lambda dropped": ("gamma * lam * next", "gamma * next"),
    "advantages: lambda alone": ("gamma * lam * next", "lam * next"),
    "advantages: last value bootstraps": (
        "next_value_B = torch.zeros_like(values_BA[:, 0])",
        "next_value_B = values_BA[:, -1]",
    ),
    "advantages: mask shifted": (
        "acts_B, value_B = mask_BA[:, t]",
        "acts_B, value_B = mask_BA[:, t - 1]",
    ),
    "advantages: values shifted": ("values_BA[:, t]\n", "values_BA[:, t - 1]\n"),
    "advantages: returns without values": (
        "returns=advantages_BA + values_BA",
        "returns=advantages_BA",
    ),
    "policy: sign": ("unclipped = -advantages", "unclipped = advantages"),
    "policy: clip dropped": ("ratio.clamp(1 - clip, 1 + clip)", "ratio"),
    "policy: max dropped": ("torch.maximum(unclipped, clipped)", "clipped"),
    "policy: min for max": (
        "torch.maximum(unclipped, clipped)",
        "torch.minimum(unclipped, clipped)",
    ),
    "policy: mean for sum": (
        "clipped).sum(),\n        clipped",
        "clipped).mean(),\n        clipped",
    ),
    "policy: ratio inverted": (
        "_masked(new_logp, mask) - _masked(old_logp, mask)",
        "_masked(old_logp, mask) - _masked(new_logp, mask)",
    ),
    "policy: log-ratio for ratio": ("ratio = log_ratio.exp()", "ratio = 1 + log_ratio"),
    "policy: overflow guard dropped": (
        "log_ratio = log_ratio.clamp(-_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO)",
        "pass",
    ),
    "policy: advantages not masked": ("advantages = _masked(advantages, mask)", "pass"),
    "policy: count of every clamped ratio": (
        "(clipped > unclipped).sum()",
        "(clipped != unclipped).sum()",
    ),
    "value: clip dropped": (
        "torch.clamp(new_values, old_values - clip, old_values + clip)",
        "new_values",
    ),
    "value: unclipped error dropped": (
        "torch.maximum((new_values - returns).square(), (near_values - returns).square())",
        "(near_values - returns).square()",
    ),
    "value: min for max": (
        "torch.maximum((new_values - returns)",
        "torch.minimum((new_values - returns)",
    ),
    "value: half dropped": ("0.5 * errors.sum()", "errors.sum()"),
    "value: mean for sum": ("0.5 * errors.sum()", "0.5 * errors.mean()"),
    "value: clipped around the return": (
        "old_values - clip, old_values + clip",
        "returns - clip, returns + clip",
    ),
    "explained variance: error taken against the mean": (
        "(returns_N - values_N).var(",
        "(values_N).var(",
    ),
    "explained variance: mask forgotten": (
        "_full_precision(values[mask]), _full_precision(returns[mask])",
        "_full_precision(values), _full_precision(returns)",
    ),
}


def test_checks_pass_on_the_package():
    assert killer(SOURCE) is None


@pytest.mark.parametrize("name", MISTAKES)
def test_named_mistake_is_noticed(name):
    old, new = MISTAKES[name]
    assert SOURCE.count(old) == 1, f"{old!r} stands {SOURCE.count(old)} times in losses.py"
    assert killer(SOURCE.replace(old, new)) is not None, f"survived: {name}"


SWAPPED_OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
    ast.Eq: ast.NotEq,
}
SWAPPED_NAMES = {
    "maximum": "minimum",
    "max": "min",
    "min": "max",
    "amax": "amin",
    "sum": "mean",
    "zeros_like": "ones_like",
    "logsigmoid": "sigmoid",
}

# Mutants that compute the same; everything else in the sweep must be noticed.
EQUIVALENT = [
    "generalised_advantages: 0 -> 1",  # any column has the shape of a row's state
    "token_rewards: 1 -> 3",  # any negative position stands for a row without actions
    "whiten: counted_N.min -> counted_N.max",  # the value of equal values
]


def sweep():
    """Yield (description, mutated source) for each place of the file, docstrings left out."""
    for index in itertools.count():
        tree = ast.parse(SOURCE)
        places = [
            (function, node)
            for function in tree.body
            if isinstance(function, ast.FunctionDef)
            for statement in function.body
            for node in ast.walk(statement)
            if mutable(node)
        ]
        if index == len(places):
            return
        function, node = places[index]
        before = ast.unparse(node)
        mutate(node)
        yield f"{function.name}: {before} -> {ast.unparse(node)}", ast.unparse(tree)


def mutable(node):
    match node:
        case ast.BinOp(op=operator) | ast.Compare(ops=[operator, *_]):
            return type(operator) in SWAPPED_OPERATORS
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return not isinstance(operand, ast.Constant)
        case ast.Constant(value=value):
            return isinstance(value, int | float) and not isinstance(value, bool)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name in SWAPPED_NAMES
    return False


def mutate(node):
    match node:
        case ast.BinOp():
            node.op = SWAPPED_OPERATORS[type(node.op)]()
        case ast.Compare():
            node.ops[0] = SWAPPED_OPERATORS[type(node.ops[0])]()
        case ast.UnaryOp():
            node.op = ast.UAdd()
        case ast.Constant():
            node.value = node.value * 2 + 1
        case ast.Attribute():
            node.attr = SWAPPED_NAMES[node.attr]
        case ast.Name():
            node.id = SWAPPED_NAMES[node.id]


def test_sweep_over_every_operator_and_number():
    mutants = list(sweep())
    assert len(mutants) > 80
    # A change of operator may also end in an error of shape or type: noticed as well.
    survivors = [
        name for name, code in mutants if killer(code, (Exception, pytest.fail.Exception)) is None
    ]
    assert sorted(survivors) == EQUIVALENT
