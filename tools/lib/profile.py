"""Where the instructions of reclaim go: a tree, from callgrind.

Callgrind is told to keep the costs of a function apart by its callers, up to DEPTH of them; so each cost has a path,
and the paths are a tree. What is collected is what reclaim_direct() does and what it calls.
"""

import json
import os
import re
import subprocess

DEPTH = 12
ROOT_FUNCTION = "reclaim_direct"
SMALL = 0.004  # of all: smaller branches are not shown by themselves
# What the seeds' profile of kswapd tells apart, by the functions that stand for it; the first that a path has.
GROUPS = (("waiting for locks and taking them", r"^(spin|read|write)_(un)?lock"), ("reference check: the accurate question, look-around", r"^(notifier_age|age_look_around)"),
          ("aging: the walk and new generations", r"^age_space$"), ("unmapping through the notifier", r"^(notifier_zap|invalidate_)"),
          ("flush", r"^flush_"), ("packing", r"^(store_put|pool_|LZ4|handle_)"), ("sorting and taking pages off the lists", r"^gen_"))


class Unreadable(Exception):
    """No profile; the message says why."""


def paths(text):
    """{(outermost, ..., innermost): instructions of its own} of a callgrind file with separated callers."""
    names, costs, path, skip = {}, {}, (), False
    for line in text.splitlines():
        m = re.match(r"fn=\((\d+)\)(?: (.*))?$", line)
        if m:
            if m.group(2):
                names[m.group(1)] = m.group(2)
            path = tuple(reversed(re.sub(r"\.(isra|part|constprop|cold)\.?\d*", "", names[m.group(1)]).split("'")))
        elif m := re.match(r"cfn=\((\d+)\)(?: (.*))?$", line):
            if m.group(2):
                names[m.group(1)] = m.group(2)
        elif line.startswith("calls="):
            skip = True
        elif re.match(r"[+*-]?\d*[ ]+\d+$", line) and path:
            if not skip:
                costs[path] = costs.get(path, 0) + int(line.split()[-1])
            skip = False
    return costs


def below(costs, root):
    """The same from the root's last appearance on; what does not show it hangs below the root as it is."""
    cut = {}
    for path, cost in costs.items():
        if root in path:
            path = path[len(path) - 1 - path[::-1].index(root):]
        else:
            path = (root,) + path
        cut[path] = cut.get(path, 0) + cost
    return cut


def tree(costs, root):
    """{name, total, children}: totals include what is below."""
    top = {"name": root, "total": 0, "children": {}}
    for path, cost in costs.items():
        node = top
        node["total"] += cost
        for name in path[1:]:
            node = node["children"].setdefault(name, {"name": name, "total": 0, "children": {}})
            node["total"] += cost
    return top


def listed(node, least):
    children = sorted((c for c in node["children"].values() if c["total"] >= least), key=lambda c: (-c["total"], c["name"]))
    return {"name": node["name"], "total": node["total"], "children": [listed(c, least) for c in children]}


def group_of(path):
    for function in path:
        for name, pattern in GROUPS:
            if re.search(pattern, function):
                return name
    return "everything else"


def judge(text, said):
    costs = below(paths(text), ROOT_FUNCTION)
    total = sum(costs.values())
    if not total:
        raise Unreadable("callgrind has collected nothing")
    groups = {}
    for path, cost in costs.items():
        name = group_of(path)
        groups[name] = groups.get(name, 0) + cost / total
    return {"said": said, "groups": groups, "tree": listed(tree(costs, ROOT_FUNCTION), total * SMALL)}


