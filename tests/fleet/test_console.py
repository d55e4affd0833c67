"""The page in a real browser, over what a real engine's deployments left on greenhouse."""

from __future__ import annotations

import asyncio
import http.client
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from fleet.console.server import Feed, application, console, sparkline
from fleet.logs import UNANSWERED, Answer
from fleet.observe import Fleet, Target
from fleet.stacks import NoStack
from fleet.status import FleetStatus
from tests.browser import chromium
from tests.fleet.recording import Recording
from tests.missing import missing

SECONDS = 120.0
FOLDED = "t-eu-west-1-local-group-press-1-press-07"
AT = datetime(2026, 11, 23, 10, 41, tzinfo=UTC)


class Watched:
    """What the console sees. A test changes it while the page is open."""

    def __init__(self) -> None:
        [target] = Recording.read("nothing").targets
        [device] = target.devices
        newest, *before = device.timeline
        timeline = (replace(newest, release=device.release), *before)
        recorded = (replace(target, devices=(replace(device, timeline=timeline),)),)
        self.fleet = Fleet(project="edge-inference", region="eu-west-1", seen=AT, targets=recorded)
        self.answers: dict[str, Answer | str] = {}
        self.broken = False
        self.skipped: tuple[str, ...] = ()
        for target in recorded:
            for device in target.devices:
                self.answers[device.name] = Answer(
                    at=AT, rows=5, milliseconds=1.8, model="0123456789ab"
                )

    @property
    def target(self) -> Target:
        return self.fleet.targets[0]

    def look(self) -> FleetStatus:
        if self.broken:
            raise NoStack("stack dev can't be asked in eu-west-1: Could not connect")
        answers = {
            (target.stack, name): answer
            for target in self.fleet.targets
            for name, answer in self.answers.items()
        }
        return FleetStatus(fleets=[(self.fleet, answers)], skipped=self.skipped)

    def breaks(self, component: str) -> None:
        """The device reports the component BROKEN, and the API then shows that."""
        device = self.target.devices[0]
        components = tuple(
            replace(one, state="BROKEN", reason="exit code <65>") if one.name == component else one
            for one in device.components
        )
        others = self.target.devices[1:]
        changed = replace(self.target, devices=(replace(device, components=components), *others))
        self.fleet = replace(self.fleet, targets=(changed,))

    def becomes_a_fleet(self, count: int) -> None:
        """A group of so many devices, each like the first."""
        first = self.target.devices[0]
        devices = tuple(replace(first, name=f"press-{number:02}") for number in range(count))
        group = self.target.arn.replace(":thing/", ":thinggroup/")
        self.fleet = replace(
            self.fleet, targets=(replace(self.target, arn=group, devices=devices),)
        )
        self.answers = {device.name: self.answers[first.name] for device in devices}

    def answers_again(self, milliseconds: float) -> None:
        name, last = next(iter(self.answers.items()))
        assert isinstance(last, Answer)
        self.answers[name] = replace(
            last, at=last.at + timedelta(seconds=1), milliseconds=milliseconds
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as driver:
        driver.set_window_size(1200, 900)
        yield driver


def html(watched: Watched) -> str:
    """The main part of the page, as the server writes it."""
    return asyncio.run(Feed(watched.look, every=0).picture()).html


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def address(watched: Watched) -> Iterator[str]:
    """The address of a console on a port of its own, served as `make console` does."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(
            application(watched.look, every=0.05),
            log_level="error",
            timeout_graceful_shutdown=1,
            lifespan="off",
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        server.force_exit = True
        thread.join()


@pytest.fixture
def page(browser: Chrome, address: str) -> Iterator[Chrome]:
    """The live page. An error in the browser's console fails the test."""
    complaints(browser)
    browser.get(address)
    until(browser, lambda: browser.find_element(By.ID, "connection").text == "live")
    yield browser
    found = complaints(browser)
    browser.get("about:blank")
    assert not found, "an error, or something that the content security policy refused"


def complaints(browser: Chrome) -> list[Any]:
    """What the browser's console has printed since the last call."""
    found: list[Any] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return found


def until(browser: Chrome, holds: Any) -> None:
    WebDriverWait(browser, SECONDS, poll_frequency=0.05).until(lambda _: holds())


def text(browser: Chrome, selector: str) -> str:
    """Read in one step: an element that is found first may be replaced before it is read."""
    script = "return document.querySelector(arguments[0]).innerText"
    return str(browser.execute_script(script, selector))


def test_a_port_that_is_taken_is_told_with_another_to_name() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NoStack, match=rf"port {port}.*\n.*\n    make console PORT=83"):
            console(port=port)


