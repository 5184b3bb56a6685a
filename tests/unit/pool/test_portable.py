"""Parts of the portable way: frames, answers that a stop must not cut, output, files."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra.pool.portable.files import CopiedMapping, open_shared
from flowrra.pool.portable.folder import Folder
from flowrra.pool.portable.frames import Frame, Frames, framed
from flowrra.pool.portable.output import Output
from flowrra.pool.portable.process.answers import FrameAnswers
from flowrra.pool.process.output import mark
from flowrra.pool.transport.messages import Dismiss, Message, Progressed, Stop

MARK = b"0123456789abcdef"
messages: st.SearchStrategy[Message] = (
    st.builds(Stop, st.integers(0, 2**40))
    | st.just(Dismiss())
    | st.builds(Progressed, st.integers(1, 9), st.floats(0, 1), st.none(), st.text())
)


@given(st.lists(st.tuples(messages, st.sampled_from(["", "slab-1"])), max_size=5), st.data())
def test_however_the_bytes_arrive_the_frames_are_those_that_were_sent(
    sent: list[tuple[Message, str]], data: st.DataObject
) -> None:
    whole = b"".join(framed(message, name) for message, name in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    frames = Frames()
    received: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        received += frames.feed(whole[start:end])
    assert received == sent


class StopNowError(BaseException):
    pass


def test_a_stop_in_the_middle_of_a_frame_waits_for_its_end() -> None:
    engine, worker = socket.socketpair()
    answers = FrameAnswers(worker, "", 1)
    main = threading.get_ident()
    long = Progressed(1, 0.5, None, "x" * 3_000_000)
    received: list[Frame] = []

    def raise_stop() -> None:
        raise StopNowError

    def read_after_the_signal() -> None:
        frames = Frames()
        received.extend(frames.feed(engine.recv(1000)))  # the sender has begun, and waits for room
        signal.pthread_kill(main, signal.SIGUSR1)
        while len(received) < 1:
            received.extend(frames.feed(engine.recv(1 << 20)))

    before = signal.signal(signal.SIGUSR1, lambda *_: answers.unless_sending(raise_stop))
    reader = threading.Thread(target=read_after_the_signal)
    reader.start()
    try:
        with pytest.raises(StopNowError):
            answers.send(long)
        reader.join(10)
        assert [frame.message for frame in received] == [long]
        with pytest.raises(StopNowError):
            answers.unless_sending(raise_stop)
    finally:
        signal.signal(signal.SIGUSR1, before)
        engine.close()
        worker.close()


def test_output_before_the_end_is_read_and_nothing_after_it_is_waited_for() -> None:
    news = threading.Event()
    output = Output(MARK, news.set)
    stdout, stderr = (os.dup(end) for end in output.ends)
    output.start()
    os.write(stdout, b"one" + mark(MARK, 1) + b"two")
    os.write(stderr, mark(MARK, 1) + b"last words")
    assert news.wait(10)
    output.finish()  # though both pipes are still open
    output.look()
    assert list(output.finished) == [(1, [(1, b"one")])]
    assert list(output.remains()) == [(1, b"two"), (2, b"last words")]
    assert output.last_words() == b"last words"
    os.close(stdout)
    os.close(stderr)


def test_what_is_written_to_a_mapping_stays_out_of_the_file_wherever_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1024)
    fd = open_shared(str(path))
    monkeypatch.setattr("mmap.ALLOCATIONGRANULARITY", 65536)
    view, ref = CopiedMapping(fd, 4096, offset=69632).view()
    os.close(fd)
    assert bytes(view[:4]) == bytes(range(4))
    view[:4] = b"mine"
    assert path.read_bytes() == bytes(range(256)) * 1024
    assert ref() is not None
    del view
    assert ref() is None


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWRRA_SPILL", str(tmp_path))
    folder = Folder()
    for name in ("../secret", "/etc/passwd", ""):
        with pytest.raises(ValueError, match="no name of a shared file"):
            folder.path_of(name)
    del folder
    assert not list(tmp_path.iterdir())
