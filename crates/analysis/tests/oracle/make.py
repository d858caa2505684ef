"""Writes expected.json: data sets and graphs with the results of other programs for them.

    pip install powerlaw networkx numpy scipy
    python make.py > expected.json

Three sources. `powerlaw` (Alstott, Bullmore, Plenz 2014) for exponents, ratios and its own scan;
its distance considers only the points just before each value, so its lower cutoff need not be the one
of the paper. `brute`: the paper's definitions implemented directly, with scipy's zeta function and
minimisers, over every integer. `networkx` for graphs.
"""

import json
import sys
import warnings

import networkx as nx
import numpy as np
import powerlaw
from powerlaw.statistics import loglikelihood_ratio
from scipy import optimize, special

warnings.filterwarnings("ignore")
LEAST_TAIL = 10
LEAST_SPAN = 4
# Without this powerlaw 2 holds the exponent to [0, 3].
RANGES = {"alpha": [1.0001, 20]}


def norm(alpha, xmin, xmax):
    if xmax is None:
        return special.zeta(alpha, xmin)
    return np.sum(np.arange(xmin, xmax + 1, dtype=float) ** -alpha)


def brute_at(data, xmin, xmax):
    tail = data[data >= xmin].astype(float)
    log_sum = np.log(tail).sum()
    low = 1.0001 if xmax is None else 0.0

    def cost(alpha):
        return len(tail) * np.log(norm(alpha, xmin, xmax)) + alpha * log_sum

    alpha = optimize.minimize_scalar(cost, bounds=(low, 20), method="bounded", options={"xatol": 1e-10}).x
    values, counts = np.unique(tail, return_counts=True)
    upto = np.cumsum(counts) / len(tail)

    def law_below(x):
        if xmax is None:
            return 1 - special.zeta(alpha, x) / norm(alpha, xmin, None)
        cumulative = np.concatenate([[0], np.cumsum(np.arange(xmin, xmax + 1, dtype=float) ** -alpha)])
        return cumulative[(x - xmin).astype(int)] / cumulative[-1]

    before = np.concatenate([[0], upto[:-1]])
    ks = max(np.abs(law_below(values) - before).max(), np.abs(law_below(values + 1) - upto).max())
    return alpha, ks, len(tail)


