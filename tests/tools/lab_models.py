"""Naive models of what the laboratory's policies do: touch(page) says whether it was there."""

from collections import OrderedDict


class Lru:
    def __init__(self, c):
        self.c, self.pages = c, OrderedDict()

    def touch(self, p):
        hit = p in self.pages
        self.pages[p] = None
        self.pages.move_to_end(p)
        if len(self.pages) > self.c:
            self.pages.popitem(last=False)
        return hit


class Clock:
    """A ring with a hand, as textbooks draw it."""

    def __init__(self, c):
        self.ring, self.bit, self.hand = [None] * c, [0] * c, 0

    def touch(self, p):
        if p in self.ring:
            self.bit[self.ring.index(p)] = 1
            return True
        while self.ring[self.hand] is not None and self.bit[self.hand]:
            self.bit[self.hand] = 0
            self.hand = (self.hand + 1) % len(self.ring)
        self.ring[self.hand], self.bit[self.hand] = p, 0
        self.hand = (self.hand + 1) % len(self.ring)
        return False


class Sieve:
    """Lists run from the newest to the oldest."""

    def __init__(self, c):
        self.c, self.queue, self.visited, self.hand = c, [], {}, None

    def touch(self, p):
        if p in self.visited:
            self.visited[p] = True
            return True
        if len(self.queue) == self.c:
            at = self.queue.index(self.hand) if self.hand is not None else self.c - 1
            while self.visited[self.queue[at]]:
                self.visited[self.queue[at]] = False
                at = (at - 1) % self.c
            self.hand = self.queue[at - 1] if at else None
            del self.visited[self.queue.pop(at)]
        self.queue.insert(0, p)
        self.visited[p] = False
        return False


class S3Fifo:
    def __init__(self, c):
        self.c, self.small_max = c, max(c // 10, 1)
        self.small, self.main, self.ghost, self.freq = [], [], [], {}

    def touch(self, p):
        if p in self.small or p in self.main:
            self.freq[p] = min(self.freq[p] + 1, 3)
            return True
        while len(self.small) + len(self.main) == self.c:
            self.evict()
        if p in self.ghost:
            self.ghost.remove(p)
            self.main.insert(0, p)
        else:
            self.small.insert(0, p)
        self.freq[p] = 0
        return False

    def evict(self):
        if len(self.small) >= self.small_max or not self.main:
            t = self.small.pop()
            if self.freq[t] > 1:
                self.freq[t] = 0
                self.main.insert(0, t)
            else:
                self.ghost.insert(0, t)
                del self.ghost[self.c - self.small_max :]
        else:
            t = self.main.pop()
            if self.freq[t]:
                self.freq[t] -= 1
                self.main.insert(0, t)


class TwoQ:
    def __init__(self, c):
        self.c, self.kin, self.kout = c, max(c // 4, 1), max(c // 2, 1)
        self.a1in, self.a1out, self.am = [], [], []

    def touch(self, p):
        if p in self.am:
            self.am.remove(p)
            self.am.insert(0, p)
            return True
        if p in self.a1in:
            return True
        if len(self.a1in) + len(self.am) == self.c:
            if len(self.a1in) > self.kin or not self.am:
                self.a1out.insert(0, self.a1in.pop())
                del self.a1out[self.kout :]
            else:
                self.am.pop()
        if p in self.a1out:
            self.a1out.remove(p)
            self.am.insert(0, p)
        else:
            self.a1in.insert(0, p)
        return False


class Arc:
    """Figure 4 of the paper, line by line; lists from MRU to LRU."""

    def __init__(self, c):
        self.c, self.p = c, 0.0
        self.t1, self.t2, self.b1, self.b2 = [], [], [], []

    def replace(self, x):
        if self.t1 and (len(self.t1) > self.p or (x in self.b2 and len(self.t1) == int(self.p))):
            self.b1.insert(0, self.t1.pop())
        elif self.t2:
            self.b2.insert(0, self.t2.pop())
        else:
            self.b1.insert(0, self.t1.pop())

    def touch(self, x):
        for t in (self.t1, self.t2):
            if x in t:
                t.remove(x)
                self.t2.insert(0, x)
                return True
        full = len(self.t1) + len(self.t2) == self.c
        if x in self.b1 or x in self.b2:
            if x in self.b1:
                self.p = min(self.p + max(len(self.b2) / len(self.b1), 1), self.c)
            else:
                self.p = max(self.p - max(len(self.b1) / len(self.b2), 1), 0)
            if full:
                self.replace(x)
            (self.b1 if x in self.b1 else self.b2).remove(x)
            self.t2.insert(0, x)
            return False
        l1, l2 = len(self.t1) + len(self.b1), len(self.t2) + len(self.b2)
        if l1 == self.c:
            if len(self.t1) < self.c:
                self.b1.pop()
                self.replace(x)
            else:
                self.t1.pop()
        elif l1 + l2 >= self.c:
            if l1 + l2 == 2 * self.c:
                self.b2.pop()
            if full:
                self.replace(x)
        self.t1.insert(0, x)
        return False


class Lirs:
    """Stack and queue as plain lists, oldest first."""

    def __init__(self, c):
        self.c, self.lirs = c, c - max(c // 100, 1)
        self.stack, self.queue, self.lir, self.gone = [], [], set(), []

    def prune(self):
        while self.stack and self.stack[0] not in self.lir:
            p = self.stack.pop(0)
            if p in self.gone:
                self.gone.remove(p)

    def make_lir(self, p):
        self.lir.add(p)
        for where in (self.stack, self.queue, self.gone):
            if p in where:
                where.remove(p)
        self.stack.append(p)
        if len(self.lir) > self.lirs:
            self.prune()
            bottom = self.stack.pop(0)
            self.lir.remove(bottom)
            self.queue.append(bottom)
            self.prune()

    def touch(self, p):
        hit = p in self.lir or p in self.queue
        if not hit and len(self.lir) + len(self.queue) == self.c:
            victim = self.queue.pop(0)
            if victim in self.stack:
                self.gone.append(victim)
            if len(self.gone) > 2 * self.c:
                self.stack.remove(self.gone.pop(0))
        if p in self.lir:
            self.stack.remove(p)
            self.stack.append(p)
            self.prune()
        elif p in self.stack or (not hit and len(self.lir) < self.lirs):
            self.make_lir(p)
        else:
            if p in self.queue:
                self.queue.remove(p)
            self.queue.append(p)
            self.stack.append(p)
        return hit


MODELS = {"lru": Lru, "clock": Clock, "sieve": Sieve, "s3-fifo": S3Fifo, "2q": TwoQ, "arc": Arc, "lirs": Lirs}


def model_outcome(model, pages):
    seen, out = set(), []
    for p in pages:
        hit = model.touch(p)
        out.append("h" if hit else "r" if p in seen else "m")
        seen.add(p)
    return "".join(out)


def random_pages(rng, pages, n):
    """Something of everything: popular pages, loops, and jumps."""
    out, at = [], 0
    while len(out) < n:
        kind = rng.randrange(3)
        for _ in range(rng.randrange(1, 3 * pages)):
            if kind == 0:
                out.append(int(pages * rng.random() ** 3))
            elif kind == 1:
                at = (at + 1) % pages
                out.append(at)
            else:
                out.append(rng.randrange(pages))
    return out[:n]
