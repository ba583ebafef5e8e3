"""What a teacher costs a student's training step, against the student's own step and the teacher's forward pass.

    PYTHONPATH=. python benchmarks/distillation.py --config=configs/cifar10_distill.py --repetitions 9

Four loop bodies over random pictures, in turns: the student's step alone (`config.distill` off); its step with the
teacher asked on the same augmented batch; the teacher's answer alone; and its step with kept logits (augmentation off,
against the step alone without augmentation). Last, k students of one teacher, asked. The bounds of interest: asked <=
1.05 x (alone + teacher); kept <= 1.03 x alone; k students <= k x alone + one teacher's forward pass.
"""
import argparse
import dataclasses
import statistics
import time

import ls_jax

ls_jax.setup("resnet")

import jax  # noqa: E402
import numpy as np  # noqa: E402

from ls_jax import config as configs  # noqa: E402
from ls_jax import data  # noqa: E402
from ls_jax.data import memory, order  # noqa: E402
from ls_jax.devices import mesh  # noqa: E402
from ls_jax.devices.layout import over_mesh  # noqa: E402
from ls_jax.training import loop, step, students, teachers  # noqa: E402


class Loop:
    """The loop's body for some students of one teacher; its weights are a new network's, which cost what trained ones
    do."""

    def __init__(self, config, dataset, temperatures=(4.0,), taught=True, augmentation=None):
        config = config.copy_and_resolve_references()
        name, source = sorted(config.distill.teachers.items())[0]
        config.sweep.seed, config.mesh.member, config.mesh.data = (0,), 1, 1
        config.distill.students = dict(taught=dict(teacher=name, temperature=temperatures))
        if augmentation:
            config.data.augment = augmentation
        if not taught:
            config.distill = None
            config.sweep.alpha = (0.0,)
        self.run = loop.setup(config, dataset)
        self.arrays = memory.place(dataset.splits["train"], self.run.layout.mesh)
        if taught:
            self.run = dataclasses.replace(self.run, teaching=self.teaching(config, dataset, source))
        self.step, _ = loop.training_programs(self.run)
        self.hypers = self.run.hypers()
        self.states = over_mesh(self.run.step.init, self.run.layout, (mesh.MEMBER,), mesh.MEMBER)(self.hypers)
        self.ids = loop.place_ids(self.run.layout,
                                   order.block(self.run.examples, config.batch_size, self.run.hyper["seed"], 0, 1))

    def teaching(self, config, dataset, source):
        shape, classes = dataset.splits["train"].images.shape[1:], len(dataset.class_names)
        if not students.online(config):
            kept = np.zeros((1, self.arrays[0].shape[0], classes), np.float32)
            return teachers.Teaching(precomputed=mesh.put(self.run.layout.mesh, mesh.SHARED, kept))
        _, new_weights = step.build_network(source, classes,
                                            step.augment.output_shape(shape, config.data.augment), None)
        weights = jax.tree.map(lambda x: np.asarray(x)[None], new_weights(jax.random.key(0)))
        roster = students.roster(config)
        network = teachers.TeacherSweep(step.build_teacher(source, config, classes, shape), weights, {roster[0]: 0})
        return teachers.Teaching(online=teachers._Online(config, self.run.layout, roster,
                                                         {roster[0].name: network}, classes))

    def answer(self):
        return self.run.teaching.online(self.hypers, self.ids, self.arrays, 0)

    def teacher(self):
        jax.block_until_ready(self.answer())

    def student(self):
        self.states = self.step(self.states, self.hypers, self.ids, self.arrays,
                                self.answer() if self.run.teaching.online else None)
        jax.block_until_ready(self.states)


def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/cifar10_distill.py", help="FILE.py or FILE.py:VARIANT")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--students", type=int, default=4, help="k")
    parser.add_argument("--batch_size", type=int, default=None)
    arguments = parser.parse_args()
    config = configs.load(*arguments.config.split(":"))
    config.distill.loss = "soft"
    config.batch_size = arguments.batch_size or config.batch_size
    if config.data.augment == "none":  # so that there is something to ask for
        config.data.augment = sorted(config.distill.teachers.items())[0][1].data.augment
    size = (28, 28, 1) if "mnist" in config.data.name else (32, 32, 3)
    rng = np.random.default_rng(0)
    split = data.Split(rng.integers(0, 256, (10_000, *size), np.uint8), rng.integers(0, 10, 10_000).astype(np.int32))
    dataset = data.Dataset("random", tuple(map(str, range(10))), {"train": split, "test": split, "validation": split})
    many = tuple(float(t) for t in range(1, arguments.students + 1))
    asked, several = Loop(config, dataset), Loop(config, dataset, many)
    alone, kept, plain = (Loop(config, dataset, taught=taught, augmentation=augmentation)
                          for taught, augmentation in ((False, None), (True, "none"), (False, "none")))
    bodies = {"student alone": alone.student, "teacher's forward": asked.teacher,
              "student, teacher asked": asked.student,
              f"{arguments.students} students, asked": several.student, "student, no augmentation": plain.student,
              "student, logits kept": kept.student}
    times = {name: [] for name in bodies}
    for body in bodies.values():
        body()
    for _ in range(arguments.repetitions):
        for name, body in bodies.items():
            times[name].append(seconds(body))
    print(f"{arguments.config}, batch {config.batch_size}, {jax.devices()[0].device_kind}, jax {jax.__version__}: "
          f"milliseconds, median of {arguments.repetitions} in turns (minimum)")
    for name, values in times.items():
        print(f"{name:24} {1e3 * statistics.median(values):9.2f} ({1e3 * min(values):9.2f})")
    for label, pick in (("medians", statistics.median), ("minima", min)):
        of = {name: pick(values) for name, values in times.items()}
        student, teacher = of["student alone"], of["teacher's forward"]
        print(f"by {label}: asked / (alone + forward) = {of['student, teacher asked'] / (student + teacher):.3f}; kept "
              f"/ alone = {of['student, logits kept'] / of['student, no augmentation']:.3f}; {arguments.students} "
              f"students / ({arguments.students} x alone + forward) = "
              f"{of[f'{arguments.students} students, asked'] / (arguments.students * student + teacher):.3f}")


if __name__ == "__main__":
    main()
