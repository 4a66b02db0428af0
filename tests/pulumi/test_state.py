"""Where a stack's state is and what opens it: half of it lost, a passphrase, a key management service, another backend.

One story, told in order: what one test leaves is what the next finds.
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from cloudmart.deploy.expected import expected
from cloudmart.drift import look as drift
from cloudmart.drift.finding import Finding, Kind
from cloudmart.errors import UserError
from tests.leaks import held
from tests.pulumi.shop import SPACE, Shop

KEY, TOKEN = "cloudmart", "not-a-real-token"


@dataclass
class Vault:
    """Stands in for the transit engine of a Vault: encrypts and decrypts for whoever has the token."""

    address: str
    fernet: Fernet = field(default_factory=lambda: Fernet(Fernet.generate_key()))
    #: What was asked for, in order.
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            verb = self.path.removeprefix("/v1/transit/").removesuffix(f"/{KEY}")
            found.asked.append(verb)
            if self.headers["X-Vault-Token"] != TOKEN or verb not in ("encrypt", "decrypt"):
                self._answer(403, {"errors": ["permission denied"]})
            elif verb == "encrypt":
                sealed = found.fernet.encrypt(given["plaintext"].encode()).decode()
                self._answer(200, {"data": {"ciphertext": f"vault:v1:{sealed}"}})
            else:
                opened = found.fernet.decrypt(given["ciphertext"].removeprefix("vault:v1:")).decode()
                self._answer(200, {"data": {"plaintext": opened}})

        do_POST = do_PUT  # noqa: N815

        def _answer(self, status: int, body: object) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Vault(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("URL", found.address), ("TOKEN", TOKEN)):
            patch.setenv(f"VAULT_SERVER_{name}", value)
        yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def deployed(shop: Shop) -> Shop:
    shop.project.config("dev", lambda config: config.setdefault("cloudmart:kubecost", {}).update(enabled=False))
    shop.up("dev")
    return shop


def passphrase(shop: Shop) -> Path:
    return shop.project.root / ".local" / "passphrase"


def require_sealed(shop: Shop) -> None:
    """The state holds every password, and none in a form that can be read."""
    exported = shop.pulumi("stack", "export", "--stack", "dev").stdout
    assert exported.count('"ciphertext"') >= len(shop.passwords())
    assert held(shop.passwords(), exported) == []


def cut_off(state: Path, older: str) -> None:
    """Leaves half of a state, as a full disk does, and as its only copy an older one."""
    for backup in state.parents[2].glob("backups/*/dev/*"):
        backup.unlink()
    state.with_name("dev.json.bak").write_text(older)
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])


def look(shop: Shop) -> Sequence[Finding]:
    return drift.look(expected("dev", None, shop.project.root, shop.said.append)).findings


def with_audit(catalog: Any) -> None:
    """One service more, like another."""
    catalog["services"]["audit-service"] = copy.deepcopy(catalog["services"]["notification-service"])


def test_a_state_that_is_cut_off_stops_down_until_up_has_put_it_back_and_drift_names_what_it_does_not_know(
    deployed: Shop,
) -> None:
    state = deployed.project.root / ".local/state/.pulumi/stacks/cloudmart/dev.json"
    older, passwords = state.read_text(), deployed.passwords()
    deployed.project.catalog(with_audit)
    deployed.up("dev")
    before = deployed.held()
    deployed.project.catalog(lambda catalog: catalog["services"].pop("audit-service"))
    cut_off(state, older)
    for _ in range(2):
        with pytest.raises(UserError, match=r"older than the last run; .*`cloudmart up --stack dev` first"):
            deployed.down("dev")
    assert deployed.held() == before

    deployed.up("dev")
    assert deployed.held() == before
    assert deployed.passwords() == passwords
    found = look(deployed)
    unknown = {name for name in before if "audit-service" in name and not name.startswith("Pod ")}
    assert {f"{one.object.kind} {one.object.name}" for one in found if one.kind is Kind.UNEXPECTED} == unknown
    (let_in,) = (one for one in found if one.kind is not Kind.UNEXPECTED)
    assert (let_in.object.kind, let_in.object.name, let_in.path) == (
        "NetworkPolicy",
        "kafka",
        "spec.ingress[0].from[2]",
    )
    deployed.cluster.kubectl("delete", "-n", SPACE, *(name.replace(" ", "/") for name in unknown))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = deployed.run(["sh", "-ec", let_in.mend], {"PATH": path})
    assert ended.returncode == 0, ended.stderr
    assert look(deployed) == []
    assert deployed.pulumi("preview", "--stack", "dev", "--expect-no-changes").returncode == 0


def test_a_key_management_service_takes_the_place_of_the_passphrase_and_up_changes_nothing(
    deployed: Shop, vault: Vault
) -> None:
    before = deployed.passwords()
    changed = deployed.pulumi("stack", "change-secrets-provider", "--stack", "dev", f"hashivault://{KEY}")
    assert changed.returncode == 0, changed.stderr
    file = yaml.safe_load((deployed.project.root / ".local" / "pulumi" / "Pulumi.dev.yaml").read_text())
    assert file["secretsprovider"] == f"hashivault://{KEY}"
    passphrase(deployed).unlink()
    asked = len(vault.asked)
    _, said = deployed.up("dev")
    assert [line for line in said if re.fullmatch(r"\d+ unchanged", line)], said
    assert "decrypt" in vault.asked[asked:]
    assert deployed.passwords() == before
    require_sealed(deployed)


def test_without_the_right_to_that_key_nothing_is_changed_and_the_error_says_so(
    deployed: Shop, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_SERVER_TOKEN", "another")
    before = deployed.held()
    with pytest.raises(UserError, match="permission denied"):
        deployed.up("dev")
    assert deployed.held() == before


def test_a_stack_that_is_moved_to_another_backend_has_nothing_to_do_there(
    deployed: Shop, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, elsewhere = tmp_path / "dev.json", tmp_path / "elsewhere"
    elsewhere.mkdir()
    exported = deployed.pulumi("stack", "export", "--stack", "dev", "--file", str(file))
    assert exported.returncode == 0, exported.stderr
    monkeypatch.setenv("PULUMI_BACKEND_URL", elsewhere.as_uri())
    deployed.environment.pop("PULUMI_BACKEND_URL")
    for command in (
        ("stack", "init", "dev", "--secrets-provider", f"hashivault://{KEY}"),
        ("stack", "import", "--stack", "dev", "--file", str(file)),
        ("preview", "--stack", "dev", "--expect-no-changes"),
    ):
        ended = deployed.pulumi(*command)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    _, said = deployed.up("dev")
    assert [line for line in said if re.fullmatch(r"\d+ unchanged", line)], said
    require_sealed(deployed)