def brute_scan(data, xmax):
    best = None
    for i, xmin in enumerate(np.unique(data)[:-1]):
        if (data >= xmin).sum() < LEAST_TAIL or (i > 0 and xmax is not None and xmin > xmax // LEAST_SPAN):
            break
        alpha, ks, tail = brute_at(data, xmin, xmax)
        if best is None or ks < best["ks"]:
            best = {"alpha": alpha, "ks": ks, "xmin": int(xmin), "tail": int(tail)}
    return best


def ln_lognormal(values, xmin, mu, sigma):
    """Logarithm of the rounded lognormal's mass, accurate far out in the tail too."""
    low, high = (np.log(values - 0.5) - mu) / sigma, (np.log(values + 0.5) - mu) / sigma
    swap = high < 0
    low, high = np.where(swap, -high, low), np.where(swap, -low, high)
    a, b = special.log_ndtr(-low), special.log_ndtr(-high)
    return a + np.log(-np.expm1(b - a)) - special.log_ndtr(-(np.log(xmin - 0.5) - mu) / sigma)


def brute_lognormal(tail, xmin, mu, sigma):
    """The maximum likelihood of the rounded lognormal, from several starts."""
    values, counts = np.unique(tail, return_counts=True)

    def cost(parameters):
        if abs(parameters[1]) > 5:
            return np.inf
        total = -(counts * ln_lognormal(values, xmin, parameters[0], np.exp(parameters[1]))).sum()
        return total if np.isfinite(total) else np.inf

    starts = [(mu, np.log(sigma)), (0, 0), (-5, 1), (-50, 2), (-300, 3), (np.log(tail).mean(), -0.5)]
    options = {"maxiter": 20000, "maxfev": 20000, "xatol": 1e-8, "fatol": 1e-9}
    found = [optimize.minimize(cost, s, method="Nelder-Mead", options=options) for s in starts]
    best = min(found, key=lambda f: f.fun).x
    return ln_lognormal(tail, xmin, best[0], np.exp(best[1]))


def compare(law, other):
    ratio, p = loglikelihood_ratio(law.copy(), other.copy())
    return {"ratio": float(ratio), "p": float(p)}


def powerlaw_at(data, xmin):
    tail = np.sort(data[data >= xmin]).astype(float)
    common = {"data": tail, "xmin": xmin, "discrete": True}
    law = powerlaw.Power_Law(estimate_discrete=False, parameter_ranges=RANGES, **common)
    exponential = powerlaw.Exponential(**common)
    lognormal = powerlaw.Lognormal(**common)
    ln_law = law.loglikelihoods(tail)
    return {
        "xmin": int(xmin),
        "alpha": float(law.alpha),
        "ks_before_values": float(law.D),
        "exponential": compare(ln_law, exponential.loglikelihoods(tail)),
        # At its parameters, but not with its likelihoods: those underflow in the far tail.
        "lognormal": compare(ln_law, ln_lognormal(tail, xmin, lognormal.mu, lognormal.sigma)),
        "lognormal_best": compare(ln_law, brute_lognormal(tail, xmin, lognormal.mu, lognormal.sigma)),
    }


def data_set(name, data, xmax=None):
    print(name, file=sys.stderr)
    data = np.asarray(data, dtype=np.int64)
    values, counts = np.unique(data, return_counts=True)
    options = {"discrete": True, "estimate_discrete": False, "verbose": 0, "parameter_ranges": RANGES}
    scan = powerlaw.Fit(data, **options)
    out = {
        "name": name,
        "counts": [[int(v), int(c)] for v, c in zip(values, counts)],
        "brute": brute_scan(data, None),
        "powerlaw_scan_xmin": int(scan.xmin),
        # At the smallest value, and at the cutoff of the paper's scan.
        "powerlaw": [powerlaw_at(data, int(values[0]))],
        "bounded_xmax": int(xmax or values[-1]),
    }
    if out["brute"]["xmin"] != values[0]:
        out["powerlaw"].append(powerlaw_at(data, out["brute"]["xmin"]))
    if out["bounded_xmax"] < 100_000:
        out["bounded"] = brute_scan(data, out["bounded_xmax"])
        bounded = {"data": data.astype(float), "xmin": values[0], "xmax": out["bounded_xmax"], "discrete": True}
        law = powerlaw.Power_Law(estimate_discrete=False, parameter_ranges=RANGES, **bounded)
        out["powerlaw_bounded_alpha"] = float(law.alpha)
    return out


def zeta(rng, alpha, xmin, n):
    out = np.empty(0, dtype=np.int64)
    while len(out) < n:
        more = rng.zipf(alpha, size=20 * n)
        out = np.concatenate([out, more[(more >= xmin) & (more < 10**9)]])
    return out[:n]


def bounded(rng, alpha, xmin, xmax, n):
    k = np.arange(xmin, xmax + 1)
    p = k.astype(float) ** -alpha
    return rng.choice(k, size=n, p=p / p.sum())


def data_sets():
    rng = np.random.default_rng(20090404)
    for alpha, xmin, n in [(2.2, 1, 300), (2.2, 3, 3000), (2.4, 3, 20000), (2.6, 5, 1000), (1.8, 1, 500), (3.5, 1, 5000), (6.0, 1, 5000)]:
        yield data_set(f"zeta {alpha} from {xmin}, {n}", zeta(rng, alpha, xmin, n))
    for alpha, xmax, n in [(2.2, 30, 500), (2.4, 60, 5000), (2.6, 200, 20000)]:
        yield data_set(f"bounded {alpha} to {xmax}, {n}", bounded(rng, alpha, 3, xmax, n), xmax)
    for n in [500, 10000]:
        yield data_set(f"geometric, {n}", 2 + rng.geometric(0.2, size=n))
    for mu, sigma, n in [(1.5, 0.6, 2000), (0.5, 1.4, 3000)]:
        drawn = np.rint(rng.lognormal(mu, sigma, size=3 * n)).astype(int)
        yield data_set(f"lognormal {mu} {sigma}, {n}", drawn[drawn >= 1][:n])
    flat = rng.integers(1, 8, size=2000)
    yield data_set("flat below 8, zeta 2.5 from there", np.concatenate([flat, zeta(rng, 2.5, 8, 2000)]))


def overlay(rng, n):
    """A configuration-model graph with the degrees of an overlay, loops and duplicates left out."""
    degrees = bounded(rng, 2.4, 3, 40, n)
    degrees[0] += degrees.sum() % 2
    graph = nx.configuration_model(degrees.tolist(), seed=5)
    graph = nx.Graph(graph)
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    return graph


def graph_record(name, graph):
    graph = nx.convert_node_labels_to_integers(graph)
    parts = sorted(nx.connected_components(graph), key=len, reverse=True)
    largest = graph.subgraph(parts[0])
    ratio = nx.degree_assortativity_coefficient(graph)
    return {
        "name": name,
        "nodes": graph.number_of_nodes(),
        "edges": [v for e in graph.edges for v in e],
        "components": [len(p) for p in parts],
        "diameter": nx.diameter(largest),
        "mean_path": nx.average_shortest_path_length(largest),
        "transitivity": nx.transitivity(graph),
        "mean_local": nx.average_clustering(graph),
        "triangles": sum(nx.triangles(graph).values()) // 3,
        "assortativity": None if np.isnan(ratio) else float(ratio),
    }


def graphs():
    rng = np.random.default_rng(1)
    yield graph_record("Barabasi-Albert", nx.barabasi_albert_graph(600, 3, seed=1))
    yield graph_record("Erdos-Renyi, sparse", nx.gnp_random_graph(400, 0.006, seed=2))
    yield graph_record("Erdos-Renyi, dense", nx.gnp_random_graph(60, 0.4, seed=3))
    yield graph_record("grid", nx.grid_2d_graph(15, 20))
    yield graph_record("Watts-Strogatz", nx.watts_strogatz_graph(300, 6, 0.1, seed=4))
    yield graph_record("Holme-Kim", nx.powerlaw_cluster_graph(300, 3, 0.4, seed=6))
    yield graph_record("tree", nx.random_labeled_tree(200, seed=7))
    yield graph_record("barbell", nx.barbell_graph(12, 5))
    yield graph_record("overlay", overlay(rng, 500))
    yield graph_record("ring", nx.cycle_graph(31))


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return value


versions = {"powerlaw": powerlaw.__version__, "networkx": nx.__version__}
everything = {"versions": versions, "data": list(data_sets()), "graphs": list(graphs())}
json.dump(rounded(everything), sys.stdout, separators=(",", ":"))
print()
