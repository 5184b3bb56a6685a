from __future__ import annotations

from pathlib import Path

import flowrra
from flowrra.pool.crash_report import without_engine_frames

OURS = f'  File "{Path(flowrra.__file__).parent}/pool/process/worker.py", line 68 in serve\n'
STARTED = '  File "<string>", line 1 in <module>\n'
USER = '  File "/home/me/analysis.py", line 3 in crash\n'
LIBRARY = '  File "/usr/lib/python3.13/ctypes/__init__.py", line 519 in string_at\n'
HEAD = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"
TAIL = "\nExtension modules: numpy (total: 1)\n"


def test_a_stack_ends_where_the_users_frames_end() -> None:
    assert without_engine_frames(HEAD + LIBRARY + USER + OURS + OURS + STARTED + TAIL) == HEAD + LIBRARY + USER + TAIL


def test_what_the_users_code_calls_of_ours_is_kept() -> None:
    assert without_engine_frames(HEAD + OURS + USER + OURS + STARTED) == HEAD + OURS + USER


def test_a_crash_of_the_engine_itself_is_told_whole() -> None:
    text = HEAD + OURS + STARTED
    assert without_engine_frames(text) == text


def test_each_thread_has_a_stack_of_its_own_and_other_words_stay() -> None:
    thread = "Thread 0x2 (most recent call first):\n"
    text = f"before\n{thread}{USER}\n{HEAD}{USER}{OURS}"
    assert without_engine_frames(text) == f"before\n{thread}{USER}\n{HEAD}{USER}"
