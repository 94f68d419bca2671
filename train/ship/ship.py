"""A plan carried out: rendered pool, runs, held-back answers, figures, the two checkpoints of each bundle, the bundle.

```
OUT/rendered/                      the pool, shared by all runs       OUT/logs/          what each job printed
OUT/BUNDLE/segmenter/fold-0/ ...   runs as `crack-train fit` leaves them, with held.npz
OUT/BUNDLE/figures.json, figures.md, reliability.png
OUT/BUNDLE/segmenter.ckpt, gate.ckpt, bundle/
```
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal

from agent.errors import ConfigError
from train.calibration import save_diagram
from train.checkpoint import load_checkpoint, save_slim
from train.data.rendered import CHUNK, chunk_file, rendered_chunk
from train.data.sources import open_source
from train.fit import LAST, RUN_NAME, fit
from train.settings import PairSource, PoolSource, Settings, Source
from train.ship.figures import Answers, BundleFigures, bundle_figures
from train.ship.held import FILE, Held, hold
from train.ship.jobs import Job, ShipError, run_jobs
from train.ship.plan import BASE, FINAL, BundlePlan, Plan, Run, read_plan, runs_of
from train.ship.tables import as_markdown
from train.validation import Figure, Validation

Until = Literal["runs", "figures", "export"]
FIGURES: Final = "figures.json"


def ship(
    path: Path,
    *,
    only: Sequence[str] = (),
    overrides: Sequence[str] = (),
    until: Until = "export",
    minutes: float | None = None,
    parallel: int | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Do what a plan says and is not done, and return what came out.

    Args:
        path: of the plan.
        only: names of bundles; none for all.
        overrides: `section.key=value` for every run.
        until: how far to go; figures and checkpoints need no `crackscout[export]`.
        minutes: after which runs are stopped, to be taken up by the same call.
        parallel: runs side by side, in the plan's place.
        told: is given a line when a job begins or ends.

    Raises:
        ConfigError: the plan, or a file that it names, does not fit.
        ShipError: jobs failed; all others are done.
        KeyboardInterrupt: stopped, or the minutes are over.
    """
    begun = time.monotonic()
    plan = read_plan(path)
    unknown = [name for name in only if name not in plan.bundles]
    if unknown:
        raise ConfigError(f"--only {unknown[0]}: {path} has {', '.join(plan.bundles)}")
    names = [name for name in plan.bundles if not only or name in only]
    runs = {name: runs_of(plan, path, name, overrides) for name in names}
    jobs = _rendering([run for some in runs.values() for run in some])
    rendered = tuple(job.name for job in jobs)
    each = {run.name: run for some in runs.values() for run in some}  # the base is every bundle's
    jobs += [_job(run, rendered) for run in each.values()]
    limit = None if minutes is None else begun + 60 * minutes
    failed = run_jobs(jobs, plan.out / "logs", parallel=parallel or plan.parallel, until=limit, told=told)
    if failed:
        first, why = next(iter(failed.items()))
        raise ShipError(f"{path}: {len(failed)} of {len(jobs)} jobs failed; {first}: {why}")
    made: list[Path] = []
    for name in names if until != "runs" else []:
        made += _finish(plan, name, runs[name])
        if until == "export" and plan.bundles[name].export is not None:
            made.append(_export(plan, path, name))
            told(f"{made[-1]}: exported")
    return made


def steps_planned(path: Path, only: Sequence[str] = (), overrides: Sequence[str] = ()) -> list[tuple[str, int, int]]:
    """Return of every run its name, its steps, and the crops of a step, for a budget of time.

    Raises:
        ConfigError: see `ship`.
    """
    plan = read_plan(path)
    found = [run for name in plan.bundles if not only or name in only for run in runs_of(plan, path, name, overrides)]
    chosen = {run.name: run.settings.optimiser for run in found}  # the base is every bundle's
    return [(name, opt.epochs * opt.steps_per_epoch, opt.batch) for name, opt in chosen.items()]


def _rendering(runs: Sequence[Run]) -> list[Job]:
    """Return a job for each file of the pools that the runs share."""
    wanted: dict[Path, Callable[[], object]] = {}
    for run in runs:
        for source in run.settings.data.sources:
            if isinstance(source, PoolSource) and source.cache is not None and source.pool_seed is not None:
                for start in range(0, source.count, CHUNK):
                    file = chunk_file(
                        source.cache, start, kind=source.kind, size_px=source.size_px, seed=source.pool_seed
                    )
                    wanted[file] = partial(
                        rendered_chunk,
                        start,
                        kind=source.kind,
                        size_px=source.size_px,
                        seed=source.pool_seed,
                        cache=source.cache,
                    )
    return [
        Job(name=f"render/{path.stem}", action=partial(_called, do), done=path.exists) for path, do in wanted.items()
    ]


