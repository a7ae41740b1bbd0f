"""Files for people and services that no other test reads: they hold what they must."""

from __future__ import annotations

import importlib.util
import re

import pytest
import yaml

from secondsight import extras
from support.markdown import ROOT, blocks


def load(path: str) -> dict:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_citation_can_be_read() -> None:
    citation = load("CITATION.cff")
    for key in ("cff-version", "message", "title", "authors", "license"):
        assert citation[key]
    cited = {one["identifiers"][0]["value"] for one in citation["references"]}
    assert {"arXiv:2405.17821", "arXiv:2311.16922", "arXiv:2403.14003"} <= cited


def test_the_workflow_covers_what_the_package_promises() -> None:
    """Every Python that is promised, and the oldest torch and transformers."""
    project = (ROOT / "pyproject.toml").read_text()
    jobs = load(".github/workflows/tests.yml")["jobs"]
    promised = re.findall(r'Python :: (3\.\d+)"', project)
    assert jobs["tests"]["strategy"]["matrix"]["python"] == promised
    steps = " ".join(step.get("run", "") for step in jobs["oldest"]["steps"])
    for package in ("torch", "transformers"):
        oldest = re.search(rf'"{package}>=([\d.]+)', project)
        assert oldest is not None
        assert f'"{package}=={oldest[1]}.*"' in steps
    least = re.search(r'requires-python = ">=([\d.]+)"', project)
    assert least is not None
    pythons = [step.get("with", {}).get("python-version") for step in jobs["oldest"]["steps"]]
    assert least[1] in pythons


def test_the_workflow_installs_what_users_do() -> None:
    """Each extra alone, the sdist too, and the newest transformers that is admitted."""
    jobs = load(".github/workflows/tests.yml")["jobs"]
    matrix = jobs["package"]["strategy"]["matrix"]
    assert set(matrix["extra"]) == {"", "all", *extras.EXTRAS}
    assert {"*.whl", "*.tar.gz"} == {*matrix["file"], *(one["file"] for one in matrix["include"])}
    runs = {
        name: " ".join(one.get("run", "") for one in job["steps"]) for name, job in jobs.items()
    }
    assert "pipx run --spec dist/*.whl secondsight --version" in runs["programs"]
    assert "--from dist/*.whl secondsight --help" in runs["programs"]
    admitted = re.search(r'"transformers>=[\d.]+,(<\d+)"', (ROOT / "pyproject.toml").read_text())
    assert admitted is not None
    assert f'"transformers{admitted[1]}"' in runs["newest"]


def test_only_what_publishes_may_prove_who_it_is() -> None:
    workflow = load(".github/workflows/release.yml")
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"]
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish", "release"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert [jobs[name]["needs"] for name in ("publish", "release")] == ["build", "publish"]
    made = " ".join(step.get("run", "") for step in jobs["build"]["steps"])
    for command in ("python -m build", "twine check", "pip-audit", "cyclonedx-py"):
        assert command in made


def test_a_release_says_what_changed() -> None:
    spec = importlib.util.spec_from_file_location("notes", ROOT / "tools" / "release_notes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (
        "# Changelog\n\n## Unreleased\n\n- New.\n\n## 0.2.0 (2026-12-01)\n\n### Added\n\n- One.\n"
    )
    assert module.notes(text, "0.2.0") == "### Added\n\n- One."
    assert module.notes(text + "\n## [v0.1.0]\n", "0.1.0") is None
    assert module.notes(text, "0.2") is None
    assert module.notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), "Unreleased")


def test_the_bug_form_asks_for_the_doctor() -> None:
    fields = load(".github/ISSUE_TEMPLATE/bug.yml")["body"]
    doctor = next(field for field in fields if field["id"] == "doctor")
    assert doctor["attributes"]["label"] == "secondsight doctor --json"
    assert doctor["validations"]["required"]
    for name in ("bug", "method"):
        form = load(f".github/ISSUE_TEMPLATE/{name}.yml")
        assert form["name"]
        assert form["description"]
        assert all(field["type"] in ("textarea", "input", "dropdown") for field in form["body"])


def test_every_target_that_a_page_names_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {
        target
        for block in blocks("README.md", "CONTRIBUTING.md")
        for target in re.findall(r"^(?:\w+=\S+ )*make (\w+)", block.text, re.MULTILINE)
    }
    assert {"demo", "test", "fast"} <= named
    for target in named:
        assert f"\n{target}:" in makefile


PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/golden/README.md"]
PAGES += sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            file, _, anchor = target.partition("#")
            found = path.parent / file
            assert found.exists(), target
            if anchor and found.suffix == ".md":
                headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.M)
                slugs = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
                assert anchor in slugs, target


def test_the_architecture_page_names_what_is_there() -> None:
    """Its files exist, and every package is in its table of layers."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    source = ROOT / "src" / "secondsight"
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (source / name).is_file() or (ROOT / name).is_file(), name
    packages = {path.parent.name for path in source.glob("*/__init__.py")}
    missing = {name for name in packages if f"`{name}/`" not in text}
    assert not missing