@pytest.mark.parametrize(("ci", "end"), [("true", pytest.fail), ("", pytest.skip)])
def test_ci_fails_without_a_browser(monkeypatch: pytest.MonkeyPatch, ci: str, end: Any) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises((pytest.fail.Exception, pytest.skip.Exception)) as ended:
        missing("no Chromium here")
    assert ended.type is end.Exception


def test_the_page_shows_what_the_devices_run(page: Chrome, watched: Watched) -> None:
    device = watched.target.devices[0]
    rows = [
        [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
        for row in page.find_elements(By.CSS_SELECTOR, "tbody tr")
    ]
    assert [row[:3] for row in rows] == [
        [one.name, one.state, one.version] for one in device.components
    ]
    assert {row[0]: row[3] for row in rows}["com.example.heartbeat"] == "others", "not ours"
    assert device.release in text(page, "article .facts")
    assert "5 rows in 1.8 ms" in text(page, "article .facts")
    shown = [li.text for li in page.find_elements(By.CSS_SELECTOR, ".timeline li")]
    newest, first = device.timeline
    assert len(shown) == 2
    assert f"{newest.stack}, release {device.release} took" in shown[0]
    assert first.name in shown[1], "others' deployment, which brought no release"


def test_a_deployment_that_aws_has_forgotten_is_its_stack_s(watched: Watched) -> None:
    """Each update deletes the deployment before it, so nobody knows what that brought."""
    target = watched.target
    [device] = target.devices
    timeline = tuple(replace(one, release="") for one in device.timeline)
    devices = (replace(device, timeline=timeline),)
    watched.fleet = replace(watched.fleet, targets=(replace(target, devices=devices),))
    page = html(watched)
    assert "<span>local</span>" in page
    assert "(after" not in page, "our own bookkeeping"


def test_a_change_arrives_without_a_reload_and_is_said(page: Chrome, watched: Watched) -> None:
    page.execute_script("window.same = true")
    watched.breaks("com.ml.check")
    until(page, lambda: "BROKEN" in text(page, "table"))
    assert page.execute_script("return window.same"), "the page was loaded again"
    news = page.find_element(By.ID, "news")
    assert (news.get_attribute("aria-live"), news.text) == (
        "polite",
        f"{watched.target.devices[0].name} com.ml.check is"
        f" {watched.target.devices[0].versions['com.ml.check']} BROKEN",
    )
    assert "exit code <65>" in text(page, "table"), "a device's words are text, never markup"


def test_latency_is_drawn_as_answers_come(page: Chrome, watched: Watched) -> None:
    watched.answers_again(4.2)
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".spark"))
    label = page.find_element(By.CSS_SELECTOR, ".spark").get_attribute("aria-label")
    assert label == "Latency of the last 2 answers, 1.8 to 4.2 ms"


