"""Reports to the console: silent without a server, one line when it fails, stored when it answers."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from shipwall.adapters.report import Reporter
from shipwall.model.digest import digest_of
from shipwall.model.wire import Ack, AnyMessage, ImageStep, Message, parse_length, parse_message, render_frame

STEP = ImageStep(digest=digest_of(b"x"), image="dev/shop", step="signed", time_ns=1)


def answer_once(path: Path, answer: Message, heard: list[AnyMessage]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as peer, peer.makefile("rb") as stream:
            heard.extend(parse_message(stream.read(parse_length(stream.read(4)))) for _ in range(2))
            peer.sendall(render_frame(answer))

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_nothing_is_said_without_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Reporter(tmp_path / "link.sock")(STEP)
    assert capsys.readouterr().err == ""


def test_a_step_is_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[AnyMessage] = []
    thread = answer_once(tmp_path / "link.sock", Ack(of=1), heard)
    Reporter(tmp_path / "link.sock")(STEP)
    thread.join(5)
    assert isinstance(heard[1], ImageStep)
    assert (heard[1].step, heard[1].number) == ("signed", 1)
    assert capsys.readouterr().err == ""


def test_a_dead_server_is_one_line_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "link.sock"))
    reporter = Reporter(tmp_path / "link.sock")
    reporter(STEP)
    reporter(STEP)
    error = capsys.readouterr().err
    assert error.startswith("shipwall: the console was not told: server at ")
    assert error.count("\n") == 1
