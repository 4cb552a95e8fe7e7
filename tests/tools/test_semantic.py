"""Each semantic patch finds a planted violation, and leaves alone what is right."""

import os
import shutil
import tempfile
import unittest

from tests.lint import semantic

# Rule: (functions that break it, functions that do not).
PLANTED = {
    "spte_store": (
        ["void f(struct tdp_entry *e, u64 v)\n{\n\ta64_store(e->at, v);\n}\n",
         "void f(struct tdp_entry e, u64 v)\n{\n\tif (v)\n\t\ta64_xchg(e.at, v);\n}\n",
         "void f(struct tdp_entry *e, u64 v)\n{\n\te->at->raw = v;\n}\n",
         "void f(a64 *table, unsigned i, u64 v)\n{\n\ta64_store_release(&table[i], v);\n}\n"],
        ["void f(struct tdp *t, struct tdp_entry *e, u64 v)\n{\n\tv = a64_load(e->at);\n\ta64_store(&t->count, v);\n"
         "\tspte_replace(e->at, &v, 0);\n}\n"]),
    "epoch_alloc": (
        ["void f(void)\n{\n\tepoch_enter();\n\tg();\n\tp = hal_pages_alloc(1);\n\tepoch_exit();\n}\n",
         "void f(int a)\n{\n\tepoch_enter();\n\tif (a)\n\t\tn = frame_alloc(FRAME_FOR_FAULT);\n\tepoch_exit();\n}\n"],
        ["void f(void)\n{\n\tp = hal_pages_alloc(1);\n\tepoch_enter();\n\tg();\n\tepoch_exit();\n\tp = hal_pages_alloc(1);\n}\n"]),
    "lock_wait": (
        ["void f(struct space *s)\n{\n\tspin_lock(&s->lru.lock);\n\tflush_wait(s, 1);\n\tspin_unlock(&s->lru.lock);\n}\n",
         "void f(struct space *s)\n{\n\tspin_lock(&s->lru.lock);\n\tread_lock(&s->mmu_lock);\n}\n",
         "void f(struct space *s)\n{\n\tread_lock(&s->mmu_lock);\n\tepoch_barrier();\n\tread_unlock(&s->mmu_lock);\n}\n"],
        ["void f(struct space *s)\n{\n\tread_lock(&s->mmu_lock);\n\tread_unlock(&s->mmu_lock);\n\tspin_lock(&s->lru.lock);\n"
         "\tspin_unlock(&s->lru.lock);\n\tflush_wait(s, 1);\n\tepoch_barrier();\n}\n"]),
    "frame_free": (
        ["void f(struct space *s, u32 frame)\n{\n\tflush_wait(s, 1);\n\tframe_free(frame);\n}\n"],
        ["void f(void)\n{\n\tu32 frame;\n\n\tframe = frame_alloc(FRAME_FOR_FAULT);\n\tif (!g(frame))\n\t\tframe_free(frame);\n}\n",
         "void f(struct epoch_node *node)\n{\n\tframe_free(number(node));\n}\n",
         "void free_new(struct range *r)\n{\n\tfor (i = 0; i < 9; i++)\n\t\tframe_free(r->head + i);\n}\n"]),
}


@unittest.skipUnless(shutil.which("spatch"), "needs coccinelle")
class SemanticTest(unittest.TestCase):
    def found(self, rule, text):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "planted.c")
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            return semantic.find(rule, [path])

    def test_planted_violations_are_found(self):
        for rule, (bad, _) in PLANTED.items():
            for text in bad:
                self.assertEqual(len(self.found(rule, text)), 1, f"{rule}: {text}")

    def test_what_is_right_is_left_alone(self):
        for rule, (_, good) in PLANTED.items():
            for text in good:
                self.assertEqual(self.found(rule, text), [], f"{rule}: {text}")

    def test_every_rule_is_planted(self):
        self.assertEqual(set(PLANTED), set(semantic.RULES))

    def test_a_function_that_is_not_parsed_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "planted.c")
            with open(path, "w", encoding="utf-8") as f:
                f.write("void f(void)\n{\n\tint x = ;;) 3;\n}\n")
            self.assertEqual(len(semantic.not_parsed([path])), 1)


if __name__ == "__main__":
    unittest.main()
