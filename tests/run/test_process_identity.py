"""Processes told apart: those that run, have ended, or only share a number."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from dovetail.run.process_identity import Process, alive, this_process


def identity_of_another() -> str:
    """A program that prints its identity, then waits for its stdin to close."""
    return (
        "import json, sys\n"
        "from dovetail.run.process_identity import this_process\n"
        "print(json.dumps(this_process().to_dict()), flush=True)\n"
        "sys.stdin.read()\n"
    )


@pytest.fixture
def other():
    process = subprocess.Popen(
        [sys.executable, "-c", identity_of_another()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield process, Process.from_dict(json.loads(process.stdout.readline()))
        process.kill()


def test_a_running_process_is_alive_and_a_killed_one_is_not(other):
    process, identity = other
    assert identity.pid == process.pid
    assert alive(identity) is True
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert alive(identity) is False, "a zombie does not run"
    process.wait()
    assert alive(identity) is False


def test_another_process_of_the_same_number_is_not_taken_for_it():
    me = this_process()
    if me.started is None:
        pytest.skip("this system has no /proc, so a number is all there is")
    assert alive(dataclasses.replace(me, started=me.started - 1)) is False
    assert alive(dataclasses.replace(me, boot="another")) is False


def test_nothing_is_claimed_of_another_machine():
    assert alive(dataclasses.replace(this_process(), host="elsewhere")) is None
    assert alive(dataclasses.replace(this_process(), namespace="pid:[1]")) is None or (
        this_process().namespace == ""
    )


def test_an_identity_survives_json_and_more_keys():
    me = this_process()
    assert Process.from_dict({**json.loads(json.dumps(me.to_dict())), "command": ["x"]}) == me
    with pytest.raises(KeyError):
        Process.from_dict({"host": "here"})
