"""Run directories: atomic files, lock, manifest."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from camelid.errors import CamelidError, CheckpointError, ConfigError, MissingInputError
from camelid.run import files as runs
from camelid.run.directory import Manifest, RunDirectory
from camelid.run.files import (
    append_jsonl,
    atomic_write_text,
    cut_half_line,
    hash_file,
    hash_path,
    is_disk_full,
    read_json,
    read_json_as,
)
from camelid.seeds import derive_seed

MANIFEST = Manifest(
    recipe="toy",
    seed=0,
    camelid_version="0",
    python="3",
    torch="2",
    platform="x",
    device="cpu",
    threads=1,
    precision="float32",
    watts=65.0,
    power_usage_effectiveness=1.1,
    carbon_kg_per_kwh=0.385,
)


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_seeds_are_a_pure_function():
    assert derive_seed(0, "sft") == derive_seed("0", "sft") == 5243201029038482398
    assert derive_seed(0, "sft") != derive_seed(1, "sft")
    assert all(0 <= derive_seed(i) < 2**63 for i in range(200))


def test_atomic_write_replaces_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    atomic_write_text(path, "one")
    atomic_write_text(path, "zwei ä")
    assert path.read_text(encoding="utf-8") == "zwei ä"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    atomic_write_text(path, "old")
    monkeypatch.setattr(runs.os, "fsync", full_disk)
    with pytest.raises(CamelidError, match=r"The disk is full .*file\.txt") as caught:
        atomic_write_text(path, "new")
    assert "\n" not in str(caught.value)
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_short_write_is_cut_back(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, {"a": 1})
    real_open = Path.open

    class Short:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def write(self, data):
            return self._file.write(data[:3])

        def __getattr__(self, name):
            return getattr(self._file, name)

    monkeypatch.setattr(Path, "open", lambda self, *a, **k: Short(real_open(self, *a, **k)))
    with pytest.raises(CamelidError, match="disk is full"):
        append_jsonl(path, {"b": 2})
    monkeypatch.undo()
    assert path.read_text(encoding="utf-8") == '{"a": 1}\n'


def test_disk_full_is_seen_through_native_errors():
    assert is_disk_full(OSError(errno.ENOSPC, "x"))
    assert is_disk_full(RuntimeError("write failed: No space left on device"))
    assert not is_disk_full(OSError(errno.EACCES, "x"))


def test_read_json_gives_advice(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(MissingInputError, match="Do this"):
        read_json(path, "Do this.")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"damaged\. Do this"):
        read_json(path, "Do this.")


def test_case_bom_is_no_damage(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n')
    assert read_json(path, "") == {"a": 1}


def test_read_json_as_gives_advice(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": 1, "b": 2}')
    assert read_json_as(path, dict[str, int], "") == {"a": 1, "b": 2}
    with pytest.raises(CheckpointError, match=r"x\.json\.a is 1, .* damaged\. Do this"):
        read_json_as(path, dict[str, str], "Do this.")


def test_case_half_line_validation_only_what_is_unfinished_is_cut(tmp_path):
    path = tmp_path / "x.jsonl"
    for content, kept in ((b"", b""), (b"a", b""), (b"a\n", b"a\n"), (b"a\n\xc3", b"a\n")):
        path.write_bytes(content)
        cut_half_line(path)
        assert path.read_bytes() == kept


def test_hash_of_a_folder_sees_names_and_contents(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("1", encoding="utf-8")
    assert hash_path(tmp_path / "a") == hash_path(tmp_path / "b")
    (tmp_path / "b" / "x").rename(tmp_path / "b" / "y")
    assert hash_path(tmp_path / "a") != hash_path(tmp_path / "b")
    assert hash_path(tmp_path / "a" / "x") == hash_file(tmp_path / "a" / "x")
    with pytest.raises(MissingInputError):
        hash_path(tmp_path / "none")


def test_a_second_process_is_refused_by_name(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create()
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from camelid.errors import CamelidError\n"
        "from camelid.run.directory import RunDirectory\n"
        "try:\n"
        "    with RunDirectory(Path(sys.argv[1])).lock(): print('held')\n"
        "except CamelidError as error: print(error)\n"
    )
    source = str(Path(runs.__file__).parents[1])

    def second() -> str:
        return subprocess.run(
            [sys.executable, "-c", program, str(run.root)],
            env={**os.environ, "PYTHONPATH": source},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    with run.lock():
        said = second()
        assert "in use by another process" in said
        assert f"pid {os.getpid()} on " in said
        assert "started 2" in said
    assert second() == "held\n"


def test_strangers_are_not_overwritten(tmp_path):
    (tmp_path / "precious.txt").write_text("x", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"precious\.txt.*--out"):
        RunDirectory(tmp_path).create()
    with pytest.raises(ConfigError, match="is a file"):
        RunDirectory(tmp_path / "precious.txt").create()


def test_manifest_errors(tmp_path):
    with pytest.raises(MissingInputError, match="There is no run at"):
        RunDirectory(tmp_path / "none").read_manifest()
    run = RunDirectory(tmp_path)
    for damaged in ("{", "[]", "{}"):
        (tmp_path / "run.json").write_text(damaged, encoding="utf-8")
        with pytest.raises(CheckpointError, match=r"put run\.json back.*--out"):
            run.read_manifest()
    run.write_manifest(MANIFEST)
    assert run.read_manifest() == MANIFEST
    run.write_recipe({"name": "ä"})
    assert json.loads((tmp_path / "recipe.json").read_text(encoding="utf-8")) == {"name": "ä"}
