from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from dovetail.cli.errors import explained
from dovetail.errors import DataError, StorageError

TRAIN = ("--data", "demo/records/train", "--model-dir", "run", "--max-steps", 1)


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def _edited(folder: Path, old: str, new: str) -> None:
    text = (folder / "digits.py").read_text()
    assert old in text
    (folder / "digits.py").write_text(text.replace(old, new))


def test_a_mistake_of_the_user_s_is_its_message_alone() -> None:
    assert explained(_raised(DataError("no rows"))) == ("no rows", 1)


def test_no_permission_is_a_mistake_and_names_the_place() -> None:
    text, code = explained(_raised(PermissionError(errno.EACCES, "Permission denied", "/a/b")))
    assert code == 1
    assert "/a/b" in text


def test_a_full_disk_is_not_the_user_s_mistake() -> None:
    text, code = explained(_raised(OSError(errno.ENOSPC, "No space left on device", "/a/b")))
    assert code == 3
    assert "/a/b" in text
    assert "Make room" in text


def test_what_nobody_expected_is_not_the_user_s_mistake_and_says_how_to_see_more() -> None:
    text, code = explained(_raised(ZeroDivisionError("division by zero")))
    assert code == 3
    assert "ZeroDivisionError: division by zero" in text
    assert "--traceback" in text


def test_an_exception_out_of_the_user_s_code_names_its_line(run: Any, shop: Path) -> None:
    _edited(shop, "cross_entropy(output, labels)", "cross_entropy(output, labels[:1])")
    ran = run("train", "digits.py", *TRAIN)
    assert ran.code == 1
    line = (shop / "digits.py").read_text().splitlines().index("def loss(output, labels):") + 2
    assert f"at digits.py:{line}, in loss: return nn.functional.cross_entropy" in ran.err
    assert "on the batch of rows" in ran.err  # what was noted on the way is shown too
    assert "labels: [32] int64" in ran.err
    assert "Traceback" not in ran.err


def test_an_exception_out_of_a_module_that_the_file_imports_names_its_line(
    run: Any, shop: Path
) -> None:
    (shop / "own_parts.py").write_text("def halved(x):\n    return x // zero\n")
    _edited(shop, "import torch\n", "import torch\nfrom own_parts import halved\n")
    _edited(shop, 'features["image"].float() / 255', 'halved(features["image"])')
    ran = run("train", "digits.py", *TRAIN)
    assert ran.code == 1
    assert "NameError" in ran.err
    assert "at own_parts.py:2, in halved" in ran.err


def test_layers_that_do_not_fit_are_a_mistake_in_the_model(run: Any, shop: Path) -> None:
    _edited(shop, "nn.Linear(16, 3)", "nn.Linear(15, 3)")
    ran = run("train", "digits.py", *TRAIN)
    assert ran.code == 1
    assert "called by the definition of digits.py" in ran.err


def test_with_traceback_the_whole_of_it_comes_before_the_message(run: Any, shop: Path) -> None:
    ran = run("train", "absent.py", *TRAIN, "--traceback")
    assert ran.code == 1
    assert "Traceback (most recent call last)" in ran.err.partition("error:")[0]
    assert "digits.py" in ran.err.partition("error:")[2]


def test_a_failure_inside_dovetail_is_not_blamed_on_the_user(
    run: Any, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dovetail.run import provenance

    def broken(*args: object, **kwargs: object) -> None:
        raise AssertionError("a fault")

    monkeypatch.setattr(provenance, "record", broken)
    ran = run("train", "digits.py", *TRAIN)
    assert ran.code == 3
    assert "AssertionError: a fault" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.filterwarnings("default")
def test_a_warning_is_shown_as_a_note_once(run: Any, shop: Path) -> None:
    _edited(shop, "def loss(", "import warnings\nwarnings.warn('mind the gap')\n\n\ndef loss(")
    ran = run("train", "digits.py", *TRAIN)
    assert ran.code == 0
    assert ran.err.count("note: mind the gap") == 1


def test_a_disk_that_fails_is_not_the_user_s_mistake() -> None:
    assert explained(_raised(StorageError("No room for it."))) == ("No room for it.", 3)
