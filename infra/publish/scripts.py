"""Shell scripts for devices. Each runs a container, and restarts it after engine trouble.

On a device these scripts are the only supervisor of a container. Greengrass restarts a component
that ends with an error, but its third error within an hour makes it BROKEN. Greengrass never
restarts a component that ends with 0. So Greengrass must not see events that aren't the container's
fault:

    the engine is away, or not there yet     wait for it; Greengrass sees a component that runs
    the container was stopped or killed      start another one, five times in a row; then an error
    it ended with a code of its own          an error at once, with this code
    it lived for less than ten seconds       an error at once, unless the engine has gone

An engine that stops sends SIGTERM to its containers, and ours end with 0, as after `docker stop`.
After SIGKILL or out of memory the code is 137. A client that loses its engine ends with 125.

The shell is portable. It has no `{` except in recipe variables. Nucleus Lite escapes their values
for double quotes and the Java nucleus doesn't, so each is in double quotes. Nothing polls while the
container runs: the shell sleeps in `wait`.
"""

from __future__ import annotations

_WAIT_SECONDS = 120  # An engine may be ready a minute after the nucleus at boot.
_STOP_SECONDS = 3  # The service ends in under 2 s. Java's SIGKILL comes 5 s after its SIGTERM.
# It is longer than between the gate's two looks, so the gate sees a crash in between.
_QUICK_SECONDS = 10
_PATIENCE = 5  # As many restarts in a row follow an end from outside.
_PATIENCE_SECONDS = 600  # The end of a container that ran so long begins a new row.

# If a client is killed while it asks for a container, the engine still starts it: wait a second.
_END = (
    f'if [ "$p" ]; then docker stop -t {_STOP_SECONDS} "$c" >/dev/null 2>&1;'
    ' wait $p || (sleep 1; docker rm -f "$c") >/dev/null 2>&1; fi'
)


def stays(container: str, run: str) -> str:
    """A `run` step that keeps a container running until Greengrass stops the component.

    `container` is its name, and `run` is the whole `docker run` in the foreground, with the name as
    $c.

    A killed Java nucleus leaves its scripts running. The next start of the component writes its
    number into the file `owner`. A script that finds another number there doesn't touch the
    container. A script that ends removes its own number.
    """
    return f"""c="{container}" o="{{work:path}}/owner" n=0
echo $$ >"$o"
trap 'read -r k <"$o"; [ "$k" != $$ ] || rm "$o"' EXIT
trap 'trap "" TERM; read -r k <"$o"; [ "$k" = $$ ] || exit 1; {_END}; exit 0' TERM
while :; do
p=
{_until_free(container, 'read -r k <"$o"; [ "$k" = $$ ] || exit 1;')}
t=$(cut -d. -f1 /proc/uptime)
{run} & p=$!
wait $p; e=$?
p=
l=$(($(cut -d. -f1 /proc/uptime)-t))
case $e in 0|125|137|143) sleep 1;; *) exit $e;; esac
if docker version >/dev/null 2>&1; then
[ $l -lt {_PATIENCE_SECONDS} ] || n=0
n=$((n+1))
[ $l -ge {_QUICK_SECONDS} ] && [ $n -le {_PATIENCE} ] || exit $((e?e:1))
fi
echo "container ended with $e after $l s, starting another"
done"""


def succeeds_once(container: str, run: str) -> str:
    """A `startup` step that succeeds when the container ends with 0, and else fails with its code.

    Lite appends a line and loses the last exit code, hence the explicit exit.
    """
    waited = f"i=$((i+1)); [ $i -le {_WAIT_SECONDS} ] || exit 1;"
    return f"""c="{container}" i=0
until {_until_free(container, after=waited)}
{run}; do
e=$?; sleep 1
if docker version >/dev/null 2>&1; then exit $e; fi
done || exit 1"""


def startup_seconds(run_seconds: int) -> int:
    """The time-out of `succeeds_once` for a container that takes at most `run_seconds`."""
    return _WAIT_SECONDS + run_seconds + 30  # Docker's start and stop take the rest.


def removes(container: str) -> str:
    """An `uninstall` step: removes what a killed script has left, once its client has ended."""
    return f'sleep 1; docker rm -f "{container}" >/dev/null 2>&1 || true'


def _until_free(container: str, before: str = "", after: str = "") -> str:
    """Waits until the engine answers. Removes a container that has this name.

    It logs one line while it waits.

    Waiting doesn't help if docker isn't installed, if the user may not use it, or if the engine
    refuses its client. docker's output is read only after a failure, because it may also have
    warnings. Docker's filter is a regular expression, so com.ml would also match another stack's
    com-ml.
    """
    name = container.replace(".", "[.]")
    return f"""w=
until {before} s=$(docker ps -aqf "name=^/{name}\\$" 2>/dev/null) && [ -z "$s" ]; do
[ "$s" ] || s=$(docker ps -q 2>&1)
case $s in *"not found"*|*"denied while"*|*"response from"*) echo "$s"; sleep 1; exit 1;; esac
[ "$w" ] || echo "waiting for docker, or for it to remove $c: $s"
w=1; {after} docker rm -f "$c" >/dev/null 2>&1 || sleep 1
done"""
