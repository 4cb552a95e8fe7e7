"""The pure parts of tools/run and its library."""

import io
import os
import tempfile
import unittest

from tests.tools.load import load_tool
from tools.lib import console, emulator, machines, media

run = load_tool("run")

NESTING_HOST = {"cpuinfo": "flags\t: fpu svm sse\n", "nested": ["1"], "device": os.devnull}


class ScenarioTest(unittest.TestCase):
    def test_images_are_found_once_in_order(self):
        text = "[vm a]\nimage = kv.elf # big\n image=touch.elf\n[vm c]\nimage  =  kv.elf\n#image = no.elf\nimages = x\n"
        self.assertEqual(media.scenario_images(text), ["kv.elf", "touch.elf"])

    def test_images_of_overrides_and_in_quotes(self):
        words = 'loglevel=3 vm.a.image=x.elf vm.b.args="image=no" xvm.c.image=no'
        self.assertEqual(media.scenario_images('image = "y.elf" ; no\n', words), ["y.elf", "x.elf"])

    def test_image_beside_the_scenario_comes_before_the_build(self):
        with tempfile.TemporaryDirectory() as d:
            os.makedirs(os.path.join(d, "build", "guests"))
            built = os.path.join(d, "build", "guests", "a.elf")
            beside = os.path.join(d, "a.elf")
            scenario = os.path.join(d, "s.cfg")
            find = lambda over: media.find_image("a.elf", scenario, os.path.join(d, "build"), over)[0]
            self.assertIsNone(find({}))
            open(built, "wb").close()
            self.assertEqual(find({}), built)
            open(beside, "wb").close()
            self.assertEqual(find({}), beside)
            self.assertEqual(find({"a.elf": "/elsewhere"}), "/elsewhere")

    def test_places_looked_at_are_named(self):
        path, places = media.find_image("no.elf", "/nowhere/s.cfg", "/b", {})
        self.assertIsNone(path)
        self.assertEqual(places, ["/nowhere/no.elf", "/b/guests/no.elf"])

    def test_stage_takes_base_names_and_drops_blanks(self):
        with tempfile.TemporaryDirectory() as d:
            scenario = os.path.join(d, "my demo.cfg")
            image = os.path.join(d, "a.elf")
            for path in (scenario, image):
                open(path, "wb").close()
            names = media.stage(os.path.join(d, "staged"), scenario, [("sub/a.elf", image)])
            self.assertEqual(names, ["my_demo.cfg", "a.elf"])
            self.assertEqual(sorted(os.listdir(os.path.join(d, "staged"))), ["a.elf", "my_demo.cfg"])


class MediumTest(unittest.TestCase):
    def test_commas_in_module_names_are_doubled(self):
        self.assertEqual(media.qemu_modules(["s.cfg", "a,b.elf"]), "s.cfg,a,,b.elf")

    def test_grub_config_quotes_words(self):
        config = media.grub_config(["s.cfg", "it's.elf"], ["loglevel=debug", "a b"])
        self.assertIn("multiboot2 /boot/varve.elf 'loglevel=debug' 'a b'\n", config)
        self.assertIn("module2 '/boot/s.cfg' 's.cfg'\n", config)
        self.assertIn("module2 '/boot/it'\\''s.elf' 'it'\\''s.elf'\n", config)

    def test_iso_key_depends_on_content_words_and_firmware(self):
        with tempfile.TemporaryDirectory() as d:
            kernel = os.path.join(d, "k")
            with open(kernel, "wb") as f:
                f.write(b"1")
            key = lambda *words, fw="bios": media.iso_key(kernel, d, [], list(words), fw)
            first = key("a")
            self.assertEqual(first, key("a"))
            self.assertNotEqual(first, key("b"))
            self.assertNotEqual(first, key("a", fw="both"))
            with open(kernel, "wb") as f:
                f.write(b"2")
            self.assertNotEqual(first, key("a"))


