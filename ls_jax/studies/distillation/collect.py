"""Collects the distillation study's records: teachers' predictions are read, or computed from the teachers' weights."""
from ls_jax.studies.common.records import Record
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.distillation import records
from ls_jax.training import teachers
from ls_jax.workdir import log, predictions


def collect(studied: Studied) -> list[Record]:
    """Records of a run of students; none for other runs. The teachers' own workdirs have their other studies."""
    config, dataset = studied.run.config, studied.run.dataset
    if not config.distill:
        return []
    found = records.run(teachers.predicted(config, dataset, studied.workdir), studied.rows, studied.records,
                        lambda member, split: predictions.features(studied.outputs, split, member))
    return found + records.agreement(log.read_metrics(studied.workdir), studied.rows, studied.left_out)
