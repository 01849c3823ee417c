"""Files of the user, executed each time afresh."""

import sys

import pytest

from dovetail.definition.source import execute, local_files, outline
from dovetail.errors import DefinitionError


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def refusal(function, path):
    with pytest.raises(DefinitionError) as caught:
        function(path)
    return str(caught.value)


def test_each_execution_has_objects_of_its_own(write):
    path = write("net.py", "things = []\ndef f():\n    return things\n")
    one, two = execute(path), execute(path)
    one.things.append(1)
    assert (one.f(), two.f()) == ([1], [])
    assert one.__name__ != two.__name__


def test_dataclasses_and_pickles_find_their_module(write):
    path = write(
        "data.py",
        "from __future__ import annotations\nimport dataclasses, pickle\n"
        "@dataclasses.dataclass\nclass A:\n    x: int = 3\n"
        "copied = pickle.loads(pickle.dumps(A(4)))\n",
    )
    assert execute(path).copied.x == 4


def test_modules_beside_a_file_can_be_imported(write):
    path = write("main_one.py", "import beside_one\nvalue = beside_one.value\n")
    write("beside_one.py", "value = 7\n")
    before = list(sys.path)
    assert execute(path).value == 7
    assert sys.path == before


def test_namesakes_in_another_folder_are_not_mixed_up(write):
    for folder, value in (("a", 1), ("b", 2), ("a", 1)):
        path = write(f"{folder}/main.py", "import namesake\nvalue = namesake.value\n")
        write(f"{folder}/namesake.py", f"value = {value}\n")
        assert execute(path).value == value


def test_an_absent_file_is_named_with_what_is_there(write):
    path = write("digits.py", "")
    message = refusal(execute, path.with_name("digit.py"))
    assert "There is no model file" in message
    assert "holds: digits.py" in message
    assert "There is no model file" in refusal(execute, path.parent / "none" / "digit.py")


def test_a_folder_is_refused(tmp_path):
    assert "is a folder; give the Python file" in refusal(execute, tmp_path)


def test_a_file_that_does_not_parse_is_refused_with_its_line(write):
    path = write("broken.py", "x = 1\ndef model(:\n    pass\n")
    message = refusal(execute, path)
    assert f"{path}:2: the file does not parse" in message
    assert "def model(:" in message


@pytest.mark.parametrize("content", [b"x = '\xff'", b"x = 1\x00"])
def test_a_file_that_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "binary.py"
    path.write_bytes(content)
    assert str(path) in refusal(execute, path)


def test_a_file_of_another_kind_is_refused(write):
    assert "name must end in .py" in refusal(
        execute, write("params.yaml", "a: 1\n".replace(": ", "="))
    )


def test_a_file_that_raises_is_refused_with_its_line(write, monkeypatch):
    path = write("raises.py", "def f():\n    return {}['key']\n\nx = 1\nf()\n")
    message = refusal(execute, path)
    assert f"{path}:2: running the file raised KeyError: 'key'" in message
    monkeypatch.chdir(path.parent)
    assert "raises.py:2:" in refusal(lambda _: execute(path.relative_to(path.parent)), None)
    assert not any(name.startswith("raises__") for name in sys.modules)


def test_a_file_that_ends_python_is_refused(write):
    path = write("ends.py", "import sys\nsys.exit(3)\n")
    message = refusal(execute, path)
    assert f"{path}:2: running the file ended Python (sys.exit(3))" in message


def test_a_file_that_imports_what_is_absent_is_refused_with_its_line(write):
    message = refusal(execute, write("imports.py", "\nimport no_such_module_here\n"))
    assert "imports.py:2: running the file raised ModuleNotFoundError" in message


def test_a_file_of_tensorflow_is_told_what_to_write(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as where it is not installed
    message = refusal(execute, write("theirs.py", "\nfrom tensorflow import keras\n"))
    assert "theirs.py:2: running the file needs TensorFlow" in message
    assert "Write `import keras` for `tf.keras`" in message


def test_an_outline_knows_lines_doubles_and_imports(write):
    path = write(
        "outlined.py",
        "import torch.nn as nn\nfrom os import path\n\ndef loss(): pass\n"
        "model: int = 3\ndef loss(): pass\nclass Net: pass\n",
    )
    shape = outline(path)
    assert shape.lines == {"nn": 1, "path": 2, "loss": 6, "model": 5, "Net": 7}
    assert shape.doubled == {"loss": [4, 6]}
    assert shape.imports >= {"torch.nn", "os", "os.path"}


def test_local_files_are_those_that_a_file_imports(write):
    path = write("main_two.py", "import one_local\nfrom pack.inner import x\nimport torch\n")
    one = write("one_local.py", "import main_two\nimport two_local\n")
    two = write("two_local.py", "this does not parse(\n")
    write("unused_local.py", "")
    init = write("pack/__init__.py", "")
    inner = write("pack/inner.py", "from .other import y\nfrom . import third\nx = 1\n")
    other, third = write("pack/other.py", "y = 1\n"), write("pack/third.py", "")
    expected = (path, one, two, init, inner, other, third)
    assert set(local_files(path)) == {p.resolve() for p in expected}


def test_keras_is_put_on_torch_before_it_is_imported(write, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setitem(sys.modules, "keras", None)  # so that nothing is imported in earnest
    path = write(
        "uses_keras.py", "import os\nbackend = os.environ['KERAS_BACKEND']\nif 0: import keras\n"
    )
    assert execute(path).backend == "torch"


def test_keras_on_another_backend_is_refused(write, monkeypatch):
    class Keras:
        class backend:
            backend = staticmethod(lambda: "jax")

    monkeypatch.setitem(sys.modules, "keras", Keras)
    assert "on its jax backend" in refusal(execute, write("keras_too.py", "import keras\n"))
