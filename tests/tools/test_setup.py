"""tools/setup on machines made of stub programs: what it installs, and what it says when it cannot."""

import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMON = ("sh", "awk", "tr", "sed", "sort", "mktemp", "rm", "cat", "tail", "env", "ls", "grep")


class SetupTest(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = self.temporary.name
        for name in COMMON:
            os.symlink(shutil.which(name), os.path.join(self.folder, name))

    def stub(self, name, script):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\nhere={self.folder}\n{script}\n")
        os.chmod(path, 0o755)

    def debian(self, uid):
        """Packages are what stands in the file `have`; apt-get works once it was updated."""
        self.stub("id", f"echo {uid}")
        self.stub("dpkg-query", 'cat "$here/have" 2>/dev/null; exit 1')
        self.stub("apt-get", 'echo "$DEBIAN_FRONTEND apt-get $*" >>"$here/log"\n'
                             'case $1 in update) : >"$here/updated" ;;\n'
                             'install) [ -e "$here/updated" ] || exit 100\n'
                             'for w; do echo "installed $w" >>"$here/have"; done ;; esac')

    def run_setup(self, *targets):
        return subprocess.run([os.path.join(ROOT, "tools", "setup"), *targets], env={"PATH": self.folder}, cwd=self.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def log(self):
        path = os.path.join(self.folder, "log")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8") as f:
            return f.read()

    def test_root_installs_what_is_missing_after_an_update(self):
        self.debian(0)
        with open(os.path.join(self.folder, "have"), "w", encoding="utf-8") as f:
            f.write("installed gcc\ninstalled make\n")
        done = self.run_setup("run")
        self.assertEqual(done.returncode, 0, done.stderr)
        first, update, second = self.log().splitlines()
        self.assertIn("update", update)
        self.assertEqual(first, second)
        self.assertTrue(second.startswith("noninteractive apt-get install -y"))
        self.assertIn("--no-install-recommends", second)
        self.assertIn(" qemu-system-x86", second)
        self.assertNotIn(" gcc", second)

    def test_nothing_missing_does_nothing(self):
        self.debian(1000)
        names = self.run_setup("--list", "test").stdout.split()
        with open(os.path.join(self.folder, "have"), "w", encoding="utf-8") as f:
            f.writelines(f"installed {n}\n" for n in names)
        done = self.run_setup("test")
        self.assertEqual((done.returncode, done.stdout, done.stderr, self.log()), (0, "", "", ""))

    def test_user_without_sudo_is_told_the_names(self):
        self.debian(1000)
        done = self.run_setup("gdb")
        self.assertEqual(done.returncode, 1)
        self.assertIn("neither root nor sudo", done.stderr)
        self.assertIn(" qemu-system-x86 gdb", done.stderr)
        self.assertEqual(self.log(), "")

    def test_user_with_sudo_installs_through_it(self):
        self.debian(1000)
        self.stub("sudo", 'echo "sudo $*" >>"$here/sudo-log"\n[ "$1" = -n ] && shift\nexec "$@"')
        self.stub("true", "exit 0")
        self.assertEqual(self.run_setup("gdb").returncode, 0)
        with open(os.path.join(self.folder, "sudo-log"), encoding="utf-8") as f:
            self.assertIn("apt-get install", f.read())

    def test_other_distribution_is_told_the_names(self):
        self.stub("gcc", "exit 0")
        done = self.run_setup("gdb")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no Debian or Ubuntu", done.stderr)
        self.assertIn(" gdb", done.stderr)
        self.assertNotIn(" gcc", done.stderr)

    def test_packages_that_apt_leaves_out_are_an_error(self):
        self.debian(0)
        self.stub("apt-get", "exit 0")
        done = self.run_setup("run")
        self.assertEqual(done.returncode, 1)
        self.assertIn("left some packages out", done.stderr)

    def test_unknown_target(self):
        self.assertEqual(self.run_setup("nonsense").returncode, 2)


if __name__ == "__main__":
    unittest.main()
