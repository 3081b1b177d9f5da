"""What the README shows is so: its commands come first, its links lead somewhere, and it is short.

Its Python runs in tests/test_package.py, from the wheel.
"""

import re
from pathlib import Path

from jaxhp.cli import _parser
from jaxhp.search.machine import Machine
from jaxhp.search.search import Search

README = Path(__file__).resolve().parents[1] / "README.md"
TEXT = README.read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 150


def test_its_python_is_that_of_the_first_page_of_the_documentation():
    page = (README.parent / "docs" / "index.md").read_text()
    assert re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) == BLOCKS
    assert len(BLOCKS) == 1


def test_what_the_same_bits_depend_on_is_said_in_the_same_words_everywhere():
    kind = "one kind of device (a CPU's instruction set is part of its kind)"
    said = f"Same seed, same bits on one jaxlib, {kind} and one tile"
    for text in (TEXT.replace("**", ""), Search.__doc__, Machine.__doc__):
        assert said in " ".join(text.split())


def test_its_two_commands_come_first():
    commands = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.M | re.S)
    assert [c.strip().split()[:2] for c in commands] == [["pip", "install"]] * 2


def test_it_lists_the_commands_that_there_are():
    (line,) = re.findall(r"^On the command line: (.*?): ", TEXT, re.M | re.S)
    listed = {name.split()[-1] for name in re.findall(r"`(?:jaxhp )?(\w+)", line)}
    assert listed == set(_parser()._subparsers._group_actions[0].choices)


def test_its_links_lead_to_files():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("http") or (README.parent / target).exists(), target
