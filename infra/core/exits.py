"""The exit statuses of every verb. An error class says its own as `exit_status`; one that doesn't
is WRONG."""

OK = 0
WRONG = 1  # something is wrong on the hosts, or a finding is red
USAGE = 2  # the config or the command line can't be used
QUESTION = 3  # a question has to be answered, and there is no terminal
UNREACHABLE = 4  # nothing could be asked: no network, no access, no tool
STOPPED = 130  # ^C


def status_of(problem: BaseException) -> int:
    """The exit status of an error."""
    return int(getattr(problem, "exit_status", WRONG))
