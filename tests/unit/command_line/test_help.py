"""What ``--help`` shows can be copied, and a shell completes what the options are called."""

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.command_line.examples import EXAMPLES
from analysis.command_line.main import main
from analysis.command_line.options import parser
from analysis.network.model_names import check_name
from analysis.pytest_plugin import gate, suite


def printed(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main([*arguments])
    assert left.value.code == 0
    return capsys.readouterr().out


def commands_in(text: str) -> list[list[str]]:
    lines = re.findall(r"^  pruning-analysis (.*)$", text, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def every_command(capsys) -> list[str]:
    (found,) = re.findall(r"^positional.*?(?=^options)", printed(capsys, "--help"), re.M | re.S)
    return re.findall(r"^    (\w+)", found, re.MULTILINE)


def test_each_command_shows_its_own_examples_and_no_others(capsys) -> None:
    names = every_command(capsys)
    assert "verify" in names
    for name in names:
        shown = commands_in(printed(capsys, name, "--help"))
        assert shown, name
        assert {words[0] for words in shown} == {name}


def test_the_overview_shows_one_example_of_each_command(capsys) -> None:
    shown = commands_in(printed(capsys, "--help"))
    assert sorted(words[0] for words in shown) == sorted(every_command(capsys))


def test_every_option_of_every_command_says_what_it_is_for() -> None:
    (commands,) = [
        action.choices
        for action in parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    assert "verify" in commands
    silent = {
        (name, action.dest)
        for name, command in [("", parser()), *commands.items()]
        for action in command._actions
        if action.dest != "command" and len(re.findall(r"[a-z]+", action.help or "")) < 2
    }
    assert silent == set()
    plugin = {name: option["help"] for name, option in (*gate.OPTIONS, *suite.OPTIONS)}
    assert [name for name, text in plugin.items() if text.startswith("default")] == []


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples_are_what_the_options_are_called(capsys, command, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("widths.json").write_text('{"features.0.0": 16}')
    for words in commands_in(printed(capsys, command, "--help")):
        options = parser().parse_args(words)
        models = getattr(options, "model", None) or []
        for model in [models] if isinstance(models, str) else models:
            if ":" not in model:
                check_name(model)


def test_examples_of_no_network_run(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["checks", "--json", "checks.json"]) == 0
    assert main(["doctor"]) == 0


def completed(script: str, line: str) -> list[str]:
    """What bash offers at the end of a line."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    ask = (
        f"{script}\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n"
        f"_shtab_pruning_analysis {words[0]} {shlex.quote(words[-1])} {words[-2]}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    ended = subprocess.run(
        ["bash", "--norc", "-c", ask], capture_output=True, text=True, check=True
    )
    return ended.stdout.split()


def test_bash_completes_commands_options_and_choices(capsys) -> None:
    script = printed(capsys, "--print-completion", "bash")
    assert completed(script, "pruning-analysis ver") == ["verify"]
    assert "--minimize" in completed(script, "pruning-analysis verify --mi")
    assert "--minimize" not in completed(script, "pruning-analysis macs --")
    assert completed(script, "pruning-analysis verify --scope l") == ["local"]


def test_bash_completes_files(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.json").touch()
    script = printed(capsys, "--print-completion", "bash")
    assert "results.json" in completed(script, "pruning-analysis diff res")


def test_a_shell_that_is_not_known_is_refused(capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--print-completion", "cmd"])
    assert left.value.code == 2
    assert "'cmd'; expected one of bash, zsh" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['shtab'] = None; from analysis.command_line.main import main; "
        "main(['--print-completion', 'bash'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "pip install 'pruning-analysis[completion]'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
