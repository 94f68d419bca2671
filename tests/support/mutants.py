"""Break each loss on purpose, one way at a time, and see that a test fails: `python -m tests.support.mutants`.

Each mutant is a replacement of one piece of text in a copy of the code, against which the named tests run. A mutant that
lives shows a hole in the tests; one whose text is gone shows that this list is out of date. Both end with status 1.
"""

# ruff: noqa: E501 - a table reads best with one mutant to a line
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
LOSSES = Path("train/losses")
TESTS = Path("tests/train/losses")


@dataclass(frozen=True)
class Mutant:
    """One wrong variant."""

    file: str  # under train/losses
    fault: str  # what is wrong with it, in words
    old: str  # occurs exactly once in the file
    new: str
    tests: str  # a file under tests/train/losses, and what pytest is told to select with -k


MUTANTS = [
    # adaptive_wce
    Mutant("adaptive_wce.py", "swapped class: q on background", "* on_crack + on_background", "* on_background + on_crack", "test_adaptive_wce.py"),
    Mutant("adaptive_wce.py", "swapped class: alpha is the share of cracks", "q = beta * base ** (gamma * (2 * alpha - 1))", "q = beta * base ** (gamma * (1 - 2 * alpha))", "test_adaptive_wce.py"),
    Mutant("adaptive_wce.py", "no beta", 'q = ratio if kind == "ratio" else beta * (', 'q = ratio if kind == "ratio" else (', "test_adaptive_wce.py"),
    Mutant("adaptive_wce.py", "no power", "ratio**gamma if", "ratio if", "test_adaptive_wce.py"),
    Mutant("adaptive_wce.py", "no floor", "return q.clamp(min=floor)", "return q", "test_adaptive_wce.py"),
    Mutant("adaptive_wce.py", "smoothing left out", "(n_crack + laplace if laplace > 0 else", "(n_crack if laplace > 0 else", "test_adaptive_wce.py"),
    Mutant("adaptive_wce.py", "Eq. 1 scaled by alpha, not 1 - alpha", "total * (1 - _background_share", "total * (_background_share", "test_adaptive_wce.py"),
    Mutant("adaptive_wce.py", "Jaccard without the false alarms in the union", "(n_crack + false_alarm + smoothing)", "(n_crack + smoothing)", "test_adaptive_wce.py"),
    Mutant("adaptive_wce.py", "Jaccard sign: the index, not the distance", "return (missed + false_alarm)", "return (n_crack - missed + smoothing)", "test_adaptive_wce.py"),
    Mutant("adaptive_wce.py", "holistic: a and b swapped", "return a * cross_entropy + b * jaccard", "return b * cross_entropy + a * jaccard", "test_adaptive_wce.py"),
    # f1_guided
    Mutant("f1_guided.py", "F1 sign", "return torch.logaddexp(", "return -torch.logaddexp(", "test_f1_guided.py"),
    Mutant("f1_guided.py", "F1 without the 2", "math.log(2) + peak", "peak", "test_f1_guided.py"),
    Mutant("f1_guided.py", "F1 log 0 without crack pixels", "hits.clamp(min=0.5)", "hits", "test_f1_guided.py"),
    Mutant("f1_guided.py", "F1 underflows: no shift by the peak", "peak = max_over_ranks(log_hit.amax()).nan_to_num(neginf=0.0)", "peak = torch.zeros_like(log_hit[0])", "test_f1_guided.py"),
    Mutant("f1_guided.py", "pseudo-F1: weights not detached", "batch.logits.detach().sigmoid()", "batch.logits.sigmoid()", "test_f1_guided.py"),
    Mutant("f1_guided.py", "pseudo-F1: ratio upside down", "(on_crack + inverse_r * on_background)", "(inverse_r * on_crack + on_background)", "test_f1_guided.py"),
    Mutant("f1_guided.py", "pseudo-F1: false alarms left out of r", "hits / (n_crack + false_alarms).clamp", "hits / n_crack.clamp", "test_f1_guided.py"),
    Mutant("f1_guided.py", "pseudo-F1: mean of the weights is not 1", "/ (n_crack + inverse_r * (count - n_crack)).clamp(min=1)", "/ count.clamp(min=1)", "test_f1_guided.py"),
    Mutant("f1_guided.py", "pseudo-F1, paper: second term of Eq. 7 missing", "1 / hits.clamp(min=_SMALLEST_TRUE_POSITIVES) - 1 / (n_crack + hits + false_alarms).clamp(min=1)", "1 / hits.clamp(min=_SMALLEST_TRUE_POSITIVES)", "test_f1_guided.py"),
    Mutant("f1_guided.py", "inverse frequency: normalisers swapped", "on_crack / n_crack.clamp(min=1) + on_background / (count - n_crack).clamp(min=1)", "on_crack / (count - n_crack).clamp(min=1) + on_background / n_crack.clamp(min=1)", "test_f1_guided.py"),
    Mutant("f1_guided.py", "focal: alpha on background", "(batch.target * (2 * alpha - 1)).add_(1 - alpha)", "(batch.target * (1 - 2 * alpha)).add_(alpha)", "test_f1_guided.py"),
    Mutant("f1_guided.py", "focal: p_t instead of 1 - p_t", "(against - ce).mul_(gamma).exp_()", "(-gamma * ce).exp()", "test_f1_guided.py"),
    Mutant("f1_guided.py", "focal: modulation detached", "(against - ce).mul_(gamma).exp_()", "(against - ce).mul_(gamma).exp_().detach()", "test_pixel_contract.py -k 'finite_differences and focal'"),
    # balanced_focal
    Mutant("balanced_focal.py", "denominator not detached", "else weight.detach())", "else weight)", "test_balanced_focal.py"),
    Mutant("balanced_focal.py", "weights detached too", 'if detach == "weight":', 'if detach != "nothing":', "test_balanced_focal.py"),
    Mutant("balanced_focal.py", "alpha on the crack term", "on_crack / sum_crack.clamp(min=1) + alpha * on_background", "alpha * on_crack / sum_crack.clamp(min=1) + on_background", "test_balanced_focal.py"),
    Mutant("balanced_focal.py", "missing normaliser", "on_crack / sum_crack.clamp(min=1)", "on_crack", "test_balanced_focal.py"),
    Mutant("balanced_focal.py", "weights underflow: no shift by the peak", "(log_weight - peak).exp()", "log_weight.exp()", "test_balanced_focal.py"),
    Mutant("balanced_focal.py", "weight of p_t instead of 1 - p_t", "gamma * (against - ce)", "-gamma * ce", "test_balanced_focal.py"),
    # overlap
    Mutant("overlap.py", "Dice without the 2", "difference + 2 * (n_crack - missed)", "difference + (n_crack - missed)", "test_overlap.py"),
    Mutant("overlap.py", "Dice: linear sums for squares", "batch.by_class(wrong * wrong) if squared", "batch.by_class(wrong) if squared", "test_overlap.py"),
    Mutant("overlap.py", "robust Dice: gamma ignored", "(gamma * F.logsigmoid(batch.against())).exp()", "F.logsigmoid(batch.against()).exp()", "test_overlap.py"),
    Mutant("overlap.py", "robust Dice: missing normaliser", "return difference / (sum_p2 + n_crack + smoothing)", "return difference", "test_overlap.py"),
    Mutant("overlap.py", "clDice: dilation and erosion swapped", "opened = _dilate(_erode(image))\n    skeleton =", "opened = _erode(_dilate(image))\n    skeleton =", "test_overlap.py"),
    Mutant("overlap.py", "clDice: arithmetic for harmonic mean", "2 * precision * sensitivity / (precision + sensitivity)", "(precision + sensitivity) / 2", "test_pixel_contract.py -k 'loop and cldice'"),
    Mutant("overlap.py", "clDice: sign of the centre line", "alpha * (1 - centre_line)", "alpha * centre_line", "test_overlap.py"),
    Mutant("overlap.py", "clDice: the skeleton detached", "soft_skeleton(probability, iterations)", "soft_skeleton(probability.detach(), iterations)", "test_pixel_contract.py -k 'finite_differences and cldice'"),
    # rivals
    Mutant("rivals.py", "Poly: sign of epsilon", "+ epsilon * batch.against()", "- epsilon * batch.against()", "test_rivals.py"),
    Mutant("rivals.py", "Poly: p_t instead of 1 - p_t", "epsilon * batch.against().sigmoid()", "epsilon * (-batch.against()).sigmoid()", "test_rivals.py"),
    Mutant("rivals.py", "t-loss: sign", "over_ranks(-likelihood.sum()", "over_ranks(likelihood.sum()", "test_rivals.py"),
    Mutant("rivals.py", "t-loss: missing normaliser", "- dimensions / 2 * (math.pi * nu).log()", "", "test_rivals.py"),
    Mutant("rivals.py", "t-loss: degrees of freedom detached", "self.log_nu.double().exp()", "self.log_nu.detach().double().exp()", "test_rivals.py"),
    # reduce
    Mutant("reduce.py", "swapped class", "torch.rsub(self.target, 1, alpha=2)", "-torch.rsub(self.target, 1, alpha=2)", "test_f1_guided.py"),
    Mutant("reduce.py", "ignored pixels count", "return per_pixel if self.valid is None else per_pixel * self.valid", "return per_pixel", "test_pixel_contract.py -k 'loop'"),
    Mutant("reduce.py", "the mean counts ignored pixels", "if self.valid is None else self.valid.sum()", "", "test_pixel_contract.py -k 'loop'"),
    Mutant("reduce.py", "half precision stays half", "logits if logits.dtype == torch.float64 else logits.float()", "logits", "test_pixel_contract.py -k 'half'"),
    Mutant("reduce.py", "broadcasting hides a wrong shape", "if other is not None and other.shape != logits.shape:", "if other is not None and other.ndim > 4:", "test_pixel_contract.py -k 'shapes'"),
    Mutant("reduce.py", "ranks are not summed", "        dist.all_reduce(total)\n", "", "test_pixel_contract.py -k 'two_processes'"),
    Mutant("reduce.py", "gradient too small by the number of ranks", "return grads[0] * dist.get_world_size()", "return grads[0]", "test_pixel_contract.py -k 'two_processes'"),
    Mutant("reduce.py", "each rank its own maximum", "    dist.all_reduce(values, dist.ReduceOp.MAX)\n", "", "test_pixel_contract.py -k 'two_processes'"),
    # cirl
    Mutant("cirl.py", "Aseg: denominator without lambda", "offset = s - float(np.log(lam))", "offset = s", "test_cirl.py"),
    Mutant("cirl.py", "Aseg: sign of the variance", ".add_(offset.sigmoid())", ".sub_(offset.sigmoid())", "test_cirl.py"),
    Mutant("cirl.py", "Aseg: the error not squared", "error.square().div_(lam)", "error / lam", "test_cirl.py"),
    Mutant("cirl.py", "margin with the crack itself", "return dilated & clean", "return dilated", "test_cirl.py"),
    Mutant("cirl.py", "ambiguous where the variance is low", ".exp() > threshold)", ".exp() < threshold)", "test_cirl.py"),
    Mutant("cirl.py", "a pixel is its own neighbour", "similarity.diagonal(start).fill_(-torch.inf)", "similarity.diagonal(start)", "test_cirl.py"),
    Mutant("cirl.py", "neighbours by dot product, not cosine", "F.normalize(at_least_float32(features), dim=1)", "at_least_float32(features)", "test_cirl.py"),
    Mutant("cirl.py", "CI: near and far swapped", "(far * (k / farther) - near)", "(near - far * (k / farther))", "test_cirl.py"),
    Mutant("cirl.py", "CI: missing normaliser of O", "(far * (k / farther) - near)", "(far - near)", "test_cirl.py"),
    Mutant("cirl.py", "CI: p instead of the pair (p, 1 - p)", "torch.stack([probability, 1 - probability], dim=1)", "torch.stack([probability, 0 * probability], dim=1)", "test_cirl.py"),
    # gagl
    Mutant("gagl.py", "attack: descends instead of ascends", "current.detach() + step * gradient.sign()", "current.detach() - step * gradient.sign()", "test_gagl.py"),
    Mutant("gagl.py", "attack: gradient, not its sign", "step * gradient.sign()", "step * gradient", "test_gagl.py"),
    Mutant("gagl.py", "attack: kappa is the last fooled step", "(logits.argmax(1) != labels) & (kappa == steps)", "(logits.argmax(1) != labels)", "test_gagl.py"),
    Mutant("gagl.py", "attack: not projected", 'if projection == "origin":', 'if projection == "nowhere":', "test_gagl.py"),
    Mutant("gagl.py", "safe and swinging swapped", "return kappa > anchor_kappa[labels]", "return kappa <= anchor_kappa[labels]", "test_gagl.py"),
    Mutant("gagl.py", "omega: no factor 2 in front of tanh's argument", "x = 2 * x", "x = 1 * x", "test_gagl.py"),
    Mutant("gagl.py", "omega and 1 - omega swapped", "return Weights(x.sigmoid(), (-x).sigmoid())", "return Weights((-x).sigmoid(), x.sigmoid())", "test_gagl.py"),
    Mutant("gagl.py", "anchors: sign of the gradient", "mass[:, None] * anchors - pull", "pull - mass[:, None] * anchors", "test_gagl.py"),
    Mutant("gagl.py", "anchors: missing normaliser", "rate * gradient / (1 + mass)[:, None]", "rate * gradient", "test_gagl.py"),
    Mutant("gagl.py", "loss: gradient through the weights' anchors", "anchors = anchors.detach().to(features.dtype)", "anchors = anchors.to(features.dtype)", "test_gagl.py"),
    Mutant("gagl.py", "loss: without the half", "0.5 * weights.detach()", "weights.detach()", "test_gagl.py"),
    # feature_rivals
    Mutant("feature_rivals.py", "centres: missing normaliser", "(n * centres - total) / (1 + n)", "(n * centres - total)", "test_feature_rivals.py"),
    Mutant("feature_rivals.py", "centres: sign", "centres - rate * (n", "centres + rate * (n", "test_feature_rivals.py"),
    Mutant("feature_rivals.py", "CosFace: margin added", "similarity - margin * true_class", "similarity + margin * true_class", "test_feature_rivals.py"),
    Mutant("feature_rivals.py", "ArcFace: margin subtracted", "cos(margin) - sine * sin(margin)", "cos(margin) + sine * sin(margin)", "test_feature_rivals.py"),
    Mutant("feature_rivals.py", "circle: weights not detached", "constant = similarity.detach()", "constant = similarity", "test_feature_rivals.py"),
    Mutant("feature_rivals.py", "circle: rivals hold the true class", ".masked_fill(true_class, -torch.inf).logsumexp(1)\n    exponent", ".logsumexp(1)\n    exponent", "test_feature_rivals.py"),
    Mutant("feature_rivals.py", "circle: sign of attraction", "rivals - scale * attract[true_class]", "rivals + scale * attract[true_class]", "test_feature_rivals.py"),
    Mutant("feature_rivals.py", "NNCLR: the view for its neighbour", ".argmax(1)]\n    logits = cosines(nearest", ".argmin(1)]\n    logits = cosines(nearest", "test_feature_rivals.py"),
    Mutant("feature_rivals.py", "NNCLR: temperature left out", "cosines(nearest, others) / temperature", "cosines(nearest, others)", "test_feature_rivals.py"),
    # topology
    Mutant("topology.py", "sign of the price", "likely + weight * total / count", "likely - weight * total / count", "test_topology.py"),
    Mutant("topology.py", "sum of the patches, not their mean", "likely + weight * total / count", "likely + weight * total", "test_topology.py"),
    Mutant("topology.py", "holes left out", "((pieces, False), (holes, True))", "((pieces, False),)", "test_topology.py"),
    Mutant("topology.py", "the truth's own go unpriced", "0.5 * (wanted - matched.sum())", "0.0 * (wanted - matched.sum())", "test_topology.py"),
    Mutant("topology.py", "the worst matches for the best", "argsort(descending=True, stable=True)", "argsort(descending=False, stable=True)", "test_topology.py"),
    Mutant("topology.py", "birth for death: pieces sent to (0, 1)", "(birth - 1).square() + death.square()", "birth.square() + (death - 1).square()", "test_topology.py"),
    Mutant("topology.py", "holes joined over 8 neighbours", "_merged(height, _FOUR, outside=True)", "_merged(height, _EIGHT, outside=True)", "test_topology.py"),
]  # fmt: skip


