"""Renders a plan as one Markdown page, for a reviewer who has a minute.

The order is fixed, so two pages of one plan are equal. Rights and findings come before the devices,
because GitHub's comment has only the beginning of a long page (fleet/ci/comment.py). All names from
AWS, a device or the program are in code spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from fleet.plan.markdown import code, row
from fleet.plan.plan import Download, FailOn, Group, Kind, Plan, TargetPlan
from fleet.plan.preview import UNKNOWN
from fleet.plan.scans import Scan
from infra.printable import printable

_NAMES_SHOWN, _CAUGHT_SHOWN = 10, 3


def render(plan: Plan, fail_on: Sequence[FailOn] = ()) -> str:
    """The page, ending in a newline."""
    lines = [
        f"## Device plan: {'destroy ' if plan.destroys else ''}stack {code(plan.stack)}",
        "",
        *_summary(plan),
        "",
        *_reasons(plan, fail_on),
        *_rights(plan),
        *_findings(plan),
        *(line for target in plan.targets for line in _target(target)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def refusal(stack: str, said: str) -> str:
    """The page for a refused plan: the reason in the program's words, as plain text."""
    words = "\n".join(f"    {printable(line)}".rstrip() for line in said.splitlines())
    return (
        f"## Device plan: stack {code(stack)}\n\n**No plan: the preview is refused.**\n\n{words}\n"
    )


def _summary(plan: Plan) -> Iterator[str]:
    groups = [group for one in plan.targets for group in one.groups]
    devices = sum(len(group.devices) for group in groups)
    touched = [group for group in groups if any(change.moves for change in group.changes)]
    if not plan.targets:
        yield "**This stack only publishes: no device notices anything.**"
    elif not touched:
        sent = any(one.deploys for one in plan.targets)
        yield (
            f"**{_count(devices, 'device')}, nothing changes there"
            f"{': a deployment is sent, with what runs already' if sent else ''}.**"
        )
    else:
        count = sum(len(group.devices) for group in touched)
        parts = []
        for kind in (Kind.REMOVED, Kind.CHANGED, Kind.ADDED):
            names = {
                change.name for group in touched for change in group.changes if change.kind is kind
            }
            if names:
                parts.append(f"{_count(len(names), 'component')} {kind}")
        load = _load([group.download for group in touched])
        of = "" if count == devices else f"{count} of "
        yield f"**{of}{_count(devices, 'device')}: {', '.join(parts)}{load}.**"
    named = [
        f"{what} {code(now or then)}{f' → {code(then)}' if then and now and now != then else ''}"
        for what, (now, then) in (
            ("release", plan.releases),
            (f"model {code(plan.names.prefix)}", plan.models),
        )
        if now or then
    ]
    if named:
        yield ""
        yield " · ".join(named)


def _reasons(plan: Plan, fail_on: Sequence[FailOn]) -> Iterator[str]:
    for reason in fail_on:
        caught = plan.caught(reason)
        untold = _untold(plan) if reason is FailOn.VULNERABLE else ""
        if caught:
            yield f"- ❌ **{reason}**: {_listed(caught, shown=_CAUGHT_SHOWN)}{untold}"
        else:
            yield f"- ✅ {reason}: none{untold}"
    if fail_on:
        yield ""


def _untold(plan: Plan) -> str:
    """The images without a scan's result."""
    built = "; the image to be built is scanned once it is pushed" if plan.unread else ""
    return built + "".join(
        f"; {_short(one)}: {code(one.missing)}" for one in plan.scans if one.missing
    )


def _target(one: TargetPlan) -> Iterator[str]:
    kind = "thing group" if one.target.is_group else "thing"
    yield f"### {kind} {code(one.target.name)}"
    yield ""
    for line in one.target.drift:
        yield f"⚠️ {code(line)}"
        yield ""
    if one.target.strangers:
        yield (
            f"⚠️ no core device (Greengrass never reported from there):"
            f" {_listed(one.target.strangers)}"
        )
        yield ""
    if not one.deploys:
        yield "Nothing is deployed here."
        yield ""
    for group in one.groups:
        alone = len(one.target.devices) == 1 and not one.target.is_group
        yield from _group(group, one.target.names.service, alone=alone)


