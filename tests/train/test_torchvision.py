"""A torchvision wheel of another build than torch's fails at import and takes lightning with it; `train` mends that."""

from __future__ import annotations

import subprocess
import sys

from tests.support.commands import ROOT, variables


def test_lightning_and_torchmetrics_import_after_train_whatever_the_build_of_torchvision() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import train, lightning, torchmetrics, torchvision; print(torchvision.__version__)"],
        cwd=ROOT,
        env=variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_missing_operators_are_declared_only_beside_a_build_that_lacks_them() -> None:
    probe = (
        "import torch\n"
        "try:\n    import torchvision\n    broken = False\n"
        "except RuntimeError:\n    broken = True\n"
        "import train\n"
        "print(broken == (train.TORCHVISION_OPERATORS is not None))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, env=variables(), capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "True", done.stderr