def _called(do: Callable[[], object]) -> None:
    do()


def _job(run: Run, rendered: tuple[str, ...]) -> Job:
    """Return the training, and behind it the asking about what was held back."""
    pool = rendered if any(isinstance(source, PoolSource) for source in run.settings.data.sources) else ()
    folder, asked = run.settings.folder, run.role != "teacher" and (run.fold is not None or bool(run.asked))
    return Job(
        name=run.name,
        action=partial(_trained, run.settings, run.asked, ask=asked),
        done=(folder / FILE).exists if asked else partial(_fitted, folder),
        needs=(*pool, *run.needs),
    )


def _trained(settings: Settings, asked: tuple[Source, ...], *, ask: bool) -> None:
    """Train, from the start or from where it stopped, and keep what the run says of what it held back."""
    if not _fitted(settings.folder):
        fit(settings, resume=(settings.folder / RUN_NAME).exists())
    if ask:
        hold(settings, asked)


def _fitted(folder: Path) -> bool:
    path = folder / RUN_NAME
    return path.exists() and "result" in json.loads(path.read_text(encoding="utf-8")) and (folder / LAST).exists()


def _finish(plan: Plan, name: str, runs: Sequence[Run]) -> list[Path]:
    """Write a bundle's figures and its two checkpoints."""
    chosen, folder = plan.bundles[name], plan.out / name
    final = {run.net: run for run in runs if run.role == "main" and run.name.endswith(f"/{FINAL}")}
    settings = final["segmenter"].settings
    photos = [s for net in final.values() for s in net.settings.data.sources if not isinstance(s, PoolSource)]
    photos += [source for run in runs for source in run.asked if not isinstance(source, PoolSource)]
    sources = {source.name: open_source(source, settings) for source in photos}
    distractors = {
        source.name: settings.data.root / source.folder / chosen.distractors[source.name]
        for source in photos
        if isinstance(source, PairSource) and source.name in chosen.distractors
    }
    found = bundle_figures(
        name,
        Answers(
            sources=sources,
            main=_held([run for run in runs if run.role == "main" and run.fold is not None]),
            left_out={run.name: _held([run]) for run in runs if run.role == "main" and run.asked},
            variants=_variants(chosen, runs),
            reference=_held([run for run in runs if run.role == "main" and run.fold in _compared_folds(chosen)]),
        ),
        folds=chosen.folds,
        recall=final["gate"].settings.gate.recall,
        false_cracks=chosen.false_cracks,
        distractors=distractors,
        resamples=plan.resamples,
    )
    _write(folder / FIGURES, found.model_dump_json(indent=2) + "\n")
    _write(folder / "figures.md", as_markdown(found))
    curves = (("before", found.reliability_before), ("calibrated", found.reliability))
    save_diagram(folder / "reliability.png", curves, title=f"{name}: held-back pixels, sets alike")
    _stamp(folder / "segmenter.ckpt", final["segmenter"].settings, found)
    _stamp(folder / "gate.ckpt", final["gate"].settings, found)
    return [folder / one for one in (FIGURES, "figures.md", "reliability.png", "segmenter.ckpt", "gate.ckpt")]


def _held(runs: Sequence[Run]) -> Held:
    found = Held()
    for run in runs:
        found.add(run.settings.folder / FILE)
    return found


def _compared_folds(chosen: BundlePlan) -> set[int]:
    return {fold for variant in chosen.variants.values() for fold in variant.folds} or {0}


def _variants(chosen: BundlePlan, runs: Sequence[Run]) -> dict[str, list[Held]]:
    """Return each variant's answers, a seed at a time; those of sets that it never saw under a name of theirs."""
    found: dict[str, list[Held]] = {}
    for role in (*chosen.variants, BASE):
        own = [run for run in runs if run.role == role]
        seeds = sorted({run.settings.seed for run in own if run.fold is not None})
        by_seed = [[r for r in own if r.fold is not None and r.settings.seed == seed] for seed in seeds]
        if by_seed:
            found[role] = [_held(some) for some in by_seed]
        found |= {f"{role}, {run.name.rpartition('/')[2]}": [_held([run])] for run in own if run.asked}
    return found


