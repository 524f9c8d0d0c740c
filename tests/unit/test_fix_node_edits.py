"""Edits of TOML and YAML: what was meant is there, every other line is the same to the byte."""

from __future__ import annotations

import difflib
import tomllib

import pytest

from app.fixes.node_toml import (
    EditError,
    append_text,
    blocks,
    header,
    remove_key,
    remove_tables,
    rename_tables,
    set_key,
)
from app.fixes.node_yaml import RegistriesEdit

HOSTS = """\
# by hand, ticket 4711
server = "https://h.example.com"   # the registry

# the main host
[host."https://h.example.com"]
    capabilities = ["pull",  "resolve"]  # both
    ca = "/etc/old.crt" # old CA
# a mirror
[host."https://m.example.com"]
    capabilities = ["pull"]
    # more of it
    [host."https://m.example.com".header]
        x-a = ["b"]
"""


def changed_lines(old: str, new: str) -> tuple[list[str], list[str]]:
    diff = [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line[:2] in ("- ", "+ ")]
    return [line[2:] for line in diff if line[0] == "-"], [line[2:] for line in diff if line[0] == "+"]


def test_a_value_is_replaced_in_place_with_its_comment() -> None:
    new = set_key(HOSTS, ("host", "https://h.example.com"), "ca", ["/etc/old.crt", "/etc/new.crt"])
    assert changed_lines(HOSTS, new) == (
        ['    ca = "/etc/old.crt" # old CA'],
        ['    ca = ["/etc/old.crt", "/etc/new.crt"] # old CA'],
    )


def test_a_new_key_follows_the_last_one_and_takes_its_indentation() -> None:
    new = set_key(HOSTS, ("host", "https://m.example.com"), "ca", ["/x"])
    assert changed_lines(HOSTS, new) == ([], ['    ca = ["/x"]'])
    assert tomllib.loads(new)["host"]["https://m.example.com"]["ca"] == ["/x"]


def test_a_new_key_of_the_root_level_stays_above_the_tables() -> None:
    new = set_key(HOSTS, (), "ca", ["/x"])
    assert changed_lines(HOSTS, new) == ([], ['ca = ["/x"]'])
    assert new.index("ca = [") < new.index("# the main host")
    assert set_key('[host."https://a"]\n', (), "server", "https://a").startswith('server = "https://a"\n')


def test_a_table_that_is_not_there_comes_at_the_end() -> None:
    new = set_key("version = 2", ("plugins", "io.containerd.grpc.v1.cri", "registry"), "config_path", "/d")
    assert new == 'version = 2\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/d"\n'


def test_setting_what_is_there_changes_nothing() -> None:
    assert set_key(HOSTS, (), "server", "https://h.example.com") == HOSTS


def test_keys_and_tables_are_removed_with_their_own_lines_only() -> None:
    gone, come = changed_lines(HOSTS, remove_key(HOSTS, ("host", "https://h.example.com"), "ca"))
    assert (gone, come) == (['    ca = "/etc/old.crt" # old CA'], [])
    left = remove_tables(HOSTS, lambda path: path[:2] == ("host", "https://m.example.com"))
    assert HOSTS.startswith(left)
    assert "# a mirror" not in left


def test_tables_are_renamed_with_their_subtables() -> None:
    new = rename_tables(
        HOSTS, lambda path: ("host", "http://m", *path[2:]) if path[:2] == ("host", "https://m.example.com") else None
    )
    assert list(tomllib.loads(new)["host"]) == ["https://h.example.com", "http://m"]
    assert tomllib.loads(new)["host"]["http://m"]["header"] == {"x-a": ["b"]}


def test_renaming_onto_a_table_that_is_there_is_refused() -> None:
    with pytest.raises(EditError):
        rename_tables(
            HOSTS, lambda path: ("host", "https://h.example.com") if path[1:] == ("https://m.example.com",) else None
        )


def test_a_layout_that_a_line_edit_cannot_reach_is_refused_or_right() -> None:
    inline = 'host = {"https://a" = {capabilities = ["pull"]}}\n'
    new = set_key(inline, ("host", "https://a"), "capabilities", ["pull", "resolve"])
    assert tomllib.loads(new)["host"]["https://a"]["capabilities"] == ["pull", "resolve"]
    with pytest.raises(EditError):
        set_key(inline, ("host", "https://a"), "ca", ["/x"])
    with pytest.raises(EditError):
        append_text(HOSTS, 'server = "x"\n')


def test_brackets_in_lists_and_long_strings_are_no_headers() -> None:
    text = 'a = [\n  ["x"],\n]\nb = """\n[host."c"]\n"""\n[t]\nk = 1\n'
    new = set_key(text, ("t",), "m", 2)
    assert tomllib.loads(new) == {**tomllib.loads(text), "t": {"k": 1, "m": 2}}
    assert [block.path for block in blocks(text)][-1] == ("t",)


def test_header_words_are_quoted_where_they_must_be() -> None:
    assert (
        header(("plugins", "io.containerd.grpc.v1.cri", "registry")) == '[plugins."io.containerd.grpc.v1.cri".registry]'
    )


YAML = """\
# ours
mirrors:
    "h.example.com:5000":   # one
        endpoint:
          - "https://h.example.com:5000" # first
          - 'https://other.example.com'
    docker.io:
        endpoint: ["https://m.example.com"]

# logins
configs:
    h.example.com:
        auth:
            username: robot   # ours
            password: "s3cret"
        insecure_skip_verify: yes
"""


SPACINGS = (
    '# a\nmirrors:\n  "h:5000": # b\n    endpoint:\n      - "https://h:5000"  # c\n',
    "# a\nmirrors:\n  h:5000: # b\n    endpoint:\n    - 'https://h:5000' # c\n",
    "# a\nmirrors:\n    h:5000: # b\n        endpoint:\n          - https://h:5000 # c\n",
    "# a\nmirrors:\n  h:5000:\n    endpoint: [https://h:5000] # b\n# c\n",
)


@pytest.mark.parametrize("text", SPACINGS)
def test_a_yaml_file_keeps_its_comments_quotes_and_spacing(text: str) -> None:
    edit = RegistriesEdit(text)
    edit.table("configs", "h:5000", "tls")["ca_file"] = "/x"
    new = edit.result()
    assert edit.exact
    assert changed_lines(text, new)[0] == []
    assert len(changed_lines(text, new)[1]) == 4


def test_mixed_spacing_is_told() -> None:
    edit = RegistriesEdit("mirrors:\n   a:\n       endpoint: [x]\n   b:\n     endpoint:   [y]\n")
    assert not edit.exact


def test_misplaced_keys_move_and_nothing_else_does() -> None:
    edit = RegistriesEdit(YAML.replace('          - "', '            - "').replace("          - '", "            - '"))
    done = edit.respell()
    new = edit.result()
    assert done == ["configs h.example.com insecure_skip_verify → tls insecure_skip_verify"]
    gone, come = changed_lines(edit.text, new)
    assert gone == ["        insecure_skip_verify: yes"]
    assert come == ["        tls:", "            insecure_skip_verify: yes"]


def test_an_empty_and_a_commented_file_can_be_filled() -> None:
    for text in ("", "# nothing yet\n"):
        edit = RegistriesEdit(text)
        assert edit.result() == text
        edit.table("mirrors", "h")["endpoint"] = ["http://h"]
        assert edit.result() == text + "mirrors:\n  h:\n    endpoint:\n      - http://h\n"


def test_text_that_is_no_mapping_is_refused() -> None:
    for text in ("- a\n", "a: [\n", "just words\n"):
        with pytest.raises(EditError):
            RegistriesEdit(text)