def _group(group: Group, service: str, *, alone: bool) -> Iterator[str]:
    first = group.devices[0]
    what = code(f"{first.architecture}, {first.runtime} {first.nucleus}".strip(", "))
    names = "" if alone else f"**{_listed([device.name for device in group.devices])}** · "
    ill = [device.name for device in group.devices if device.health != "HEALTHY"]
    yield f"{names}{what}{f' · UNHEALTHY: {_listed(ill)}' if ill else ''}"
    yield ""
    yield "| | component | now | then | what differs |"
    yield "|---|---|---|---|---|"
    for one in group.changes:
        label = f"**{one.kind}**" if one.kind is Kind.REMOVED else str(one.kind)
        then = "to be built" if one.then == UNKNOWN else one.then
        older = " (older)" if one.older else ""
        why = ", ".join(code(reason) for reason in one.why)
        yield row((label, code(one.name), code(one.now) or "–", f"{code(then) or '–'}{older}", why))
    yield ""
    if any(change.moves for change in group.changes):
        yield f"- {_restarts(group, service)}"
        yield f"- {_download(group.download)}"
    drift = [f"{device.name}: {line}" for device in group.devices for line in device.drift]
    yield from (f"- ⚠️ {code(line)}" for line in drift[:_NAMES_SHOWN])
    if len(drift) > _NAMES_SHOWN:
        yield f"- ⚠️ and {len(drift) - _NAMES_SHOWN} more that differ from what was deployed"
    yield ""


def _restarts(group: Group, service: str) -> str:
    verbs = {Kind.REMOVED: "Stops", Kind.CHANGED: "Restarts", Kind.ADDED: "Starts"}
    named = {kind: [one.name for one in group.changes if one.kind is kind] for kind in verbs}
    text = " ".join(f"{verbs[kind]}: {_listed(names)}." for kind, names in named.items() if names)
    if service in named[Kind.CHANGED]:
        text += " Requests get no answer meanwhile."
    elif service in named[Kind.REMOVED]:
        text += " Requests get no answer from then on."
    if group.seconds is None:
        return f"{text} No earlier deployment here says how long it takes."
    of = "deployment" if group.counted == 1 else f"{group.counted} deployments"
    return (
        f"{text} About {group.seconds:.0f} s, as the last {of} here took from sending to success."
    )


def _download(one: Download) -> str:
    if not one.most and not one.unknown:
        return "Download: nothing."
    layers = f"{size(one.layers)} of image layers" if one.layers else "no image layer"
    if one.guessed:
        layers += ", if the image to be built is as large as today's and shares no layer with it"
    bound = "about " if one.guessed else "" if one.least == one.most else "at most "
    text = f"Download: {bound}{size(one.most)}"
    text += f": {size(one.files)} of files, {layers}." if not one.unknown else "."
    if not one.unbuilt and one.least < one.most:
        text += " Less where the device still has this version: a nucleus keeps one back."
    if one.unknown:
        text += f" Besides, of unknown size: {_listed(one.unknown)}."
    return text


def _load(downloads: Sequence[Download]) -> str:
    most = max(one.most for one in downloads)
    if not most:
        return ""
    exact = all(one.least == one.most for one in downloads) and len(set(downloads)) == 1
    guessed = any(one.guessed for one in downloads)
    bound = "about " if guessed else "" if exact else "at most "
    more = " and what has no known size yet" if any(one.unknown for one in downloads) else ""
    if guessed:
        more += ", if the image is as large as today's"
    return f", {bound}{size(most)} to download{more}"


def _rights(plan: Plan) -> Iterator[str]:
    yield "### Rights and exposure"
    yield ""
    for who, changed in groupby(plan.rights, key=lambda right: right.who):
        yield f"- {code(who)}"
        for right in changed:
            sign = "+" if right.given else "−"
            yield f"  - `{sign}` {code(right.what)}{' — **anybody**' if right.public else ''}"
    if not plan.rights:
        yield "No rights change, except to read this release's files."
    if plan.unread:
        yield (
            f"\nWhat {_listed(plan.unread)} may do on the device, and how they are started, is"
            " known once the image is built."
        )
    if not plan.caught(FailOn.PUBLIC):
        yield "\nNothing becomes public."
    yield ""


def _findings(plan: Plan) -> Iterator[str]:
    lines = [f"- ⚠️ {code(' '.join(finding.split()))}" for finding in plan.findings]
    for one in plan.scans:
        if found := one.at_least(plan.severity):
            named = [f"{name} ({severity.lower()})" for severity, name in found]
            what = f"{_count(len(found), 'finding')} of severity {plan.severity} or above"
            lines.append(f"- ⚠️ {_short(one)}: {what}: {_listed(named)}")
        elif one.missing and not one.coming:
            lines.append(f"- ⚠️ {_short(one)} is not scanned: {code(one.missing)}")
    if lines:
        yield from ("### Findings", "", *lines, "")


def _short(scan: Scan) -> str:
    return f"image {code(scan.image.rpartition(':')[2][:12])}"


def _listed(names: Sequence[str], shown: int = _NAMES_SHOWN) -> str:
    left = len(names) - shown
    return ", ".join(map(code, names[:shown])) + (f" and {left} more" if left > 0 else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """A size for people, in powers of ten as docker and S3's console print it."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