def _stamp(out: Path, settings: Settings, found: BundleFigures) -> None:
    """Write the checkpoint that ships: the last weights of the final run, thresholds, calibration and figures."""
    segments = settings.task == "segment"
    checkpoint = settings.folder / LAST
    _, passport = load_checkpoint(checkpoint)
    threshold = found.threshold if segments else found.gate_threshold
    figures = _segmenter_figures(found) if segments else _gate_figures(found)
    validation = Validation(
        score=found.reliability.error,
        score_name="expected calibration error" if segments else "not scored",
        threshold=threshold.value,
        chosen=threshold.chosen,
        figures=tuple(figures),
        skipped=(),
    )
    update = {"validation": validation, "calibration": found.calibration if segments else None}
    save_slim(out, checkpoint, passport.model_copy(update=update))


_FALSE_CRACKS: Final = "false_cracks_per_clean_image"
_MEANING: Final = {
    "strict.ods": "best F1 over one threshold for the set, pixel on pixel, counts pooled",
    "strict.f1": "F1 at the shipped threshold, pixel on pixel, counts pooled",
    "tolerance(2).ods": "best F1 over one threshold for the set, 2 px tolerance, counts pooled",
    "tolerance(2).f1": "F1 at the shipped threshold, 2 px tolerance, counts pooled",
    "cldice": "clDice of skeletons at the shipped threshold, mean over pictures with a crack",
    _FALSE_CRACKS: "components called crack per picture without one, at the shipped threshold",
}


def _segmenter_figures(found: BundleFigures) -> list[Figure]:
    kinds = (
        (found.held_out, f"{found.folds} folds by place, alone"),
        (found.after_gate, f"{found.folds} folds by place, after the gate"),
        (found.left_out, "set left out of the training"),
    )
    figures = []
    for sets, how in kinds:
        for one in sets:
            for key, meaning in _MEANING.items():
                value = one.figures[key]
                if value.value is not None and (one.with_crack or key == _FALSE_CRACKS):  # F1 of nothing says nothing
                    interval = (
                        ""
                        if value.low is None or value.high is None
                        else f"; 95 %: {value.low:.3f} to {value.high:.3f}"
                    )
                    figures.append(
                        Figure(
                            name=key, definition=f"{meaning}{interval}", data=f"{one.name}, {how}", value=value.value
                        )
                    )
    everything = "all sets alike, held-back folds"
    after, before = found.reliability, found.reliability_before
    return [
        *figures,
        Figure(
            name="calibration_error",
            definition=f"mean of |probability - share of crack| over pixels ({before.error:.4f} before calibration)",
            data=everything,
            value=after.error,
        ),
        Figure(
            name="calibration_error_above_5_percent",
            definition=f"the same over bins above 5 %, each alike ({before.crack_error:.4f} before calibration)",
            data=everything,
            value=after.crack_error,
        ),
        *(
            Figure(name="distractor", definition="share of a distractor's pixels called crack", data=name, value=share)
            for name, share in found.distractors.items()
        ),
    ]


def _gate_figures(found: BundleFigures) -> list[Figure]:
    kinds = (
        ("tile_recall", "crack tiles passed at the shipped threshold"),
        ("tiles_saved", "clean tiles stopped at the shipped threshold"),
        ("error", "patches in the wrong class at 0.5"),
    )
    figures = []
    for one in found.gate:
        for key, meaning in kinds:
            value = getattr(one, key)
            if value.value is not None:
                interval = (
                    "" if value.low is None or value.high is None else f"; 95 %: {value.low:.4f} to {value.high:.4f}"
                )
                data = f"{one.name}, {found.folds} folds by place"
                figures.append(Figure(name=key, definition=f"{meaning}{interval}", data=data, value=value.value))
    return figures


def _export(plan: Plan, path: Path, name: str) -> Path:
    """Seal the bundle by the command that also a person would use; export stands above train."""
    folder, config = plan.out / name, path.parent / (plan.bundles[name].export or Path())
    out = folder / "bundle"
    files = [folder / "segmenter.ckpt", folder / "gate.ckpt", "--out", out, "--config", config]
    words = [sys.executable, "-m", "export", "bundle", *map(str, files), "--overwrite"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ShipError(f"{out}: crack-export bundle ended with {done.returncode}: {last}")
    return out


def _write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
