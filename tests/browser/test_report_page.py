"""report.html in headless Chromium: it renders, on a phone and in the dark too, and its script works.

pytest tests/browser; skipped where there is no Chromium (apt-get install chromium). Screenshots are
left in build/screenshots/.
"""

import re
import shutil
import subprocess

import pytest

from tests.unit.report import fleets
from verl_provision.report import html

CHROMIUM = shutil.which("chromium")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
SHOTS = fleets.ROOT / "build/screenshots"
VIEWS = {
    "light": ["--window-size=1240,1500"],
    "dark": ["--window-size=1240,1500", "--blink-settings=preferredColorScheme=0"],
    "phone": ["--window-size=500,1100", "--blink-settings=preferredColorScheme=0"],  # Chromium's least width
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="no chromium: apt-get install chromium")]


def browse(tmp_path, *arguments):
    flags = [*FLAGS, f"--user-data-dir={tmp_path}/profile"]
    done = subprocess.run([CHROMIUM, *flags, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=[1, 1000])
def page(request, tmp_path):
    size = request.param
    report = fleets.report(size, healthy=size == 1)
    path = tmp_path / "report.html"
    path.write_text(html.render(report, fleets.report(size, healthy=True)))
    return size, path


@pytest.mark.parametrize("kind", VIEWS)
def test_a_screenshot_is_made(page, kind, tmp_path):
    size, path = page
    SHOTS.mkdir(parents=True, exist_ok=True)
    shot = SHOTS / f"report-{size}-{kind}.png"
    shot.unlink(missing_ok=True)
    browse(tmp_path, *VIEWS[kind], f"--screenshot={shot}", path.as_uri())
    assert shot.stat().st_size > 10_000


PROBE = """<script>addEventListener("load",function(){var said=[];
said.push("wide:"+(document.documentElement.scrollWidth-innerWidth));
var q=document.getElementById("q");if(q){q.value="gpu-0004";q.dispatchEvent(new Event("input"))}
var rows=[].slice.call(document.querySelectorAll("table.rows tbody tr"));
said.push("shown:"+rows.filter(function(r){return !r.hidden}).length);
location.hash="#g1";dispatchEvent(new Event("hashchange"));
said.push("open:"+document.getElementById("g1").open);
document.title="said "+said.join(" ")})</script></body>"""


@pytest.mark.parametrize("width", [1240, 500])
def test_it_fits_the_width_and_its_script_works(page, width, tmp_path):
    _, path = page
    path.write_text(path.read_text().replace("</body>", PROBE))
    dom = browse(tmp_path, f"--window-size={width},900", "--virtual-time-budget=4000", "--dump-dom", path.as_uri())
    said = dict(word.split(":") for word in re.search(r"<title>said ([^<]*)", dom).group(1).split())
    assert int(said["wide"]) <= 0
    assert said["shown"] == "1"
    assert said["open"] == "true"
