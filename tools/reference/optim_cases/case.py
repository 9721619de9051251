"""The list of cases of one family of rules."""


class Cases(list):
    def add(self, label, rule, reference, ours=None, **options):
        """Our rule takes `options` too, after `ours`; an option that is None in `ours` is left out."""
        merged = {**options, **(ours or {})}
        merged = {key: value for key, value in merged.items() if value is not None}
        self.append((label, rule, merged, reference, options))
