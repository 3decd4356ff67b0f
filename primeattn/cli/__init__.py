"""The ``primeattn`` command.

Each subcommand is a module of this package, named in ``COMMANDS``, with ``configure(parser)`` and ``run(arguments)``. A
module is imported when its command is used, and the library when the command runs, so that ``--help`` is immediate.
"""

from __future__ import annotations

from collections.abc import Sequence

COMMANDS = {
    "compare": "which passages of a text resonate, and why: an HTML report, figures, netCDF, JSON",
    "search": "the passages of a text that resonate most with a query, and why",
    "study": "what attention mechanisms are: properties, spectra, counter-examples: Markdown, HTML, netCDF, figures",
    "simulate": "coupled phase oscillators: netCDF and a figure, from flags or a TOML or YAML file",
    "train": "a language model, or mechanisms against one another: checkpoints, metrics, figures",
    "eval": "how well a trained model does on held-out material",
    "sample": "text from a trained model, as it comes",
    "grad-check": "whether gradients are derivatives, for every mechanism",
    "data": "the texts to train on: where they are, how they are cut, checksums; fetch enwik8",
    "doctor": "versions, threads, CUDA, cache, and what is missing",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; the entry point of ``primeattn``.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process, which is then taken to end with the command.

    Returns
    -------
    int
        0 done; 1 unexpected failure; 2 wrong usage; 3 the input cannot be used; 4 an extra is missing; 5 the output
        cannot be written; 130 interrupted.
    """
    # imports stand inside: an interruption while they run is one line, too
    try:
        from . import command, streams

        streams.fill()
        code = streams.flushed(command.run(arguments))
        if arguments is None:
            streams.ignore_interrupts()
    except KeyboardInterrupt:
        from . import exits, streams

        if arguments is None:
            streams.ignore_interrupts()
        streams.complain("interrupted")
        code = exits.INTERRUPTED
    return code
