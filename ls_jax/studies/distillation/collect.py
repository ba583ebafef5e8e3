"""The distillation study of a run of students: their teachers' predictions are read, or computed from the teachers' weights."""
from ls_jax.studies.common.records import Record
from ls_jax.studies.common.studied import Studied
from ls_jax.studies.distillation import records
from ls_jax.training import teachers
from ls_jax.workdir import predictions


def collect(studied: Studied) -> list[Record]:
    """Records of a run that has teachers, whose own workdirs have the other studies."""
    config, dataset = studied.run.config, studied.run.dataset
    if not config.distill:
        return []
    return records.run(teachers.predicted(config, dataset, studied.workdir), studied.rows, studied.records,
                       lambda member, split: predictions.features(studied.outputs, split, member))
