"""`verl-provision completion bash|zsh`: the shell completes commands, flags, their choices, and variables."""

import argparse
from typing import Any

from verl_provision import variables

SCRIPT = """\
# verl-provision: source <(verl-provision completion {shell})
{zsh}_verl_provision() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    if [ "$COMP_CWORD" -gt 1 ]; then
        case "${{COMP_WORDS[1]}} $before" in
{cases}
            *) case "${{COMP_WORDS[1]}}" in
{flags}
            esac ;;
        esac
    else
        words="{commands}"
    fi
    if [ -n "$words" ]; then
        COMPREPLY=($(compgen -W "$words" -- "$word"))
    else
        COMPREPLY=($(compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _verl_provision verl-provision
"""


def add_parser(subparsers: Any) -> None:
    """Add the command's own part of the command line."""
    parser = subparsers.add_parser("completion", help="print a completion script for the shell", description=__doc__)
    parser.add_argument("shell", choices=["bash", "zsh"])
    parser.set_defaults(run=run, commands=subparsers.choices)


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print(script(arguments.shell, arguments.commands), end="")
    return 0


def script(shell: str, commands: dict[str, argparse.ArgumentParser]) -> str:
    """The script, from the parsers themselves."""
    cases, flags = [], []
    for name, parser in commands.items():
        own = [action for action in parser._actions if action.help != argparse.SUPPRESS]
        for action in own:
            choices = known(action)
            if choices and action.option_strings:
                labels = "|".join(f'"{name} {option}"' for option in action.option_strings)
                cases.append(f'            {labels}) words="{" ".join(choices)}" ;;')
        words = [option for action in own for option in action.option_strings if option.startswith("--")]
        words += [choice for action in own if not action.option_strings for choice in known(action)]
        flags.append(f'                {name}) case "$word" in -*|"") words="{" ".join(words)}" ;; esac ;;')
    zsh = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return SCRIPT.format(
        shell=shell, zsh=zsh, cases="\n".join(cases), flags="\n".join(flags), commands=" ".join(sorted(commands))
    )


def known(action: argparse.Action) -> list[str]:
    """What may follow an argument, where that is known."""
    if "--want" in action.option_strings:
        return [f"{name}=" for name in sorted(variables.defaults())]
    return [str(choice) for choice in action.choices or []]