def failing(tests: str, mutant: Mutant | None = None) -> bool:
    """Run tests against a copy of the code, with the mutant's fault if one is given, and return whether one failed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("train", "tests/support", "tests/train/losses"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "tests/conftest.py"):
            shutil.copy(ROOT / name, copy / name)
        (copy / "agent").symlink_to(ROOT / "agent", target_is_directory=True)
        if mutant:
            path = copy / LOSSES / mutant.file
            path.write_text(path.read_text().replace(mutant.old, mutant.new))
        files, _, selected = tests.partition(" -k ")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
        command += [str(TESTS / file) for file in files.split()] + (["-k", selected.strip("'")] if selected else [])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in {0, 1}:  # 1: a test failed; 2 to 5: nothing was tested
            raise RuntimeError(f"{tests}: pytest ended with {done.returncode}, {mutant}\n{done.stdout}{done.stderr}")
        return done.returncode == 1


def main() -> int:
    """Print the table of mutants; return 1 if one lives or its text is gone, or if the tests fail without one."""
    mutants = [m for m in MUTANTS if not sys.argv[1:] or m.file in sys.argv[1:]]
    files = sorted({m.tests.partition(" ")[0] for m in mutants})
    if failing(" ".join(files)):
        Console().print("[red]the tests fail without any mutant[/]")
        return 1
    stale = [m for m in mutants if (ROOT / LOSSES / m.file).read_text().count(m.old) != 1]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        caught = list(pool.map(lambda m: m not in stale and failing(m.tests, m), mutants))
    table = Table("file", "fault", "tests", "", title="Mutants of the losses")
    for mutant, dead in zip(mutants, caught, strict=True):
        verdict = "caught" if dead else "text is gone" if mutant in stale else "LIVES"
        table.add_row(mutant.file, mutant.fault, mutant.tests, verdict)
    console = Console(width=170)
    console.print(table)
    console.print(f"{sum(caught)} of {len(mutants)} caught")
    return 0 if all(caught) else 1


if __name__ == "__main__":
    sys.exit(main())
