"""The command line: the one room that knows all others.

One module per command; each imports what is heavy only when it runs, so that help comes at once.
"""

from __future__ import annotations

import typer

from simenv.cli import benchmark, compare, compile, demo, distil, fidelity, info, inspect, reproduce, rl_report, train
from simenv.cli.console import Guarded, patient_threads

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


@app.callback()
def _about() -> None:
    """Make simulated users from a ratings log and find out which recommender serves them best.

    \b
    First:   simenv demo                                    everything once, on invented data, in three minutes
    Then:    simenv train ratings.csv my-users              your ratings become a population of users
             simenv fidelity my-users                       how far they can be believed: green, amber or red
             simenv benchmark my-users --recommenders popular,als,my_module:MyClass
    Look:    simenv inspect my-users 42 --item 1193         what one of them is, remembers and answers
             simenv compare my-users popular als --user 42  two recommenders before the same user
             simenv info my-users                           what a population is made of and what it assumes
    Words:   simenv distil ratings.csv --out told --model NAME --base-url URL   profiles and reasons by any LLM
    Learn:   simenv rl-report runs/rl --population my-users  a policy trained on them, and whether its gains are real
    Faster:  simenv compile my-users                        every answer once, then environments at memory speed
    Again:   simenv reproduce table1 ml-100k runs/table1    published experiments, with the yardsticks they left out

    Every command explains itself: simenv COMMAND --help. Tables go to standard output, progress and errors to standard
    error; --json PATH keeps any table for machines. Exit codes: 0 fine, 1 a --fail-if condition holds, 2 an error.
    """
    patient_threads()


for name, module in (("demo", demo), ("train", train), ("benchmark", benchmark), ("compile", compile)):
    app.command(name, no_args_is_help=module is not demo)(module.command)
for name, module in (("fidelity", fidelity), ("inspect", inspect), ("compare", compare), ("info", info)):
    app.command(name, no_args_is_help=module is not info)(module.command)
app.command("distil", no_args_is_help=True)(distil.command)
app.command("rl-report", no_args_is_help=True)(rl_report.command)
app.add_typer(reproduce.app, name="reproduce")


def main() -> None:
    """Run the command line."""
    app()
