"""The exit statuses of every verb. Error classes define theirs as `exit_status`."""

OK = 0
WRONG = 1  # something is wrong on the hosts, or a finding is red
USAGE = 2  # the config or the command line can't be used
QUESTION = 3  # a question has to be answered, and there is no terminal
UNREACHABLE = 4  # nothing could be asked: no network, no access, no tool
STOPPED = 130  # ^C
