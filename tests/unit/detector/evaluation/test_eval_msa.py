"""Tables of a study: read, studied, and refused by line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from detector.evaluation.msa import analyse
from taktwatch.errors import BadInput

GAUGE = "part,appraiser,trial,depth_um,extent\n" + "".join(
    f"{part},{name},{trial},{10 * part + bias + trial / 10},{part / 10}\n"
    for part in range(1, 6)
    for name, bias in (("anna", 0), ("model", 0.5))
    for trial in (1, 2)
)
RATINGS = "part,appraiser,trial,rating,reference\n" + "".join(
    f"{part},{name},1,{'bad' if part % 3 == 0 else 'good'},{'bad' if part % 3 == 0 else 'good'}\n"
    for part in range(12)
    for name in ("anna", "model")
)


def test_every_measured_quantity_gets_its_own_study() -> None:
    study = analyse(GAUGE, "depth.csv", tolerances={"depth_um": 20})
    assert study.agreement is None
    depth, extent = study.gauges
    assert (depth.quantity, depth.parts, depth.appraisers, depth.trials) == ("depth_um", 5, 2, 2)
    assert depth.component("gauge").tolerance_share is not None
    assert extent.component("gauge").tolerance_share is None
    assert extent.component("gauge").sigma.value == pytest.approx(0, abs=1e-9)


def test_ratings_are_studied_as_agreement() -> None:
    study = analyse(RATINGS, "ratings.csv")
    assert study.gauges == ()
    assert study.agreement is not None
    assert study.agreement.categories == ("bad", "good")
    assert study.agreement.between[0].kappa.value == 1
    assert {one.first for one in study.agreement.against_reference} == {"anna", "model"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'part'"),
        ("part,appraiser,trial\n1,a,1\n", "neither a column `rating` nor"),
        ("part,appraiser,trial,d\n1,a,1\n", "line 2: 3 cells, the head has 4"),
        ("part,appraiser,trial,d\n1,a,1,deep\n", "line 2: d is 'deep', no number"),
        ("part,appraiser,trial,d\n1,,1,2\n", "line 2: appraiser is empty"),
        ("part,appraiser,trial,rating\n1,a,1,\n", "line 2: rating is empty"),
        ("part,part,appraiser,trial,d\n1,1,a,1,2\n", "two columns of one name"),
        ("part,appraiser,trial,d\n1,a,1,nan\n1,a,2,3\n", "no value"),
        (GAUGE.rsplit("\n", 2)[0] + "\n", "part '5' was not measured by 'model' in trial '2'"),
    ],
)
def test_a_wrong_table_is_named(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=f"^t.csv: .*{words}"):
        analyse(text, "t.csv")


def test_a_tolerance_for_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="'width', which is no column; there are: depth_um, extent"):
        analyse(GAUGE, "t.csv", tolerances={"width": 3})
    with pytest.raises(BadInput, match="ratings have no tolerance"):
        analyse(RATINGS, "t.csv", tolerances={"rating": 3})


def test_the_command_line_studies_a_table(tmp_path: Path) -> None:
    path = tmp_path / "depth.csv"
    path.write_text(GAUGE)
    call = [sys.executable, "-m", "taktwatch", "msa", str(path)]
    printed = subprocess.run([*call, "--json"], capture_output=True, text=True, check=True)
    assert [one["quantity"] for one in json.loads(printed.stdout)["gauges"]] == ["depth_um", "extent"]
    people = subprocess.run([*call, "--tolerance", "depth_um=20"], capture_output=True, text=True, check=True)
    assert "Distinct categories" in people.stdout
    wrong = subprocess.run([*call, "--tolerance", "depth_um"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.strip() == "taktwatch: --tolerance 'depth_um' is not QUANTITY=WIDTH, such as depth_um=20"
