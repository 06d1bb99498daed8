"""The commands by which the pages of docs/ make keys and certificates."""

import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from test_security import ask, start_channel

from gocom.common.settings import ClientSettings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_no_key_but_its_own_goes_to_a_machine(tmp_path):
    text = (ROOT / "docs" / "deploy.md").read_text()
    block = textwrap.dedent(text.partition("<!-- A test runs this block. -->\n   ```bash\n")[2].partition("   ```")[0])
    made = subprocess.run(["bash", "-euc", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    a, b = ({path.name for path in (tmp_path / name).iterdir()} for name in ("pki-a", "pki-b"))
    assert a == {"ca.pem", "token", "transmitter.pem", "transmitter.key", "channel.pem", "channel.key"}
    assert b == {"ca.pem", "token", "receiver.pem", "receiver.key"}
    assert not any(path.stat().st_mode & 0o077 for name in ("ca", "pki-b") for path in (tmp_path / name).glob("*.key"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
async def test_the_commands_of_the_documentation(world, tmp_path):
    text = (ROOT / "docs" / "security.md").read_text()
    block = text.partition("<!-- A test runs this block. -->\n```bash\n")[2].partition("```")[0]
    made = subprocess.run(["bash", "-euc", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    pki = tmp_path / "ca"
    assert not any(path.stat().st_mode & 0o077 for path in pki.iterdir())

    def own(name):
        return {"tls_cert": pki / f"{name}.pem", "tls_key": pki / f"{name}.key", "token_file": pki / "token"}

    for name in ("transmitter", "channel", "receiver"):
        service = await start_channel(
            world, "0.0.0.0", tls_ca=pki / "ca.pem", tls_client_ca=pki / "ca.pem", **own(name)
        )
        await ask(f"localhost:{service.port}", ClientSettings(tls_ca=pki / "ca.pem", **own("client")))
