"""Any knob set to anything: a sentence, or a config that survives JSON."""

import json

import numpy
from hypothesis import HealthCheck, given, settings, strategies as st

import lirf_kit as lk

HUGE = [10**400, -(10**400), 10**5000, 10**30, 2**63, 1e308, 5e-324, float("nan"), float("inf"), True]
ODD = [
    *(numpy.str_("paper"), numpy.array("paper"), numpy.array([[1, 2], [3, 4]]), numpy.array([1.5]), numpy.array(5)),
    *(numpy.float16(0.5), numpy.longdouble(0.5), numpy.int64(3), numpy.bool_(True), numpy.complex64(1)),
    *(range(3), {1, 2}, {"a": 1}, None, b"x", object(), 1j, int, len, [10**400], [[]], "\ud800", "a\0b", "~"),
]  # fmt: skip
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from(HUGE))
anything = st.one_of(numbers, st.text(max_size=5), st.sampled_from(ODD), st.lists(numbers, max_size=4))
knobs = st.sampled_from(sorted(lk.Config.model_fields)) | st.text(max_size=3)


def test_any_knob_set_to_anything_is_a_sentence_or_a_config_that_survives_json(faults):
    @settings(max_examples=faults.many(150, 1000), deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.dictionaries(knobs, anything, min_size=1, max_size=2))
    def turn(changes):
        with faults.fault(str(list(changes))):
            config = lk.Config(**changes)
            plain = json.loads(json.dumps(config.model_dump(mode="json")))
            if not config == lk.Config(**plain) == lk.Config.model_validate_json(config.model_dump_json()):
                faults.lost(f"{list(changes)}: another config after JSON")

    turn()
