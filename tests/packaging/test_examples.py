"""The examples: each configuration is one that s3veil takes, with the files and variables that its README makes."""

import json
import re
import shutil
import tomllib

import jsonschema
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


@pytest.fixture(scope="module")
def schema():
    """The validator of the schema that editors get."""
    schema = json.loads(run(binary(), "config", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", [ROOT / "proxy.toml", *(example / "proxy.toml" for example in EXAMPLES)], ids=lambda file: file.parent.name)
def test_the_schema_admits_it(schema, file):
    assert [error.message for error in schema.iter_errors(tomllib.loads(file.read_text()))] == []


@pytest.mark.parametrize("right, wrong", [
    ('\nregion = "us-east-1"', ""),
    ("[admin]", "[administration]"),
    ('access = "admin"', 'access = "administrator"'),
    ('address = "127.0.0.1:8333"', 'address = "127.0.0.1:8333"\nmax_requests = 0'),
    ('address = "127.0.0.1:8333"', 'address = "127.0.0.1:8333"\nidle_timeout = "60"'),
    ('name = "*"', "name = 5"),
])  # fmt: skip
def test_the_schema_refuses_mistakes(schema, right, wrong):
    text = (ROOT / "proxy.toml").read_text()
    assert right in text
    assert list(schema.iter_errors(tomllib.loads(text.replace(right, wrong, 1))))


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
def test_what_is_in_effect_is_shown_and_loads(example, tmp_path):
    directory = tmp_path / "example"
    shutil.copytree(example, directory)
    text = (directory / "proxy.toml").read_text()
    prepare(directory, text)
    variables = environment() | dict.fromkeys(re.findall(r'"env:([A-Z_]+)"', text), "a-secret-of-twenty-bytes")
    shown = run(binary(), "config", "show", cwd=directory, env=variables).stdout
    assert "a-secret-of-twenty-bytes" not in shown and "max_requests = " in shown
    (directory / "shown.toml").write_text(shown)
    again = run(binary(), "config", "show", "--config", "shown.toml", cwd=directory, env=variables)
    assert again.stdout == shown, "it is the same configuration"


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
