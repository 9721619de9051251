"""The list of cases of one family of rules."""


class Cases(list):
    def __init__(self):
        super().__init__()
        self.tolerances = {}
        self.unchecked = {}

    def add(self, label, rule, reference, ours=None, **options):
        """Our rule takes `options` too, after `ours`; an option that is None in `ours` is left out."""
        merged = {**options, **(ours or {})}
        merged = {key: value for key, value in merged.items() if value is not None}
        self.append((label, rule, merged, reference, options))

    def tolerance(self, label, **by_dtype):
        """How near ours has to come, by dtype, where that is not the usual; the reason stands beside the call."""
        self.tolerances[label] = by_dtype

    def leave_unchecked(self, label, *slots):
        """Slots of ours that the reference does not have in the same form; the reason stands beside the call."""
        self.unchecked[label] = list(slots)