class ConsoleTest(unittest.TestCase):
    def feed(self, *parts):
        log = io.BytesIO()
        c = console.Console(log, False)
        for part in parts:
            c.feed(part)
        c.close()
        return c, log.getvalue()

    def test_verdict_is_the_last_one_even_in_pieces(self):
        c, log = self.feed(b"hello\r\nVARVE: PA", b"SS\r\nVARVE: FA", b"IL kv: wrong word\r\n")
        self.assertEqual(c.verdict, ("FAIL", "kv: wrong word"))
        self.assertEqual(log, b"hello\nVARVE: PASS\nVARVE: FAIL kv: wrong word\n")

    def test_a_guest_cannot_fake_a_verdict(self):
        c, _ = self.feed(b"[kv] VARVE: PASS\n VARVE: PASS\nVARVE: PASSED\n")
        self.assertIsNone(c.verdict)

    def test_last_line_without_newline_counts(self):
        c, _ = self.feed(b"one\n\ntwo")
        self.assertEqual(c.last_line, b"two")
        self.assertEqual(self.feed(b"VARVE: PASS")[0].verdict, ("PASS", ""))

    def test_typist_waits_for_its_echo(self):
        c = console.Console(io.BytesIO(), False)
        t = console.Typist(" vms;; limit touch 8M ;gens")
        self.assertEqual(t.keys(c), b"")
        c.feed(b"[kv] hi\r\n")
        self.assertEqual(t.keys(c), b"vms")
        self.assertEqual(t.keys(c), b"")
        c.feed(b"> vm")
        self.assertEqual(t.keys(c), b"")
        c.feed(b"s\r\n  1s kv\r\n> vms")  # something else was written meanwhile
        self.assertEqual(t.keys(c), b"\rlimit to")
        c.feed(b"\r\nvm kv\r\n> limit to")
        self.assertEqual(t.keys(c), b"uch 8M")
        c.feed(b"uch 8M")
        self.assertEqual(t.keys(c), b"\rgens")
        c.feed(b"\r\n> gens")
        self.assertEqual(t.keys(c), b"\r")
        self.assertEqual(t.lines, [])

    def test_first_guest_line_is_timed(self):
        c, _ = self.feed(b"varve 1\n[kv] hi\n[kv] ho\n")
        self.assertGreaterEqual(c.first_guest_s, 0)
        self.assertIsNone(self.feed(b"varve 1\n")[0].first_guest_s)


class MachineTest(unittest.TestCase):
    def test_kvm_needs_cpu_nesting_and_device(self):
        self.assertIsNone(machines.kvm_problem(**NESTING_HOST))
        self.assertIn("neither", machines.kvm_problem(**dict(NESTING_HOST, cpuinfo="flags : fpu\nbugs : svm\n")))
        self.assertIn("nesting", machines.kvm_problem(**dict(NESTING_HOST, nested=["N", "0"])))
        self.assertIn("opened", machines.kvm_problem(**dict(NESTING_HOST, device="/nonexistent/kvm")))

    def test_unknown_machine_is_named_with_those_there_are(self):
        with self.assertRaises(machines.Unavailable) as e:
            machines.choose("vax")
        self.assertIn("vax", str(e.exception))
        self.assertIn("bochs-haswell", str(e.exception))

    def test_icount_means_one_cpu_and_qemu(self):
        options = run.parse_arguments(["--scenario", "s.cfg", "--icount", "--cpus", "4"])
        run.settle(options, machines.MACHINES["qemu-svm"])
        self.assertEqual(options.cpus, 1)
        with self.assertRaises(machines.Unavailable):
            run.settle(options, machines.MACHINES["bochs-haswell"])

    def test_cpus_are_pinned_where_they_are_threads(self):
        for words, machine in ((["--pin"], "qemu-svm"), (["--pin", "--multi"], "bochs-haswell")):
            with self.assertRaises(machines.Unavailable):
                run.settle(run.parse_arguments(["--scenario", "s.cfg", *words]), machines.MACHINES[machine])
        with tempfile.TemporaryDirectory() as proc:
            for task, name in ((10, "qemu-system-x86"), (12, "CPU 0/TCG"), (11, "CPU 1/TCG")):
                os.makedirs(os.path.join(proc, "10", "task", str(task)))
                with open(os.path.join(proc, "10", "task", str(task), "comm"), "w", encoding="utf-8") as f:
                    f.write(name + "\n")
            self.assertEqual(emulator.vcpu_threads(10, proc), {0: 12, 1: 11})
            self.assertEqual(emulator.vcpu_threads(11, proc), {})

    def test_out_folder_names_scenario_and_machine(self):
        options = run.parse_arguments(["--scenario", "x/s.cfg"])
        run.settle(options, machines.MACHINES["qemu-svm"])
        self.assertTrue(options.out.endswith("/out/s-qemu-svm"))

    def test_accelerators(self):
        qemu = machines.MACHINES["qemu-svm"]
        self.assertEqual(emulator.accelerator(qemu, False, False), ("tcg,thread=single", []))
        self.assertEqual(emulator.accelerator(qemu, False, True), ("tcg,thread=multi", []))
        self.assertEqual(emulator.accelerator(qemu, True, False), ("tcg", ["-icount", "shift=0"]))
        self.assertEqual(emulator.accelerator(machines.MACHINES["qemu-kvm"], True, True), ("kvm", []))


