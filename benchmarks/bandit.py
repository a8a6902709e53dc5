"""A bandit decides how the batches of a language model's training are spent, against fixed phases of the same cost.

    KERAS_BACKEND=torch python benchmarks/bandit.py --seeds 0 1 2 3 4 --output benchmarks/results/language-bandit.jsonl

The pair is a causal transformer of 2 blocks in one of 4. For each seed: both models alone, each bandit, for each
bandit the phases that `Budget` moves to exactly its cost, and random levels. `--tables` prints the tables of a file of
results.
"""

import argparse
import collections
import json
import pathlib
import sysconfig
import time

import keras
import numpy as np
from keras import layers, ops
from reporting import report
from scipy import stats

import keras_motivation as km

CHARACTERS, LENGTH, BATCH = 97, 64, 32
EXPLORE = 0.05  # share of the draws that ignore what was learnt, as in Graves et al.
NO_LOSS = float("-inf")
STEPS = {30: 1.0, 1: 0.1}  # by the length of a spell; chosen with made-up losses, not with the language model


@keras.saving.register_keras_serializable("benchmarks")
class GainPerFlop(km.MotivationCondition):
    """A bandit over the levels: it spends batches where the smoothed loss of the training falls most per FLOP.

    After each spell of batches it receives a reward: the fall of the running mean of all losses, divided by the cost of
    the spell. Rewards are compared with their own running mean, in units of their running deviation. Then it draws the
    level of the next spell. The policy is Exp3.S, so it can follow a best level that changes.

    Args:
        levels: Number of levels, of which 0 is the base alone.
        spell: Number of batches between two decisions.
        step: How much a reward changes the policy.
        span: Span of the running mean of the loss, in batches; `None` is a third of a spell.
        seed: Integer seed of the draws.
        **kwargs: `name` and `dtype`.

    Source: Exp3.S with the gain of the loss per cost as the reward: Graves et al., "Automated curriculum learning for
    neural networks" (arXiv 1704.03003). The slope of the loss as a rule for growth: AutoGrow (arXiv 1906.02909), Staged
    Training (arXiv 2203.06211).
    """

    def __init__(self, levels=3, spell=30, step=0.3, span=None, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.levels, self.spell, self.step, self.seed = levels, spell, step, seed
        self.span = span or max(1, spell // 3)
        self.costs = (1.0,) * levels
        self.weights_of_levels = self.add_weight(
            shape=(levels,), initializer="zeros", dtype="float32", trainable=False, autocast=False, name="log_weights"
        )
        self.batches = self.add_state("batches", 0, dtype="int32")
        self.mean = self.add_state("mean", NO_LOSS)  # of the losses
        self.mean_before = self.add_state("mean_before", NO_LOSS)  # the spell
        self.usual_gain = self.add_state("usual_gain", NO_LOSS)
        self.deviation = self.add_state("deviation", NO_LOSS)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def bind(self, highest, costs=None, spent=None):
        if highest + 1 != self.levels:
            raise ValueError(f"Argument `levels` must be {highest + 1}. Received: levels={self.levels}")
        self.costs = costs() if costs else self.costs
        super().bind(highest)

    def policy(self):
        """Probabilities of the levels."""
        return (1 - EXPLORE) * ops.softmax(self.weights_of_levels.value) + EXPLORE / self.levels

    def update(self, loss):
        loss = ops.cast(loss, self.mean.dtype)
        mean = _running(self.mean.value, loss, 1 / self.span)
        before = ops.where(ops.isfinite(self.mean_before.value), self.mean_before.value, mean)
        batches = self.batches.value + 1
        ends = batches % self.spell == 0
        number = ops.cast(batches // self.spell, "float32")

        chosen = ops.cast(ops.equal(ops.arange(self.levels, dtype="int32"), self.level.value), "float32")
        gain = (before - mean) / (self.spell * ops.sum(chosen * ops.convert_to_tensor(self.costs, "float32")))
        known = ops.isfinite(self.usual_gain.value)
        surprise = ops.where(known, gain - self.usual_gain.value, ops.zeros_like(gain))
        deviation = ops.where(known, _running(self.deviation.value, ops.abs(surprise), 0.2), self.deviation.value)
        reward = ops.where(known, ops.clip(surprise / (2 * ops.maximum(deviation, 1e-12)), -1.0, 1.0), 0.0 * gain)

        grown = ops.exp(self.weights_of_levels.value + self.step * reward * chosen / self.policy())
        share = 1 / (number + 1)
        mixed = (1 - share) * grown + share * (ops.sum(grown) - grown) / (self.levels - 1)
        weights = ops.log(mixed / ops.max(mixed))

        for variable, value, otherwise in (
            (self.weights_of_levels, weights, self.weights_of_levels.value),
            (self.mean_before, mean, before),
            (self.usual_gain, _running(self.usual_gain.value, gain, 0.2), self.usual_gain.value),
            (self.deviation, deviation, self.deviation.value),
        ):
            variable.assign(ops.where(ends, value, otherwise))
        self.mean.assign(mean)
        self.batches.assign(batches)
        limits = ops.cumsum(self.policy())[:-1]
        draw = keras.random.uniform((), seed=self.seed_generator)
        drawn = ops.sum(ops.cast(draw > limits, "int32"))
        return ops.where(ends, drawn, self.level.value)

    def get_config(self):
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in ("levels", "spell", "step", "span", "seed")},
        }


def _running(mean, value, weight):
    """The running mean after a new value. A NaN or infinite value does not change it."""
    new = ops.where(ops.isfinite(mean), mean + weight * (value - mean), value)
    return ops.where(ops.isfinite(value), new, mean)


def text(seed, batches):
    """Pieces of Python's standard library: for training as the seed draws them, for validation from other files."""
    files = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    parts = []
    for held_out in (False, True):
        read = "".join(f.read_text(encoding="utf-8") for i, f in enumerate(files) if (i % 10 == 9) == held_out)
        codes = np.frombuffer(read.encode("ascii", "replace"), "uint8").astype("int32")
        codes = np.where((codes >= 32) & (codes < 127), codes - 30, np.where(codes == 10, 1, 0))
        count = (len(codes) - 1) // LENGTH
        x, y = (codes[i : i + count * LENGTH].reshape(count, LENGTH) for i in (0, 1))
        rows = np.random.default_rng(0 if held_out else seed).permutation(count)[
            : 1024 if held_out else batches * BATCH
        ]
        parts.append((x[rows], y[rows]))
    return parts


def language_model(blocks, width):
    """A causal transformer with norms before attention and MLP, of heads of 16 channels."""
    ids = keras.Input((LENGTH,), dtype="int32")
    places = ops.cumsum(ops.ones_like(ids), axis=-1) - 1
    x = layers.Embedding(CHARACTERS, width, name="characters")(ids)
    x = layers.Add(name="add")([x, layers.Embedding(LENGTH, width, name="places")(places)])
    for i in range(blocks):
        y = layers.LayerNormalization(name=f"norm_{i}")(x)
        y = layers.MultiHeadAttention(width // 16, 16, name=f"attention_{i}")(y, y, use_causal_mask=True)
        x = layers.Add(name=f"add_attention_{i}")([x, y])
        y = layers.LayerNormalization(name=f"mlp_norm_{i}")(x)
        y = layers.Dense(width, name=f"outer_{i}")(layers.Dense(4 * width, "gelu", name=f"inner_{i}")(y))
        x = layers.Add(name=f"add_mlp_{i}")([x, y])
    return keras.Model(ids, layers.Dense(CHARACTERS, name="logits")(layers.LayerNormalization(name="last_norm")(x)))


def run(arm, settings, motivation=None):
    """Trains once. Returns validation losses, the cost relative to the motivated model alone, and the levels."""
    (x, y), held_out = text(settings["seed"], settings["batches"])
    keras.utils.set_random_seed(settings["seed"])  # the same start for all arms
    base, large = (language_model(blocks, settings["width"]) for blocks in (2, 4))
    model = {"base": base, "motivated": large}.get(arm) or km.MotivatedModel(base, large)
    pair = isinstance(model, km.MotivatedModel)
    steps, rate = settings["batches"], settings["rate"]
    rates = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 20, alpha=0.1, warmup_target=rate, warmup_steps=steps // 20
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    extra = {"motivation": motivation, "motivated_batch": ["alternate", "joint"]} if pair else {}
    model.compile(keras.optimizers.AdamW(rates), loss, **extra)
    record = km.MotivationHistory()
    began = time.perf_counter()
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[record] if pair else [])
    seconds = time.perf_counter() - began
    losses = model.evaluate(*held_out, batch_size=128, verbose=0, return_dict=True)
    flops = [km.count_flops(part) for part in (base, large)]
    return {
        "validation_loss": {"base": losses["loss"], "motivated": losses["motivated_loss"]}
        if pair
        else {arm: losses["loss"]},
        "cost_to_motivated": model.training_cost().relative_to_motivated
        if pair
        else flops[arm == "motivated"] / flops[1],
        "levels": "".join(map(str, record.levels)) if pair else "",
        "fit_seconds": round(seconds, 1),
    }


def bandits(seed):
    """The bandits by name: decisions for spells and for single batches."""
    return {
        "bandit, spells of 30": GainPerFlop(spell=30, step=STEPS[30], seed=seed),
        "bandit, single batches": GainPerFlop(spell=1, step=STEPS[1], seed=seed),
    }


def fixed(cost):
    """Phases that cost the same, by name. The first kind cannot cost more than the motivated model alone."""
    kinds = {
        "alone": ((0.5, 0), (1.0, 1)),
        "alone, then joint": ((0.5, 0), (0.8, 1), (1.0, 2)),
        "joint": ((0.5, 0), (1.0, 2)),
    }
    return {
        name: km.Budget(cost, km.Phases(*phases)) for name, phases in kinds.items() if name != "alone" or cost < 0.995
    }


def experiment(options):
    """All arms of all seeds. What the file has already is not run again."""
    known = [json.loads(line) for line in options.output.read_text().splitlines()] if options.output.exists() else []
    found = {json.dumps(line["settings"]): line for line in known}

    def once(arm, motivation=None, **more):
        settings = {"arm": arm, "seed": seed, **{n: getattr(options, n) for n in ("batches", "width", "rate")}, **more}
        key = json.dumps(settings)
        if key not in found:
            found[key] = report(settings, run(arm, settings, motivation), options.output)
            print(arm, found[key]["validation_loss"], round(found[key]["cost_to_motivated"], 3), flush=True)
        return found[key]["cost_to_motivated"]

    for seed in options.seeds:
        once("base")
        once("motivated")
        if options.alone:
            continue
        for name, bandit in bandits(seed).items():
            cost = once(name, bandit, step=bandit.step, span=bandit.span)
            for phases, condition in fixed(cost).items():
                once(f"phases, {phases}", condition, cost_of=name)
        once("random, spells of 30", GainPerFlop(spell=30, step=0.0, seed=seed))  # the bandit that learns nothing


def compared(values, others):
    """The mean difference over the seeds that both have, with a 95 % interval (Student's t)."""
    differences = [values[seed] - others[seed] for seed in sorted(values.keys() & others.keys())]
    mean = f"{np.mean(differences):+.3f}" if differences else ""
    if len(differences) < 3:
        return mean
    return f"{mean} ± {stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences):.3f}"


def tables(lines):
    """Every arm against the models alone, then every bandit against the phases of its cost."""
    losses = collections.defaultdict(dict)  # by arm and model, then by seed
    costs, seconds, shares = (collections.defaultdict(list) for _ in range(3))
    for line in lines:
        settings = line["settings"]
        arm = settings["arm"] + (f" (cost of {settings['cost_of']})" if "cost_of" in settings else "")
        for model, loss in line["validation_loss"].items():
            losses[arm, model][settings["seed"]] = loss
        costs[arm].append(line["cost_to_motivated"])
        seconds[arm].append(line["fit_seconds"])
        if line["levels"]:
            shares[arm].append([line["levels"].count(level) / len(line["levels"]) for level in "012"])
    rows = [
        "| arm | seeds | levels 0, 1, 2 | base | base - alone | motivated | motivated - alone | FLOPs | fit (s) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in costs:
        cells = [arm, len(costs[arm]), ", ".join(f"{share:.0%}" for share in np.mean(shares[arm] or [[]], axis=0))]
        for model in ("base", "motivated"):
            found = losses[arm, model]
            cells.append(f"{np.mean(list(found.values())):.3f}" if found else "")
            cells.append("" if arm == model else compared(found, losses[model, model]))
        low, high = min(costs[arm]), max(costs[arm])
        cells.append(f"{np.mean(costs[arm]):.2f}" + (f" ({low:.2f} to {high:.2f})" if high - low > 0.01 else ""))
        rows.append("| " + " | ".join(map(str, [*cells, f"{np.median(seconds[arm]):.0f}"])) + " |")
    rows += ["", "| bandit | minus | seeds | base | motivated | sum of both |", "|---|---|---|---|---|---|"]
    for arm in costs:
        if " (cost of " not in arm:
            continue
        phases, bandit = arm[:-1].split(" (cost of ")
        sums = [
            {seed: losses[a, "base"][seed] + losses[a, "motivated"][seed] for seed in losses[a, "base"]}
            for a in (bandit, arm)
        ]
        cells = [compared(losses[bandit, model], losses[arm, model]) for model in ("base", "motivated")]
        rows.append(f"| {bandit} | {phases} | {len(costs[arm])} | {' | '.join([*cells, compared(*sums)])} |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.008, help="highest learning rate")
    parser.add_argument("--alone", action="store_true", help="run only the two models alone, to find a rate")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="file of results; runs that it has are kept")
    parser.add_argument("--tables", action="store_true", help="run nothing, print the tables of the file")
    options = parser.parse_args()
    if not options.tables:
        experiment(options)
    lines = [json.loads(line) for line in options.output.read_text().splitlines()]
    asked = ("batches", "width", "rate")
    print(tables([line for line in lines if all(line["settings"][n] == getattr(options, n) for n in asked)]))


if __name__ == "__main__":
    main()
