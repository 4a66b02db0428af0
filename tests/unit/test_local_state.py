"""What protects Pulumi's state in local files."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudmart.deploy.local_state import LocalState, passphrase_file
from cloudmart.errors import UserError


def test_the_passphrase_is_for_its_owner_alone_and_is_made_once(tmp_path: Path) -> None:
    path = passphrase_file(tmp_path)
    first = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first) >= 32
    assert passphrase_file(tmp_path).read_text() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["passphrase"]


def test_the_lock_of_a_run_that_was_killed_is_released_and_no_other(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    ended = subprocess.Popen(["true"])  # and nobody has asked after it yet
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    here, locks = socket.gethostname(), tmp_path / ".local/state/.pulumi/locks/organization/cloudmart"
    held = {
        "dev/gone": {"pid": gone.pid, "hostname": here},
        "dev/ended": {"pid": ended.pid, "hostname": here},
        "dev/number-of-another": {"pid": os.getpid(), "hostname": here},
        "dev/alive": {"pid": os.getpid(), "hostname": here},
        "dev/elsewhere": {"pid": gone.pid, "hostname": f"not-{here}"},
        "dev/odd": [],
        "prod/gone": {"pid": gone.pid, "hostname": here},
    }
    for name, content in held.items():
        path = locks / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    os.utime(locks / "dev/number-of-another.json", (1, 1))
    lines: list[str] = []
    LocalState(tmp_path, "dev").release_dead(lines.append)
    ended.wait()
    left = {str(path.relative_to(locks).with_suffix("")) for path in locks.rglob("*") if path.is_file()}
    assert left == set(held) - {"dev/gone", "dev/ended", "dev/number-of-another"}
    assert lines == ["the last run was killed: its lock on stack dev is released"] * 3


def test_what_a_full_disk_left_of_a_lock_goes_and_one_that_is_being_written_stays(tmp_path: Path) -> None:
    locks = tmp_path / ".local/state/.pulumi/locks/organization/cloudmart/dev"
    locks.mkdir(parents=True)
    for name in ("refused.json", "refused-too.json.1.tmp", "written.json.2.tmp"):
        (locks / name).write_text("")
    os.utime(locks / "refused.json", (1, 1))

    def write() -> None:
        (locks / "written.json.2.tmp").write_text("[]")
        (locks / "written.json.2.tmp").rename(locks / "written.json")

    writing = threading.Timer(0.5, write)
    writing.start()
    LocalState(tmp_path, "dev").release_dead(pytest.fail)
    writing.join()
    assert [path.name for path in locks.iterdir()] == ["written.json"]


def kept(root: Path, **files: str) -> Path:
    """The folder of the backend with these files, each an hour younger than the one before; their names by place."""
    state = root / ".local/state/.pulumi"
    places = {
        "state": "stacks/cloudmart/dev.json",
        "copy": "stacks/cloudmart/dev.json.bak",
        "backup": "backups/cloudmart/dev/dev.1.json",
        "younger": "backups/cloudmart/dev/dev.2.json",
        "entry": "history/cloudmart/dev/dev-1.history.json",
        "older-entry": "history/cloudmart/dev/dev-0.history.json",
        "lock": "locks/organization/cloudmart/dev/one.json",
    }
    for hour, (name, text) in enumerate(files.items()):
        path = state / places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (3600 * hour, 3600 * hour))
    return state / "stacks/cloudmart"


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        ({"backup": '{"v": 1}', "younger": '{"v": 2}', "copy": '{"v": 3}'}, '{"v": 3}'),
        ({"backup": '{"v": 1}', "younger": '{"v": 2}', "copy": '{"v": '}, '{"v": 2}'),
        ({"copy": "", "backup": '{"v": 1}', "younger": '{"v"'}, '{"v": 1}'),
        ({"copy": '{"v": 1}', "backup": '{"v": 2}'}, '{"v": 2}'),
    ],
)
def test_a_state_that_is_cut_off_is_put_back_from_its_youngest_whole_copy_and_stays_beside_it(
    tmp_path: Path, files: dict[str, str], chosen: str
) -> None:
    folder = kept(tmp_path, **files, state='{"v": 9, "se')
    said: list[str] = []
    assert LocalState(tmp_path, "dev").put_back(said.append)
    assert (folder / "dev.json").read_text() == chosen
    assert (folder / "dev.json.cut-off").read_text() == '{"v": 9, "se'
    assert "cut off" in said[0]
    assert "1970-01-01 0" in said[0]
    assert {path.name for path in folder.iterdir()} <= {"dev.json", "dev.json.bak", "dev.json.cut-off"}


def test_a_state_that_was_put_back_is_an_older_one_until_it_was_refreshed(tmp_path: Path) -> None:
    folder = kept(tmp_path, copy="{}", state='{"v": 9, "se')
    state, said = LocalState(tmp_path, "dev"), list[str]()
    assert [state.put_back(said.append) for _ in range(3)] == [True, True, True]
    assert len(said) == 1
    state.is_of_now()
    assert not state.put_back(pytest.fail)
    assert (folder / "dev.json.once-cut-off").read_text() == '{"v": 9, "se'
    state.is_of_now()
    assert {path.name for path in folder.iterdir()} == {"dev.json", "dev.json.bak", "dev.json.once-cut-off"}


def test_two_that_put_back_at_once_leave_a_whole_state(tmp_path: Path) -> None:
    folder = kept(tmp_path, copy='{"v": 1}', state="{")
    said: list[str] = []
    for _ in range(50):
        (folder / "dev.json").write_text('{"v": 9, "se')
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(LocalState(tmp_path, "dev").put_back, said.append) for _ in range(2)]:
                done.result()
        assert (folder / "dev.json").read_text() == '{"v": 1}'
    assert {path.name for path in folder.iterdir()} == {"dev.json", "dev.json.bak", "dev.json.cut-off"}


def test_a_first_state_that_was_refused_is_begun_again(tmp_path: Path) -> None:
    folder = kept(tmp_path, state="")
    assert not LocalState(tmp_path, "dev").put_back(pytest.fail)
    assert [path.name for path in folder.iterdir()] == ["dev.json.once-cut-off"]
    kept(tmp_path, state="{}")
    assert not LocalState(tmp_path, "dev").put_back(pytest.fail)


def test_a_state_that_can_be_read_or_is_in_use_stays_as_it_is(tmp_path: Path) -> None:
    folder = kept(tmp_path, copy='{"v": 1}', state='{"v": 2}')
    LocalState(tmp_path, "dev").put_back(pytest.fail)
    assert (folder / "dev.json").read_text() == '{"v": 2}'
    kept(tmp_path, state='{"v": ', lock="{}")
    LocalState(tmp_path, "dev").put_back(pytest.fail)
    assert (folder / "dev.json").read_text() == '{"v": '


def test_an_entry_of_the_history_that_is_cut_off_is_set_aside_and_the_others_stay(tmp_path: Path) -> None:
    folder = kept(tmp_path, **{"state": "{}", "older-entry": "{}", "entry": "{"}).parents[1] / "history/cloudmart/dev"
    LocalState(tmp_path, "dev").put_back(pytest.fail)
    assert sorted(path.name for path in folder.iterdir()) == ["dev-0.history.json", "dev-1.history.json.cut-off"]


def test_where_no_copy_is_whole_the_error_names_the_file_and_nothing_is_touched(tmp_path: Path) -> None:
    folder = kept(tmp_path, copy="{", state="")
    with pytest.raises(UserError, match=f"{folder / 'dev.json'}: found a state that is cut off") as raised:
        LocalState(tmp_path, "dev").put_back(pytest.fail)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in folder.iterdir()) == ["dev.json", "dev.json.bak"]


@pytest.mark.parametrize(
    ("call", "file"),
    [
        ("passphrase_file(root)", "passphrase"),
        ("an_engine._write_project()", "pulumi/Pulumi.yaml"),
        ("LocalState(root, 'dev').put_back(print)", "state"),
    ],
)
def test_a_file_that_a_full_disk_refuses_is_named_and_what_was_there_stays(
    tmp_path: Path, call: str, file: str
) -> None:
    root = tmp_path
    folder = kept(root, copy=json.dumps("x" * 10_000), state="{")
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml"):
        shutil.copy(Path(__file__).parents[2] / name, root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    program = (
        "import resource, signal, sys; from pathlib import Path; from pulumi import automation\n"
        "from cloudmart.deploy.engine import Engine\n"
        "from cloudmart.deploy.local_state import LocalState, passphrase_file\n"
        "from cloudmart.errors import UserError\n"
        "root = Path(sys.argv[1]); cli = automation.PulumiCommand.__new__(automation.PulumiCommand)\n"
        "an_engine = Engine(cli=cli, root=root, stack='dev', kubeconfig=None)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        f"try: {call}\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(root)], capture_output=True, text=True, check=True)
    assert f"{root / '.local' / file}: cannot be written (File too large)" in done.stdout
    assert {path: path.read_bytes() for path in before} == before
    assert (folder / "dev.json").read_text() == "{"
    assert not list((root / ".local").glob(".passphrase*"))


def test_without_room_for_the_state_nothing_is_begun(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from cloudmart.deploy.local_state import LocalState; from cloudmart.errors import UserError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "try:\n"
        "    with LocalState(Path(sys.argv[1]), 'dev').room(): print('begun')\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "found no room for 24 MiB (File too large); allowed: that much" in done.stdout
    assert "begun" not in done.stdout
    assert list((tmp_path / ".local/state").iterdir()) == []


def test_the_room_that_is_kept_is_real_and_is_given_up_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path, state=json.dumps("x" * 3 * 2**20))
    free, place = [2**40], tmp_path / "room"

    def named(**given: Any) -> Any:
        return place.open("w+b", buffering=given["buffering"])

    monkeypatch.setattr(tempfile, "TemporaryFile", named)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=free[0]))
    with LocalState(tmp_path, "dev").room():
        time.sleep(0.3)
        packed = zlib.compress(place.read_bytes(), level=1)
        assert len(packed) > 8 * 3 * 2**20 * 0.99
        assert place.stat().st_blocks * 512 >= 8 * 3 * 2**20
        free[0] = 2**20
        deadline = time.monotonic() + 5
        while place.stat().st_size and time.monotonic() < deadline:
            time.sleep(0.02)
        assert place.stat().st_size == 0


def test_a_disk_that_is_nearly_full_is_no_room_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, state="{}")
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=2**20))
    with pytest.raises(UserError, match=r"found no room for 24 MiB \(No space left on device\)"):
        LocalState(tmp_path, "dev").room().__enter__()