class SwapTest(unittest.TestCase):
    def options(self, *more):
        return run.parse_arguments(["--scenario", "s.cfg", *more])

    def test_sizes(self):
        self.assertEqual(emulator.swap_bytes("64M"), 64 << 20)
        self.assertEqual(emulator.swap_bytes("4096"), 4096)
        for wrong in ("", "0", "M", "1.5G", "64m", "-1M"):
            with self.assertRaises(machines.Unavailable):
                emulator.swap_bytes(wrong)

    def test_disk_is_an_empty_file_of_that_size(self):
        with tempfile.TemporaryDirectory() as d:
            command = emulator.swap_disk(self.options("--swap", "3M"), d)
            self.assertEqual(os.path.getsize(os.path.join(d, "swap.img")), 3 << 20)
        self.assertIn("file=" + os.path.join(d, "swap.img"), command[1])
        self.assertIn("virtio-blk-pci", command[3])

    def test_errors_are_of_the_kind_that_is_wanted(self):
        with tempfile.TemporaryDirectory() as d:
            command = emulator.swap_disk(self.options("--swap", "3M", "--swap-error", "read"), d)
        self.assertIn("iotype=read", command[1])

    def test_where_there_is_no_such_disk(self):
        with self.assertRaises(machines.Unavailable):
            run.settle(self.options("--swap", "3M"), machines.MACHINES["bochs-haswell"])
        with self.assertRaises(machines.Unavailable):
            run.settle(self.options("--swap-error", "read"), machines.MACHINES["qemu-svm"])


class EndTest(unittest.TestCase):
    """What the end of the emulator adds to, or takes from, the verdict on the console."""

    def why(self, verdict, late=False, status=1, machine="qemu-svm"):
        options = run.parse_arguments(["--scenario", "s.cfg", "--out", "/nonexistent"])
        c = console.Console(io.BytesIO(), False)
        c.verdict = verdict
        return run.complaint(options, machines.MACHINES[machine], c, late, status)

    def test_agreeing_ends_are_no_complaint(self):
        self.assertIsNone(self.why(("PASS", ""), status=emulator.QEMU_PASS))
        self.assertIsNone(self.why(("FAIL", "x"), status=emulator.QEMU_FAIL))

    def test_a_verdict_that_the_status_contradicts_is_none(self):
        self.assertIn("contradicts", self.why(("PASS", ""), status=emulator.QEMU_FAIL))
        self.assertIn("status 0", self.why(("PASS", ""), status=0))

    def test_time_up(self):
        self.assertIn("no end within", self.why(None, late=True))
        self.assertIn("after its verdict", self.why(("PASS", ""), late=True))

    def test_bochs_says_why_it_died(self):
        died = "00072047003e[CPU0  ] exception(): 3rd (13) exception with no resolution\n" \
               "00072047003p[CPU0  ] >>PANIC<< exception(): 3rd (13) exception with no resolution\n"
        self.assertIn("3rd (13)", emulator.bochs_death(died))
        self.assertIsNone(emulator.bochs_death("00000000000i[SYS   ] all is well\n"))
        asked = "00072047003p[UNMAP ] >>PANIC<< Shutdown port: shutdown requested\n"
        self.assertIsNone(emulator.bochs_death(asked))


if __name__ == "__main__":
    unittest.main()
