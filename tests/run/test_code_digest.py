"""Code is told from other code by its text, wherever it lies."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from pathlib import Path

from dovetail.definition import optimizers
from dovetail.definition.definition import load
from dovetail.run.code_digest import code_of, described, digest


def made_without_a_file(text: str) -> dict:
    space: dict = {}
    exec(compile(text, "<notebook>", "exec"), space)
    return space


def test_files_are_summed_whole_by_their_place_in_the_project(tmp_path: Path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "net.py").write_text("def width():\n    return 3\n")
    (tmp_path / "model.py").write_text(
        "from parts.net import width\n\n\ndef model_fn(features, labels, mode):\n    ...\n"
    )
    code = code_of(load(tmp_path / "model.py"))
    assert code.keys() == {"model.py", "parts/net.py"}
    for name, found in code.items():
        assert found == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_a_function_without_a_file_is_told_by_its_code():
    text = "def model_fn(features, labels, mode):\n    return 1\n"
    one, two = (made_without_a_file(text)["model_fn"] for _ in range(2))
    assert code_of(load(one)).keys() == {"function model_fn"}
    changed = made_without_a_file(text.replace("1", "2"))["model_fn"]
    assert digest(one) == digest(two)
    assert digest(one) != digest(changed)


def test_the_user_s_function_is_found_inside_wrappers():
    space = made_without_a_file("def model_fn(scale, features, labels, mode):\n    return scale\n")
    found = code_of(load(functools.partial(space["model_fn"], 2)))
    assert found == {"function model_fn": digest(space["model_fn"])}


def test_an_input_fn_in_the_same_file_is_covered_by_it(tmp_path: Path):
    (tmp_path / "a.py").write_text("def model_fn(features, labels, mode):\n    ...\n")
    other = made_without_a_file("def input_fn():\n    return 1\n")["input_fn"]
    assert list(code_of(load(tmp_path / "a.py"), [other, None])) == ["a.py", "function input_fn"]


def test_two_functions_of_one_line_differ():
    one, two = (lambda: 1), (lambda: 2)
    assert digest(one) != digest(two)


def test_a_digest_is_the_same_in_every_process():
    code = (
        "from dovetail.run.code_digest import digest\n"
        'exec(compile(\'f = lambda x: x in {"a", "b", "c", "d"}\', \'<n>\', \'exec\'))\n'
        "print(digest(f))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(printed) == 1


def test_optimizers_are_described_without_defaults_or_addresses():
    def factory(parameters):
        raise AssertionError

    groups = optimizers.no_decay()
    said = described(optimizers.Adam(0.1, groups=groups))
    assert said.startswith("Adam(learning_rate=0.1, groups=(ParamGroup(")
    custom = described(optimizers.Custom(factory))
    assert custom.endswith(f"factory {digest(factory)[:8]})")
    assert " at 0x" not in described(optimizers.Custom(object().__init__))