def test_the_plan_of_a_fleet_shows_first_the_devices_that_need_a_look_and_folds_the_rest(
    page: Chrome, watched: Watched
) -> None:
    watched.becomes_a_fleet(50)
    until(page, lambda: len(page.find_elements(By.CSS_SELECTOR, "details:not([open])")) == 50)
    page.find_element(By.CSS_SELECTOR, f"#{FOLDED}-u").click()
    devices = list(watched.target.devices)
    devices[33] = replace(devices[33], health="UNHEALTHY")
    watched.fleet = replace(
        watched.fleet, targets=(replace(watched.target, devices=tuple(devices)),)
    )
    until(page, lambda: text(page, "article h3") == "press-33")
    assert "50, 1 to look at" in text(page, ".target > .facts")
    folded = page.find_elements(By.CSS_SELECTOR, "details")
    assert len(folded) == 49
    assert [one.get_attribute("id") for one in folded if one.get_attribute("open")] == [
        f"{FOLDED}-d"
    ], "a section that a reader has unfolded stays unfolded"
    focused = page.execute_script("return document.activeElement.id")
    assert focused == f"{FOLDED}-u"


def test_a_device_that_is_silent_is_one_to_look_at_however_well_it_was(watched: Watched) -> None:
    watched.becomes_a_fleet(2)
    first, second = watched.target.devices
    silent = replace(second, heard=AT - timedelta(days=20))
    watched.fleet = replace(
        watched.fleet, targets=(replace(watched.target, devices=(first, silent)),)
    )
    page = html(watched)
    assert "silent for 20 d</span>, HEALTHY before" in page
    assert page.index("press-01") < page.index("press-00"), "devices that need a look come first"
    assert page.count("<details") == 1


def test_a_device_without_an_answer_for_days_is_one_to_look_at(watched: Watched) -> None:
    watched.becomes_a_fleet(3)
    last = watched.answers["press-02"]
    assert isinstance(last, Answer)
    watched.answers["press-01"] = UNANSWERED
    watched.answers["press-02"] = replace(last, at=AT - timedelta(days=3))
    page = html(watched)
    assert 'bad">no answer in its log</span>' in page
    assert 'bad">no answer for 3 d</span>, 5 rows' in page
    assert page.index("press-02") < page.index("press-00"), "devices that need a look come first"
    assert page.count("<details") == 1


def test_two_stacks_on_one_target_and_a_group_named_like_it_share_no_id(watched: Watched) -> None:
    target = watched.target
    group = replace(target, arn=target.arn.replace(":thing/", ":thinggroup/"))
    watched.fleet = replace(watched.fleet, targets=(target, replace(target, stack="second"), group))
    ids = re.findall(r'\bid="([^"]*)"', html(watched))
    assert len(ids) == len(set(ids)) > 6


def test_devices_of_one_name_have_latencies_of_their_own(watched: Watched) -> None:
    there, name = watched.fleet, watched.target.devices[0].name
    elsewhere = replace(there, region="us-east-1")
    one = Answer(at=AT, rows=1, milliseconds=1.0, model="m")
    other = replace(one, at=AT + timedelta(seconds=1), milliseconds=9.0)
    whose = watched.target.stack, name
    fleets = [(there, {whose: one}), (elsewhere, {whose: other})]
    feed = Feed(lambda: FleetStatus(fleets=fleets), every=0)
    assert "Latency of the last" not in asyncio.run(feed.picture()).html, "each has one answer"


def test_a_stack_that_can_t_be_asked_is_told(watched: Watched) -> None:
    watched.skipped = ("stack nowhere names no region: pulumi config set …",)
    page = html(watched)
    assert "stack nowhere names no region" in page
    assert "com.ml.check" in page

    def none() -> FleetStatus:
        raise NoStack("no stack here")

    assert "no stack here" in asyncio.run(Feed(none, every=0).picture()).html


def test_aws_out_of_reach_is_said_and_passes(page: Chrome, watched: Watched) -> None:
    watched.broken = True
    until(page, lambda: "AWS can't be asked" in text(page, "main"))
    watched.broken = False
    until(page, lambda: "com.ml.check" in text(page, "main"))


