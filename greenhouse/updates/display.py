"""Shows a person an update: each resource when it is done, and the program's messages.

Pulumi's own display shows every line of the image's builder. No option of its CLI leaves these
passing lines out (pkg/backend/display/jsonmessage.go, 3.276). So this module shows the engine's
events: sdk/go/common/apitype/events.go describes them. The passing lines of a failing resource are
shown with its error, as only they tell why a build failed.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from fleet.plan.preview import EXITED
from infra.errors import told
from infra.printable import printable, printable_lines

_TAIL = 30  # So many passing lines of a failing resource are shown.
_SLOW_SECONDS = 1.0  # A shorter time is not shown.
_DONE = {  # An operation's mark and word. Other operations change nothing that a person looks for.
    "create": ("+", "created"),
    "update": ("~", "updated"),
    "delete": ("-", "deleted"),
    "create-replacement": ("+-", "replaced"),
}
_COUNTED = {**_DONE, "replace": ("+-", "replaced"), "same": (" ", "unchanged")}
_STACK = "pulumi:pulumi:Stack"
_CANCELED = ("preview canceled", "update canceled")  # A destroy is an update as well.
# What follows: the engine's words, and the end of the program's traceback.
_FOLLOWING = (
    *("update failed", "Resource monitor has terminated, shutting down"),
    "\nKeyboardInterrupt",
)
# Pulumi's warning sends people to AWS's console and to an interactive refresh (plan_options.go).
_PENDING = re.compile(r"^  \* (urn:\S+), interrupted while (\w+)$", re.M)
_STYLES = {"error": "red", "warning": "yellow"}


class Display:
    """Takes the events of a preview and its update in order, and prints what counts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began: dict[str, float] = {}
        self._passing: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_TAIL))
        self._told: dict[str, list[str]] = defaultdict(list)
        self._previewing, self._failed, self._over = True, False, False
        self.canceled = False  # By Ctrl-C, before the end.
        self._planned = self._done = 0  # Resources, by the summaries.
        self._ended: set[str] = set()  # These are done, by their events.
        self._previewed: set[tuple[str, str]] = set()  # The resource and the message.
        # A provider of ours also prints its error's lines, before or after it.
        self._reasons: set[str] = set()
        self._last = ""

    def doing(self) -> str:
        """The present activity: the last passing line, else the unfinished resources."""
        if self._previewing:
            return "preview"
        under_way = [_name(urn) for urn in self._began if _type(urn) != _STACK]
        return self._last or ", ".join(under_way)

    def finished(self) -> bool:
        """Whether each resource of the preview was done, even if the update was then canceled."""
        return self._over and self._done == self._planned

    def progress(self) -> str:
        """What an ended update has done, for people."""
        if not (self._over or self._began or self._ended):
            return "nothing was changed"
        if not self._over:  # Ctrl-C, twice, may leave no summary.
            return f"at least {len(self._ended)} of {self._planned} resources are done"
        if self.finished():
            return f"all {self._planned} resources are done"
        return f"{self._done} of {self._planned} resources are done"

    def take(self, event: Mapping[str, Any]) -> None:
        """Show one event, if a person needs it."""
        match event:
            case {"diagnosticEvent": {"severity": severity} as diagnostic} if severity != "debug":
                self._hear(diagnostic)
            case {"resourcePreEvent": {"metadata": step, **more}} if not more.get("planning"):
                self._began[step["urn"]] = time.monotonic()
                self._last = ""
            case {"resOutputsEvent": {"metadata": step, **more}} if not more.get("planning"):
                self._end(step)
            case {"resOpFailedEvent": {"metadata": step}}:
                self._tell_passing(step["urn"])
                self._began.pop(step["urn"], None)
            case {"progressEvent": {"message": message}}:
                self._last = printable(message)
            case {"summaryEvent": {"isPreview": True, "resourceChanges": planned}}:
                self._previewing = False
                self._planned = sum(planned.values())
            case {"summaryEvent": summary}:
                self._count(summary)

    def _hear(self, diagnostic: Mapping[str, Any]) -> None:
        urn, message = diagnostic.get("urn", ""), diagnostic["message"].rstrip()
        if diagnostic.get("ephemeral"):
            self._passing[urn].append(message)
            self._last = f"{_name(urn)}: {printable(message)}"
            return
        if not message or self._over or self._repeats(urn, message):
            return
        if message in _CANCELED or (self.canceled and message.endswith(_FOLLOWING)):
            self.canceled = True
            return
        if diagnostic["severity"] == "error":
            if EXITED in message and self._failed:
                return
            self._failed = True
            self._tell_passing(urn)
            lines = {line.rstrip() for line in message.splitlines()} - {""}
            if lines <= set(self._told[""]):
                message = "failed, as said above"
            self._reasons |= lines
        elif not urn and message in self._reasons:
            return
        elif pending := _PENDING.findall(message):
            message = _interrupted(pending)
        self._told[urn] += message.splitlines()
        of = "" if not urn or _type(urn) == _STACK else f"{_name(urn)}: "
        kind = "" if diagnostic["severity"].startswith("info") else f"{diagnostic['severity']}: "
        self._print(f"{kind}{of}{message}", _STYLES.get(diagnostic["severity"], ""))

    def _repeats(self, urn: str, message: str) -> bool:
        """Whether the update repeats a message of its preview."""
        if self._previewing:
            self._previewed.add((urn, message))
            return False
        return (urn, message) in self._previewed

    def _tell_passing(self, urn: str) -> None:
        """Show a failed resource's messages, unless its error or a warning has them."""
        lines = self._passing.pop(urn, ())
        if lines and lines[-1] not in self._told[urn]:
            self._print("\n".join(lines))

    def _end(self, step: Mapping[str, Any]) -> None:
        urn = step["urn"]
        self._ended.add(urn)
        took = time.monotonic() - self._began.pop(urn, time.monotonic())
        self._passing.pop(urn, None)
        self._last = ""
        if done := _DONE.get(step["op"]):
            mark, word = done
            if step["op"] == "delete" and (step.get("old") or {}).get("retainOnDelete"):
                word = "dropped from the state"  # It stays in the account.
            time_ = f" ({took:.1f} s)" if took >= _SLOW_SECONDS else ""
            self._print(f"{mark} {_type(urn)} {_name(urn)} {word}{time_}")

    def _count(self, summary: Mapping[str, Any]) -> None:
        self._over = True  # The following events show how the parts of a failed update end.
        changes = summary["resourceChanges"]
        self._done = sum(changes.values())
        self.canceled |= summary.get("result") == "canceled"  # Ctrl-C, twice.
        counts = [f"{changes[op]} {word}" for op, (_, word) in _COUNTED.items() if changes.get(op)]
        self._print(f"resources: {', '.join(counts) or 'none'}")

    def _print(self, text: str, style: str = "") -> None:
        for line in printable_lines(text).split("\n"):
            self._console.print(Text(f"  {line}", style), soft_wrap=True)


def _interrupted(pending: Sequence[tuple[str, str]]) -> str:
    """What the pending operations in Pulumi's state mean here, where each create takes over."""
    # Each interrupted update adds its own, so one may come twice.
    what = ", ".join(dict.fromkeys(f"{doing} {_name(urn)}" for urn, doing in pending))
    said = f"an earlier update was interrupted, while {what}."
    why = "Nothing has to be done: this update takes over what is there, and makes the rest."
    if all(doing != "creating" for _, doing in pending):
        return told(said, why)
    return told(
        said,
        f"{why} Pulumi repeats this until you type, after an update that succeeded:",
        'eval "$(make -s env)"',
        "pulumi refresh --stack local --clear-pending-creates --yes",
    )


def _name(urn: str) -> str:
    """The program's name of the resource urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME."""
    return printable(urn.rpartition("::")[2])


def _type(urn: str) -> str:
    """Its type as Pulumi shows it: aws:s3:Bucket for aws:s3/bucket:Bucket."""
    token = urn.split("::")[2].rpartition("$")[2]
    package, module, kind = token.split(":", 2)
    first, _, second = module.partition("/")
    return f"{package}:{first if second.lower() == kind.lower() else module}:{kind}"
