"""What is broken on purpose, and the scenario that shows it."""

MUTATIONS = {
    "forget-first": ("the old owner forgets the state when it sends it, before the new owner has it on disk", "grow"),
    "freeze-in-memory": (
        "the old owner does not write `moving` before it sends: a crash makes it an owner again",
        "grow",
    ),
    "freeze-mid-step": ("the freeze does not wait for the step that is running", "grow"),
    "take-older-epoch": (
        "a replica accepts a transfer that was sent under an older epoch than its own",
        "there-and-back-twice",
    ),
    "take-over-held": ("a repeated transfer overwrites the copy that the new owner already holds", "grow"),
    "any-copy-is-taken": (
        "`taken` is answered for any copy, also for a frozen one that is older than what is offered",
        "shrink-cancelled",
    ),
    "no-dedupe-shipped": ("the transfer carries the tensors but not the step count and the stored replies", "grow"),
    "take-back": (
        "a new epoch gives the session back and the old owner thaws without asking the receiver",
        "shrink-cancelled",
    ),
    "drop-tombstones": ("`moved` records are dropped at every new epoch, not only at a settled one", "up-up-down"),
    "drop-ended": ("the record of an ended session is dropped under an epoch that is not settled", "ended"),
    "create-unasked": ("the owner by placement creates an id without asking the owners under past sizes", "grow"),
    "absent-unadopted": ("a replica answers `absent` for an epoch that it has not adopted", "grow"),
    "create-unchecked": ("the epoch is not checked again when a creation is committed", "grow"),
    "epoch-in-memory": ("a replica adopts an epoch in memory only: a crash brings the older one back", "grow"),
    "settle-members-only": (
        "the operator settles when the members are clean, without the leaving replicas",
        "shrink",
    ),
    "push-before-store": (
        "the operator sends a record before it is stored: after its crash the same epoch has a second body",
        "grow-then-shrink",
    ),
    "reply-before-commit": ("the reply leaves before the commit", "grow"),
    "zombie-answers": ("a process whose volume was opened by a newer one answers `absent` from its memory", "grow"),
    "taken-before-commit": ("the new owner answers `taken` before its commit", "grow"),
    "placement-owns": (
        'the owner by placement asks nobody and steps an empty state when it has no copy (the rule "owner = place '
        'under my epoch")',
        "shrink",
    ),
    "mint-early": (
        "an ordinal mints as soon as it is a member by its own record, while others may not know of it",
        "minted-while-growing",
    ),
    "forward-retries": (
        "a replica that forwards an unnumbered step sends it again after a broken connection",
        "unnumbered",
    ),
    "thaw-unasked": (
        "a copy that was on its way to a lost store is held again without a question: it may have been handed on",
        "lost-and-moved-on",
    ),
    "place-asked-first": (
        "who takes a copy back from a lost store asks the place of the session with the others, not after them",
        "lost-twice-sent-there",
    ),
    "moving-waits": (
        "a copy on its way to a lost store waits for every other one on its way, also for an older one",
        "lost-twice-sent-there",
    ),
    "both-go-on": (
        "of two copies on their way to a lost store each takes the other for gone",
        "lost-twice-sent-there",
    ),
    "older-goes-on": (
        "of two copies on their way to a lost store the older one goes on",
        "lost-twice-sent-there",
    ),
    "torn-is-absent": ("a replica that cannot read its copy says that it has none", "torn-while-growing"),
    "torn-is-clean": ("a leaving replica that cannot read its copy says that it is clean", "torn-while-leaving"),
    "mark-is-taken": (
        "`taken` is answered for an older copy than what was dropped, as if that were still there",
        "torn-while-growing",
    ),
    "drop-unmarked": (
        "what is torn is dropped without a trace, though it may have been handed on",
        "torn-twice-sent-there",
    ),
    "mark-is-nothing": (
        "who has dropped what was torn takes an older copy that nobody was asked about",
        "torn-twice-sent-there",
    ),
}
"""By name."""
