"""`harborpilot completion bash|zsh|fish`: completion of commands and flags."""

from __future__ import annotations

from collections.abc import Sequence

from app.commands.catalogue import COMMANDS
from app.commands.flags import parser

_BASH = """_harborpilot() {{
    local word=${{COMP_WORDS[COMP_CWORD]}}
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    elif [ "${{word#-}}" != "$word" ]; then
        COMPREPLY=($(compgen -W "$(harborpilot "${{COMP_WORDS[1]}}" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]+' | sort -u)" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -F _harborpilot harborpilot
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n" + _BASH
_FISH = "complete -c harborpilot -n __fish_use_subcommand -f -a '{commands}'\n"


def run(words: Sequence[str]) -> int:
    """Print the script; source it from the shell's start-up file."""
    flags = parser("completion", "Print a completion script for a shell.")
    flags.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="{bash,zsh,fish}")
    shell = flags.parse_args(words).shell
    template = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]
    print(template.format(commands=" ".join(COMMANDS)), end="")
    return 0
