"""How a parallel run divides its tests: most go to the process that has time, some files to one process as a whole."""

import contextlib
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

# Files of which one process runs every test, since what they set up takes long: servers of their own, hundreds of MiB.
WHOLE_FILES = {"test_moto.py", "test_multipart_attacks.py", "test_radosgw.py", "test_upstreams.py"}


class Scheduler(LoadScopeScheduling):
    """Any other test is run by the process that has time. The marker xdist_group would do, but has no effect on pytest 9.2.

    A test that ends its process fails and is not run again, and the run goes on to its end without it. pytest-xdist 3.8 would
    run it in every process to come, or wait for ever: its issues 1327, 1371 and 1378."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return file if Path(file).name in WHOLE_FILES else nodeid

    def remove_node(self, node):
        units = self.assigned_work[node]
        crashed = next((test for unit in units.values() for test, is_done in unit.items() if not is_done), None)
        if crashed is not None:
            units[self._split_scope(crashed)][crashed] = True
        # A unit without a test to run would be taken as one, and its process would wait for a test that never comes.
        self.assigned_work[node] = {scope: unit for scope, unit in units.items() if not all(unit.values())}
        super().remove_node(node)
        return crashed

    def _assign_work_unit(self, node):
        """A process that has ended takes no tests. They go to others when its end is noticed, which is another event."""
        with contextlib.suppress(OSError):
            super()._assign_work_unit(node)

    def _reschedule(self, node):
        """A process runs a test once it knows the next one, or that there is none."""
        super()._reschedule(node)
        while self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            self._assign_work_unit(node)
        if not self.workqueue and not node.shutting_down:
            node.shutdown()