def measure(build, program, folder):
    """What callgrind wrote stays in `folder`."""
    out = os.path.join(folder, f"{program}.callgrind")
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", f"--separate-callers={DEPTH}", "--compress-pos=no",
               f"--toggle-collect={ROOT_FUNCTION}", os.path.join(build, "host", "bench", program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unreadable(f"{program}: {(done.stdout + done.stderr).strip()[-300:]}")
    with open(out, encoding="utf-8") as f:
        return judge(f.read(), done.stdout.strip())


# --- what the running hypervisor says: spans of the TSC (lib/profile.h) ------------------------------


def last_spans(lines):
    """{path: (ns, spans)} of the last line of type profile; lines that a dying machine left half are passed over."""
    found = None
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("type") == "profile":
            found = record
    if not found:
        raise Unreadable("no line of type profile: the monitor was not told `profile show`")
    try:
        return {str(path): (int(ns), int(spans)) for path, ns, spans in found["nodes"]}
    except (KeyError, TypeError, ValueError) as e:
        raise Unreadable("a line of type profile that says something else") from e


def tree_of_spans(nodes):
    """A tree as tree() makes it. A span's time includes what is below; one that is still open shows less than that."""
    top = {"name": "reclaim", "total": 0, "children": {}}
    for path in sorted(nodes, key=lambda p: p.count("/")):
        node = top
        for name in path.split("/"):
            node = node["children"].setdefault(name, {"name": name, "total": 0, "children": {}})
        node["total"] = nodes[path][0]
    grow(top)
    return listed(top, 0)


def grow(node):
    below = sum(grow(child) for child in node["children"].values())
    node["total"] = max(node["total"], below)
    return node["total"]


# What a part of reclaim is called in seed 002, and the spans that are it here: outermost ones, so nothing counts twice.
SEED_PARTS = (
    ("taking pages (evict_folios, shrink_lruvec)", ("evict",), "99.06", "99.51", "99.92"),
    ("reference check (folio_referenced)", ("check", "around"), "31.33", "7.08", "19.35 + 26.23"),
    ("... through reverse maps (rmap_walk_file)", ("rmap",), "31.06", "6.78", "18.37 + 25.50"),
    ("... through the notifier (clear_flush_young, test_clear_young)", ("notifier",), "20.83", "1.53", "13.20 + 23.87"),
    ("waiting for the MMU's lock (_raw_write_lock)", ("lock",), "19.34", "–", "9.93 + 18.98"),
)


def share_of_spans(tree, names):
    """Of the whole, in percent."""
    def within(node):
        return node["total"] if node["name"] in names else sum(map(within, node["children"]))

    return within(tree) / tree["total"] * 100 if tree["total"] else 0.0


def beside_the_seed(spans):
    """`others`: the same boot with another MMU, lock or policy."""
    columns = [("generations", spans["tree"])] + [(o["label"], o["tree"]) for o in spans.get("others", [])]
    lines = ["| part of reclaim, % | seed 002: lock | no lock | two lists | " + " | ".join(f"here: {label}" for label, _ in columns) + " |",
             "|---|" + "---|" * (3 + len(columns))]
    for what, names, *seed in SEED_PARTS:
        lines.append(f"| {' | '.join([what, *seed, *(f'{share_of_spans(tree, names):.2f}' for _, tree in columns)])} |")
    return lines + ["", "The seed counts samples of kswapd beside 64 vCPUs; its rmap is that of the host's page tables, ours that of shadow tables, and only those have one. Here packing, "
                    "which is what a device is there, takes most; one CPU under icount waits for no lock."]


def markdown_of_spans(spans, command):
    return [f"**Where the running hypervisor spends the time of reclaim** (`{command}`; spans of the TSC, which is instructions here: icount, one CPU, {spans['said']}; "
            "`profile on`, `profile show` and `tools/flame` do the same for any boot)", "", "```", *lines_of(spans["tree"], spans["tree"]["total"], 0, 9), "```", "", *beside_the_seed(spans)]


def as_tuple(profile):
    def node(n):
        return n["name"], n["total"], [node(c) for c in n["children"]]

    return node(profile["tree"])


def lines_of(node, total, depth, deepest):
    found = [f"{node['total'] / total * 100:6.2f} %  {'  ' * depth}{node['name']}"]
    if depth < deepest:
        for child in node["children"]:
            found += lines_of(child, total, depth + 1, deepest)
    return found


def markdown(profile):
    rows = sorted(profile["groups"].items(), key=lambda g: -g[1])
    lines = ["**Where reclaim spends its instructions** (`make bench BENCH=bench_reclaim`; native under callgrind, one CPU, so nobody ever waits "
             f"for a lock; `{profile['said']}`)", "", "| part | share |", "|---|---|"]
    lines += [f"| {name} | {share * 100:.1f} % |" for name, share in rows]
    lines += ["", "```", *lines_of(profile["tree"], profile["tree"]["total"], 0, 9), "```", "",
              "Seed 002 shows kswapd beside 64 vCPUs: 19.34 % in the write lock of the MMU where the accessed bit is asked for under it, none of that and 1.53 % in "
              "test_clear_young where it is not; with two lists 9.93 and 18.98 % in the lock. There is no lock in the question here."]
    return lines
