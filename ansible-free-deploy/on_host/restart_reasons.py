"""Why a service has to restart, as hosts and the operator's side name it. Pure."""

NOT_RUNNING = "not running"
OLD_CONFIGURATION = "running an older configuration"
OLD_RELEASE = "running another release"
NOT_OURS = "not running this kit's configuration"
BY_HAND = "a file of its configuration was edited by hand"
AS_REQUESTED = "as requested"
