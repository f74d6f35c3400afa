"""The examples: each configuration is one that s3veil takes, with the files and variables that its README makes."""

import re
import shutil

import pytest
from support import ROOT, assert_loads, binary, environment, run

EXAMPLES = sorted(file.parent for file in (ROOT / "examples").glob("*/proxy.toml"))


def make_pair(certificate, key):
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
        "-subj", "/CN=node", "-addext", "subjectAltName=DNS:node", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    key.chmod(0o600)


def prepare(directory, text):
    """Makes the files that a configuration names, as its README says."""
    for name in re.findall(r'_file = "([^"]+)"', text):
        file = directory / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("a-secret-of-twenty-bytes")
        file.chmod(0o600)
    for certificate, key in re.findall(r'certificate = "([^"]+)", private_key = "([^"]+)"', text):
        make_pair(directory / certificate, directory / key)
    for keyring in re.findall(r'^file = "([^"]+)"', text, re.M):
        run(binary(), "keygen", directory / keyring)
    for public in re.findall(r'"([^"]+)\.pub\.pem"', text):
        run(binary(), "keygen", "--recovery", directory / f"{public}.pem")


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
def test_it_loads(example, tmp_path):
    directory = tmp_path / "example"
    shutil.copytree(example, directory)
    text = (directory / "proxy.toml").read_text()
    prepare(directory, text)
    assert assert_loads(directory / "proxy.toml", re.findall(r'"env:([A-Z_]+)"', text)) == []


def test_a_fault_is_found(tmp_path):
    """What `test_it_loads` asserts does fail for a wrong file."""
    text = (ROOT / "examples/two-tenants/proxy.toml").read_text()
    (tmp_path / "proxy.toml").write_text(text.replace("[admin]", "[administration]"))
    with pytest.raises(AssertionError, match="administration"):
        assert_loads(tmp_path / "proxy.toml", re.findall(r'"env:([A-Z_]+)"', text))


@pytest.mark.parametrize("example", sorted((ROOT / "examples").iterdir()), ids=lambda example: example.name)
def test_its_readme_names_what_is_there(example):
    text = (example / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links or "```sh" in text
    assert [link for link in links if not (example / link).exists()] == []
    if (example / "proxy.toml").exists():
        # Each variable and each secret that the configuration names is made in the README, or is a file of the reader.
        named = re.findall(r'"env:([A-Z_]+)"', (example / "proxy.toml").read_text())
        assert [name for name in named if name not in text] == []


def test_commands_of_the_documents_exist():
    """Every `s3veil ...` in the documents for operators has a command and options that the program has."""
    files = [ROOT / "docs/RUNBOOKS.md", ROOT / "docs/OPERATING.md", ROOT / "docs/RECOVERY.md", ROOT / "RELEASING.md", *(ROOT / "examples").glob("*/README.md")]
    commands = set()
    for file in files:
        for line in re.findall(r"\bs3veil ((?:serve|check|keygen|inspect|decrypt|verify|rewrap|encrypt|keys|report|version|health)\b[^`|\n]*)", file.read_text()):
            line = line.split(" shows ")[0].split(" says ")[0]
            commands.add((line.split()[0], tuple(re.findall(r"(?<!\S)--[a-z-]+", line))))
    assert len(commands) > 5
    helps = {}
    for command, options in commands:
        if command not in helps:
            done = run(binary(), command, "--help", check=False, env=environment())
            helps[command] = done.stdout if done.returncode == 0 else None
        assert helps[command] is not None, command
        assert [option for option in options if option not in helps[command]] == [], command
