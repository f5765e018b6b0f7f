"""Files are there whole or not at all, and what is read of them is bounded and said in one line."""

import errno
import json
import math
import os
import shutil

import pytest
from refusals import refusal

from agentgym import files, folders
from agentgym.errors import UserError


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"a": 1', "is not whole JSON"),
        (b"", "is not whole JSON"),
        (b"[]", "holds a list, expected an object"),
        (b"7", "holds a number, expected an object"),
        (b'"text"', "holds a text, expected an object"),
        (b"null", "holds null, expected an object"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "is not whole JSON"),
        (b"\xff\xfe", "is not text"),
    ],
)
def test_json_that_is_none_is_one_line(tmp_path, content, said):
    file = tmp_path / "values.json"
    file.write_bytes(content)
    assert said in refusal(files.read_json, file, dict)


def test_what_has_no_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe or a device" in refusal(files.read_text, tmp_path / "pipe")
    assert "is a folder, not a file" in refusal(files.read_text, tmp_path)
    assert "there is no such file" in refusal(files.read_text, tmp_path / "none")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert "is a pipe or a device" in refusal(files.read_text, tmp_path / "zero")
    (tmp_path / "long").write_bytes(b"x" * 11)
    assert "at most 10 are read" in refusal(files.read_text, tmp_path / "long", most=10)


def test_a_name_cannot_break_a_line_or_move_the_cursor(tmp_path):
    line = refusal(files.read_text, tmp_path / "a\nb\x1b[2J\udcff")
    assert "a\\nb\\x1b[2J\\udcff" in line
    assert len(str(UserError("x" * 10**6))) == 2_000


def test_a_number_that_is_not_finite_is_null():
    text = files.to_json({"a": [float("nan"), 1.5], "b": float("inf")})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, 1.5], "b": None}


def test_the_line_that_a_crash_cut_is_left_out_and_written_over(tmp_path):
    file = tmp_path / "curve.jsonl"
    assert files.read_json_lines(file) == []
    files.append_json_line(file, {"a": 1})
    with file.open("a") as stream:
        stream.write('{"a": 2')
    assert files.read_json_lines(file) == [{"a": 1}]
    files.append_json_line(file, {"a": 3})
    assert file.read_text() == '{"a": 1}\n{"a": 3}\n'
    file.write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
    assert "curve.jsonl, line 2" in refusal(files.read_json_lines, file)


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path):
    with folders.new_folder(tmp_path / "deep/new") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "deep/new").exists()
    assert (tmp_path / "deep/new/file").read_text() == "x"
    with pytest.raises(ZeroDivisionError), folders.new_folder(tmp_path / "other/new") as folder:
        (folder / "file").write_text(str(1 / 0))
    assert [each.name for each in tmp_path.iterdir()] == ["deep"]
    with pytest.raises(UserError, match="is there already"), folders.new_folder(tmp_path / "deep/new"):
        pass


def test_what_a_library_says_of_a_full_disk_is_the_disks_own_word(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with pytest.raises(OSError, match="No space left") as caught, files.writing(tmp_path / "model"):
        raise RuntimeError("unexpected pos 653888 vs 653780")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "model"))
    with pytest.raises(OSError, match="Read-only") as caught, files.writing(tmp_path / "model"):
        raise RuntimeError("Error while serializing: I/O error: Read-only file system (os error 30)")
    assert caught.value.errno == errno.EROFS


def test_a_folder_is_claimed_by_one_at_a_time_and_gone_when_nothing_was_put_into_it(tmp_path):
    with folders.claimed(tmp_path / "a/b", "busy"):
        assert refusal(folders.claimed(tmp_path / "a/b", "busy").__enter__) == f"{tmp_path / 'a/b'}: busy"
    assert not (tmp_path / "a").exists()
    with folders.claimed(tmp_path / "a", "busy"):
        (tmp_path / "a/file").write_text("x")
    assert (tmp_path / "a/file").exists()


def test_nothing_from_outside_a_folder_is_shown(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "private.png").write_bytes(b"x")
    (tmp_path / "run/link.png").symlink_to(tmp_path / "private.png")
    for name in ("../private.png", "link.png", str(tmp_path / "private.png")):
        assert "is outside of" in refusal(folders.check_inside, tmp_path / "run" / name, tmp_path / "run")


def test_a_point_that_was_not_a_number_is_read_as_it_was_written(tmp_path):
    files.append_json_line(tmp_path / "curve.jsonl", {"steps": 1, "mean_return": math.nan})
    [point] = files.check_points(files.read_json_lines(tmp_path / "curve.jsonl"), tmp_path, ("steps", "mean_return"))
    assert math.isnan(point["mean_return"])
    assert "has no number 'seconds'" in refusal(files.check_points, [{"steps": 1}], tmp_path, ("steps", "seconds"))
