"""The files of a release: the bill of materials, and what scripts/dist puts beside it."""

import json
import os
import re
import subprocess
import tomllib

import pytest
from support import ROOT, is_full, run

cyclonedx_validation = pytest.importorskip("cyclonedx.validation.json", reason="CycloneDX's schema is missing")
from cyclonedx.schema import SchemaVersion  # noqa: E402


@pytest.fixture(scope="module")
def sbom():
    return run(ROOT / "scripts/sbom").stdout


def test_the_bill_of_materials_is_valid(sbom):
    validator = cyclonedx_validation.JsonStrictValidator(SchemaVersion.V1_5)
    document = json.loads(sbom)
    if not is_full():
        # The validator takes as long for each component.
        document["components"], document["dependencies"] = document["components"][::10], document["dependencies"][::10]
    assert validator.validate_str(json.dumps(document)) is None
    # The validator does find a fault.
    document["components"], document["dependencies"] = document["components"][:1], []
    document["components"][0]["type"] = "librarium"
    assert validator.validate_str(json.dumps(document)) is not None


def test_the_bill_of_materials_is_complete(sbom):
    document = json.loads(sbom)
    lock = {(one["name"], one["version"]) for one in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    listed = {(one["name"], one["version"]) for one in document["components"]}
    assert listed < lock
    names = {name for name, _ in listed}
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    dependencies, features = manifest["dependencies"], manifest["features"]
    shipped = {entry.removeprefix("dep:") for feature in features["default"] for entry in features[feature]}
    left_out = {name for name, one in dependencies.items() if "optional" in one and name not in shipped}
    assert set(dependencies) - left_out <= names, "dependencies of the program"
    assert left_out == {"parquet"} and not left_out & names, "of features that are not shipped"
    tests = {"proptest", "rcgen", "tempfile", "criterion"}
    assert not names & tests, "for tests alone"
    assert all(one["licenses"] for one in document["components"])
    references = {one["bom-ref"] for one in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    assert {one["ref"] for one in document["dependencies"]} == references
    assert {reference for one in document["dependencies"] for reference in one["dependsOn"]} <= references


def test_the_bill_of_materials_is_the_same_each_time(sbom):
    assert run(ROOT / "scripts/sbom").stdout == sbom


def test_the_licenses_of_all_libraries_are_there(sbom):
    text = run(ROOT / "scripts/sbom", "--licenses").stdout
    listed = {f"{one['name']} {one['version']}" for one in json.loads(sbom)["components"] if "hashes" in one}
    headings = {name for line in re.findall("^={100}\n(.*)\n={100}$", text, re.M) for name in line.split(", ")}
    assert listed <= headings
    assert "Permission is hereby granted" in text and "Apache License" in text
    without = re.findall("={100}\n(.*)\n={100}\n\nNo text", text)
    assert sum(len(names.split(", ")) for names in without) < len(listed) / 5


def test_the_files_of_a_release(tmp_path):
    # A stand-in for the program: packing a real one takes a minute.
    program = tmp_path / "s3veil"
    program.write_text("#!/bin/sh\necho s3veil\n")
    program.chmod(0o755)
    variables = os.environ | {"S3VEIL_RELEASE_FILES": str(tmp_path / "files"), "SOURCE_DATE_EPOCH": "1800000000"}
    found = []
    for _ in range(2):
        run(ROOT / "scripts/dist", "--collect", program, env=variables)
        found.append((tmp_path / "files/SHA256SUMS").read_text())
    assert found[0] == found[1], "the same each time"
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    names = {file.name for file in (tmp_path / "files").iterdir()}
    triple = re.search("^host: (.*)$", run("rustc", "-vV").stdout, re.M)[1]
    assert names == {f"s3veil-{version}-{triple}.tar.gz", f"s3veil-{version}-{triple}.cdx.json", f"s3veil-chart-{version}.tgz", "SHA256SUMS"}
    sums = run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=tmp_path / "files").stdout
    assert sums.count(": OK") == len(names) - 1
    run("tar", "-xzf", tmp_path / f"files/s3veil-{version}-{triple}.tar.gz", "-C", tmp_path)
    unpacked = tmp_path / f"s3veil-{version}-{triple}"
    assert run(unpacked / "s3veil").stdout == "s3veil\n"
    assert (unpacked / "LICENSE").exists() and (unpacked / "LICENSES-OF-LIBRARIES").exists() and not list(unpacked.rglob("*.pyc"))
    listed = run("tar", "-tzf", tmp_path / f"files/s3veil-chart-{version}.tgz").stdout.split()
    assert "s3veil/Chart.yaml" in listed


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--collect", "/nonexistent"], "requires a binary"),
        (["--to-measure", "/nonexistent"], "requires a directory"),
        (["--guide"], "unknown argument '--guide'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, complaint):
    done = subprocess.run([ROOT / "scripts/dist", *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and complaint in done.stderr