def test_the_keyboard_reaches_everything_and_keeps_its_place(
    page: Chrome, watched: Watched
) -> None:
    def press() -> str:
        ActionChains(page).send_keys(Keys.TAB).perform()
        return str(page.execute_script("return document.activeElement.className"))

    assert [press(), press()] == ["skip", "scroll"], "past the header, then the table"
    watched.breaks("com.ml.consumer")
    until(page, lambda: "BROKEN" in text(page, "table"))
    assert page.execute_script("return document.activeElement.className") == "scroll", (
        "a reader would be thrown to the top by every change"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_everybody(page: Chrome, watched: Watched, scheme: str) -> None:
    """axe-core's rules of WCAG 2.1 A and AA, which include contrast, and its best practices."""
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {
            "features": [
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]
        },
    )
    watched.becomes_a_fleet(2)
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, "details"))
    watched.breaks("com.ml.check")
    watched.answers_again(2.5)
    until(page, lambda: page.find_elements(By.CSS_SELECTOR, ".spark"))
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text()
    # The page's own policy admits no script.
    page.execute_cdp_cmd("Runtime.evaluate", {"expression": axe})
    found = page.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    wrong = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
    assert not wrong
    assert any(one["id"] == "color-contrast" for one in found["passes"]), "it was looked at"
    assert not page.execute_script("return document.getAnimations().length"), "motion is unwanted"


def test_a_page_of_500_pixels_needs_no_scrolling_sideways(page: Chrome) -> None:
    page.set_window_size(500, 900)
    try:
        wide = page.execute_script(
            "return [document.documentElement, ...document.querySelectorAll('.scroll')]"
            ".filter(one => one.scrollWidth > one.clientWidth).map(one => one.className)"
        )
        assert not wide
    finally:
        page.set_window_size(1200, 900)


def test_a_row_that_is_scrolled_sideways_keeps_its_head_in_sight(page: Chrome) -> None:
    def left() -> float:
        script = "return document.querySelector('tbody th').getBoundingClientRect().left"
        return float(page.execute_script(script))

    before = left()
    page.execute_script(
        "document.querySelector('table').style.width = '3000px';"
        "document.querySelector('.scroll').scrollLeft = 1000"
    )
    assert page.execute_script("return document.querySelector('.scroll').scrollLeft") == 1000
    assert left() == before


def test_targets_and_components_that_need_a_look_come_first(watched: Watched) -> None:
    well = replace(watched.target, stack="fine")
    watched.breaks("com.ml.xgboost")
    broken = replace(watched.target, stack="zebra")
    watched.fleet = replace(watched.fleet, targets=(well, broken))
    shown = html(watched)
    assert shown.index("zebra") < shown.index("fine")
    assert shown.index("com.ml.xgboost") < shown.index("com.example.heartbeat")
    drifted = replace(well, stack="drifted", drift=("replaced by 'by hand'",))
    watched.fleet = replace(watched.fleet, targets=(well, drifted))
    assert html(watched).index("drifted") < html(watched).index("fine")


def test_a_page_of_another_name_gets_nothing(address: str) -> None:
    place = address.removeprefix("http://").rstrip("/")

    def ask(method: str, host: str) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection(place, timeout=SECONDS)
        try:
            connection.request(method, "/", headers={"Host": host})
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers["Content-Security-Policy"]
        finally:
            connection.close()

    assert ask("GET", place)[0] == 200
    status, said, policy = ask("GET", "rebound.example")
    assert (status, b"com.ml" in said) == (400, False), "a name that its owner points here"
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert ask("POST", place)[0] == 405, "it only looks"


def test_latencies_are_drawn_from_the_oldest_to_the_newest_from_zero_up() -> None:
    answers = [Answer(at=AT, rows=1, milliseconds=value, model="m") for value in (1.0, 2.0, 4.0)]
    points = [tuple(map(float, one.split(","))) for one in sparkline(answers).split()]
    assert points == [(0.0, 17.5), (50.0, 12.0), (100.0, 1.0)]
    assert all(one[0] < other[0] for one, other in pairwise(points))
