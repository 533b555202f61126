"""No damaged checkpoint of any format makes the audit crash, hang or say ok about statistics that it changed.

More of it: `python tests/support/damages.py --count 10000`.
"""

import damages
import pytest

SEED = 1
COUNTS = {"hdf5": 10}


@pytest.mark.parametrize("form", damages.FORMS)
def test_a_few_damages(form, tmp_path):
    bench = damages.Bench(tmp_path, form)
    if form != "hdf5":
        assert {bench.case(SEED, index, form) for index in range(10)} <= {
            "same", "refused", "not ok", "ok", "ok, changed",
        }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("form", damages.FORMS)
def test_many_damages(form, tmp_path):
    bench = damages.Bench(tmp_path, form)
    outcomes = {bench.case(SEED, index, form) for index in range(COUNTS.get(form, 300))}
    # Damages that were all refused, or all accepted, would test half of it. A graph beside a checkpoint is evidence: a
    # damaged one is left aside, with a note.
    assert len(outcomes - {"same"}) > 1 or form in ("tar", "meta")


def test_an_ok_on_changed_statistics_would_be_seen(tmp_path, monkeypatch):
    bench = damages.Bench(tmp_path, "safetensors")
    monkeypatch.setattr(bench, "form", damages.Form(None, bench.form.damage, True))

    def audit_all():
        for index in range(300):
            bench.case(SEED, index, "safetensors")

    with pytest.raises(AssertionError, match="though the statistics are not those of the whole file"):
        audit_all()
